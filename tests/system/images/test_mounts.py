"""Images mounted for real: with what options, for whom at once, and that nothing is left behind."""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from berth.errors import BerthError
from berth.kernel.loop import attach
from berth.kernel.mounts import umount
from berth.storage.images import MountedImage
from tests.disks import Mount, debugfs, gone, loops_on, mounts_under, refused, spying_e2fsck

pytestmark = pytest.mark.system


def test_a_clean_image_is_mounted_without_a_check(image: Path, tmp_path: Path, mounted: Mount) -> None:
    tools, log = spying_e2fsck(tmp_path)

    result = mounted(image, tools=tools)

    assert (tmp_path / "mnt/a/hello").read_text() == "from the image"
    (entry,) = mounts_under(tmp_path)
    assert (entry.filesystem, entry.options[0], entry.source) == ("ext4", "rw", f"/dev/loop{result.loop}")
    assert result.warnings == ()
    assert not log.exists()


def test_what_was_written_is_there_after_the_next_mount(image: Path, tmp_path: Path, mounted: Mount) -> None:
    mounted(image)
    (tmp_path / "mnt/a/new").write_text("kept")
    umount(str(tmp_path / "mnt/a"))

    assert gone(image, tmp_path)
    mounted(image)
    assert (tmp_path / "mnt/a/new").read_text() == "kept"


def test_a_read_only_mount_changes_no_byte(image: Path, tmp_path: Path, mounted: Mount) -> None:
    debugfs(image, "feature needs_recovery")
    before = image.read_bytes()

    result = mounted(image, read_only=True)

    with pytest.raises(OSError, match="Read-only file system"):
        (tmp_path / "mnt/a/new").write_text("x")
    assert (
        "noload" in mounts_under(tmp_path)[0].super_options or "norecovery" in mounts_under(tmp_path)[0].super_options
    )
    umount(str(tmp_path / "mnt/a"))
    assert image.read_bytes() == before
    assert "its journal was not replayed" in result.warnings[0]


def test_an_error_inside_never_panics_the_phone(image: Path, tmp_path: Path, mounted: Mount) -> None:
    subprocess.run(["/sbin/tune2fs", "-e", "panic", image], check=True, capture_output=True)

    mounted(image)

    assert "errors=panic" not in mounts_under(tmp_path)[0].super_options
    assert "errors=remount-ro" in mounts_under(tmp_path)[0].super_options


@pytest.mark.parametrize("read_only", [False, True])
def test_an_image_without_a_journal_is_mounted(tmp_path: Path, mounted: Mount, read_only: bool) -> None:
    image = tmp_path / "ext2.img"
    subprocess.run(["/sbin/mkfs.ext4", "-q", "-F", "-O", "^has_journal", image, "8M"], check=True)

    mounted(image, read_only=read_only)

    assert len(mounts_under(tmp_path)) == 1


def test_read_only_twice_is_fine(image: Path, tmp_path: Path, mounted: Mount) -> None:
    mounted(image, "a", read_only=True)
    mounted(image, "b", read_only=True)

    assert (tmp_path / "mnt/a/hello").exists()
    assert (tmp_path / "mnt/b/hello").exists()


@pytest.mark.parametrize(("first", "second"), [(False, False), (False, True), (True, False)])
def test_a_writer_shares_its_image_with_nobody(
    image: Path, tmp_path: Path, mounted: Mount, first: bool, second: bool
) -> None:
    loop = mounted(image, "a", read_only=first).loop

    refused(mounted, tmp_path, image, f"by loop device {loop}", read_only=second)
    os.link(image, tmp_path / "other-name.img")
    refused(mounted, tmp_path, tmp_path / "other-name.img", f"by loop device {loop}", read_only=second)


def test_an_image_is_free_again_right_after_its_unmount(image: Path, tmp_path: Path, mounted: Mount) -> None:
    for _ in range(10):
        mounted(image)
        umount(str(tmp_path / "mnt/a"))


@pytest.mark.parametrize(("theirs", "ours"), [(False, False), (False, True), (True, False)])
def test_a_loop_device_of_somebody_who_takes_no_lock_counts_too(
    image: Path, tmp_path: Path, mounted: Mount, theirs: bool, ours: bool
) -> None:
    fd = os.open(image, os.O_RDONLY if theirs else os.O_RDWR)
    with attach(fd, read_only=theirs, name="stranger", node_folder=str(tmp_path)) as stranger:
        os.close(fd)
        word = "read-only" if theirs else "writable"
        refused(mounted, tmp_path, image, f"in use {word} by loop device {stranger.number}", read_only=ours)


def test_an_image_that_is_just_being_checked_is_refused(image: Path, tmp_path: Path, mounted: Mount) -> None:
    """The first start is still in e2fsck when the second one comes."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    script = tmp_path / "e2fsck"
    script.write_text(f"#!/bin/sh\necho started > {pipe}\nread go < {pipe}\nexit 0\n")
    script.chmod(0o755)
    first = threading.Thread(
        target=mounted, args=(image, "a"), kwargs={"policy": "always", "tools": {"e2fsck": script}}
    )
    first.start()
    try:
        assert pipe.read_text() == "started\n"
        for read_only in (False, True):
            with pytest.raises(BerthError, match="in use writable by loop device"):
                mounted(image, "b", read_only=read_only)
    finally:
        pipe.write_text("go\n")
        first.join()

    assert [Path(entry.target).name for entry in mounts_under(tmp_path)] == ["a"]


def test_of_two_starts_at_once_exactly_one_wins(clean: Path, tmp_path: Path, mounted: Mount) -> None:
    """Eight rounds of three starts that are let go together."""
    for number in range(8):
        image = Path(shutil.copy(clean, tmp_path / f"{number}.img"))
        gate = threading.Barrier(3)
        results: list[MountedImage | BerthError] = []

        def start(
            name: str,
            image: Path = image,
            gate: threading.Barrier = gate,
            results: list[MountedImage | BerthError] = results,
        ) -> None:
            gate.wait()
            try:
                results.append(mounted(image, name))
            except BerthError as error:
                results.append(error)

        threads = [threading.Thread(target=start, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [type(result) for result in results].count(MountedImage) == 1
        (entry,) = mounts_under(tmp_path)
        assert len(loops_on(image, tmp_path)) == 1
        umount(entry.target)


def test_kill_9_of_the_mounting_process_leaves_nothing(image: Path, tmp_path: Path, mounted: Mount) -> None:
    """As the monitor does it: in a mount namespace of its own."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            import ctypes

            libc = ctypes.CDLL(None, use_errno=True)
            libc.unshare(0x20000)
            libc.mount(None, b"/", None, 0x44000, None)
            mounted(image)
            os.write(writer, b"mounted")
            signal.pause()
        os._exit(1)
    try:
        assert os.read(reader, 7) == b"mounted"
        refused(mounted, tmp_path, image, "in use writable")
        os.kill(pid, signal.SIGKILL)
    finally:
        os.waitpid(pid, 0)
        os.close(reader)
        os.close(writer)

    assert gone(image, tmp_path)
    mounted(image)
