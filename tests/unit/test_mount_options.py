"""Words of mount(8) become flags, lines of mountinfo become values; no mount is made."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.kernel.mounts import (
    MS_BIND,
    MS_NOATIME,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REC,
    MS_RELATIME,
    MS_SLAVE,
    MS_STRICTATIME,
    mount_id,
    option_flags,
    parse_mountinfo,
    read_mounts,
)


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        ((), 0),
        (("ro", "nosuid", "nodev", "noexec"), MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC),
        (("ro", "rw"), 0),
        (("rw", "ro"), MS_RDONLY),
        (("nosuid", "suid", "nodev"), MS_NODEV),
        (("noatime", "strictatime"), MS_STRICTATIME),
        (("relatime", "noatime"), MS_NOATIME),
        (("defaults", "relatime"), MS_RELATIME),
        (("rbind",), MS_BIND | MS_REC),
        (("rslave",), MS_SLAVE | MS_REC),
    ],
)
def test_words_become_flags_and_the_last_one_wins(words: tuple[str, ...], flags: int) -> None:
    assert option_flags(words) == flags


@pytest.mark.parametrize("word", ["size=1m", "", "RO", "mode=755"])
def test_a_word_that_is_no_flag_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="is not a mount flag"):
        option_flags((word,))


def test_a_line_of_mountinfo_is_read_field_by_field() -> None:
    entry = parse_mountinfo(
        b"36 35 7:300 /var /mnt/a\\040b rw,noatime shared:1 master:2 - ext4 /dev/my\\134root rw,errors=remount-ro"
    )

    assert (entry.id, entry.parent, entry.device) == (36, 35, os.makedev(7, 300))
    assert (entry.root, entry.target) == ("/var", "/mnt/a b")
    assert entry.options == ("rw", "noatime")
    assert entry.propagation == ("shared:1", "master:2")
    assert (entry.filesystem, entry.source) == ("ext4", "/dev/my\\root")
    assert entry.super_options == ("rw", "errors=remount-ro")


def test_a_private_mount_has_no_propagation_and_an_empty_source_is_kept() -> None:
    entry = parse_mountinfo(b"36 35 0:41 / /mnt rw - tmpfs  rw")

    assert (entry.propagation, entry.source) == ((), "")


def test_an_escaped_comma_does_not_split_an_option() -> None:
    entry = parse_mountinfo(b"36 35 0:41 / /mnt rw - overlay overlay rw,lowerdir=/a\\054b,upperdir=/c")

    assert entry.super_options == ("rw", "lowerdir=/a,b", "upperdir=/c")


def escaped(path: bytes) -> bytes:
    """As the kernel's mangle() in fs/proc_namespace.c writes a path."""
    return b"".join(b"\\%03o" % byte if byte in b" \t\n\\#" else bytes((byte,)) for byte in path)


@given(st.binary(min_size=1).filter(lambda path: b"\0" not in path))
def test_any_path_comes_back_as_it_was(path: bytes) -> None:
    target = b"/" + path  # the kernel writes absolute ones; a source is whatever mount(2) was given
    entry = parse_mountinfo(b"1 2 0:5 / " + escaped(target) + b" rw shared:3 - tmpfs " + escaped(path) + b" rw")

    assert os.fsencode(entry.target) == target
    assert os.fsencode(entry.source) == path


@pytest.mark.parametrize("line", [b"", b"36 35 0:41 / /mnt rw", b"36 35 - tmpfs tmpfs rw", b"a b 0:1 / / rw - c d e"])
def test_anything_else_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"mountinfo|invalid literal"):
        parse_mountinfo(line)


def test_the_mount_of_a_descriptor_is_in_the_list() -> None:
    fd = os.open("/proc/self", os.O_PATH)
    try:
        on = [entry for entry in read_mounts() if entry.id == mount_id(fd)]
    finally:
        os.close(fd)

    assert [(entry.target, entry.filesystem) for entry in on] == [("/proc", "proc")]
