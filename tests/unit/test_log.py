"""A log is read on as it grows, across the moment when it is turned over, without looking for changes."""

import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.engine.log import LogReader
from berth.kernel.call import KernelError
from berth.kernel.inotify import IN_CREATE, IN_DELETE, IN_MODIFY, Event, Inotify


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[LogReader]:
    with LogReader(str(tmp_path)) as opened:
        yield opened


def is_told(source: LogReader | Inotify) -> bool:
    return bool(select.select([source], [], [], 0)[0])


def turn_over(folder: Path) -> None:
    os.replace(folder / "log", folder / "log.1")


def append(folder: Path, text: str) -> None:
    with (folder / "log").open("a") as file:
        file.write(text)


def test_inotify_tells_what_happened_to_which_file(tmp_path: Path) -> None:
    with Inotify() as inotify:
        inotify.watch(str(tmp_path), IN_CREATE | IN_MODIFY | IN_DELETE)
        assert not is_told(inotify)
        assert inotify.read() == []
        append(tmp_path, "x")
        (tmp_path / "log").unlink()
        assert is_told(inotify)
        assert inotify.read() == [Event(IN_CREATE, "log"), Event(IN_MODIFY, "log"), Event(IN_DELETE, "log")]
        assert not is_told(inotify)


def test_inotify_watches_folders_only(tmp_path: Path) -> None:
    append(tmp_path, "x")
    with Inotify() as inotify, pytest.raises(KernelError, match="Not a directory"):
        inotify.watch(str(tmp_path / "log"), IN_MODIFY)


def test_the_first_read_has_all_that_is_kept_oldest_first(tmp_path: Path) -> None:
    (tmp_path / "log.1").write_text("older\n")
    append(tmp_path, "newer\n")
    with LogReader(str(tmp_path)) as reader:
        assert reader.read() == b"older\nnewer\n"
        assert reader.read() == b""


def test_a_log_that_is_not_there_yet_is_waited_for(tmp_path: Path, reader: LogReader) -> None:
    assert reader.read() == b""
    append(tmp_path, "first\n")
    assert is_told(reader)
    assert reader.read() == b"first\n"


def test_only_what_is_new_is_read(tmp_path: Path, reader: LogReader) -> None:
    append(tmp_path, "one")
    assert reader.read() == b"one"
    assert not is_told(reader)
    append(tmp_path, " two\n")
    assert is_told(reader)
    assert reader.read() == b" two\n"


def test_nothing_is_lost_or_told_twice_when_the_log_is_turned_over(tmp_path: Path, reader: LogReader) -> None:
    append(tmp_path, "one\n")
    assert reader.read() == b"one\n"
    append(tmp_path, "two\n")
    turn_over(tmp_path)
    assert reader.read() == b"two\n"
    append(tmp_path, "three\n")
    assert reader.read() == b"three\n"
    assert reader.read() == b""


def test_two_turns_between_two_reads_lose_nothing_that_is_kept(tmp_path: Path, reader: LogReader) -> None:
    append(tmp_path, "one\n")
    assert reader.read() == b"one\n"
    append(tmp_path, "two\n")
    turn_over(tmp_path)
    append(tmp_path, "three\n")
    turn_over(tmp_path)
    append(tmp_path, "four\n")
    assert reader.read() == b"two\nthree\nfour\n"


def test_a_removed_or_renamed_container_ends_it(tmp_path: Path) -> None:
    for change in ("remove", "rename"):
        folder = tmp_path / change
        folder.mkdir()
        append(folder, "last\n")
        with LogReader(str(folder)) as reader:
            assert reader.read() == b"last\n"
            assert not reader.gone
            if change == "remove":
                (folder / "log").unlink()
            else:
                folder.rename(tmp_path / "other")
            assert is_told(reader)
            reader.read()
            assert reader.gone
