"""Small files by bare system calls: whole, whatever their size, and never made."""

import os
from pathlib import Path
from typing import Final

import pytest

from berth.kernel.files import note_file, read_file, write_file
from berth.kernel.inotify import Inotify
from berth.kernel.paths import read_in_root

_IN_OPEN: Final = 0x20


@pytest.mark.parametrize("size", [0, 1, 16383, 16384, 16385, 100_000])
def test_a_file_of_any_size_is_read_whole(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(number % 251 for number in range(size)))

    assert read_file(str(path)) == path.read_bytes()


def test_writing_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_file(str(tmp_path / "oom_score_adj"), b"0")

    assert list(tmp_path.iterdir()) == []


def test_a_shorter_note_leaves_nothing_of_the_longer_one_before(tmp_path: Path) -> None:
    path = tmp_path / "last-end"

    for text in (b"init was ended by signal 9\n", b"powered off\n"):
        note_file(str(path), text)
        assert path.read_bytes() == text


def test_in_a_strange_root_only_regular_files_are_opened(tmp_path: Path) -> None:
    """Opening is an act of its own where a node is a device's."""
    (tmp_path / "plain").write_bytes(b"text")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/fifo")
    root = os.open(tmp_path, os.O_PATH)
    with Inotify() as seen:
        seen.watch(str(tmp_path), _IN_OPEN)
        read = [read_in_root(root, path) for path in ("plain", "fifo", "link", "missing")]
        opened = [event.name for event in seen.read()]
    os.close(root)

    assert read == [b"text", None, None, None]
    assert opened == ["plain"]
