"""What a console keeps of what was said: a capped ring for who looks on, and a log that is turned over."""

import contextlib
import os
import socket
import termios
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.engine.console import Console

LINE = b"%09d\n"
RING = 64 << 10
LOG = 1 << 20


Opened = tuple[Console, int]


@contextlib.contextmanager
def opened(log: Path) -> Iterator[Opened]:
    """A console with this log, and what init writes to."""
    master, slave = os.openpty()
    tty.setraw(slave, termios.TCSANOW)
    console = Console(master, os.dup(slave), str(log))
    yield console, slave
    os.close(slave)
    console.hang_up()


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Opened]:
    with opened(tmp_path / "log") as console:
        yield console


def say(console: Console, slave: int, first: int, last: int) -> bytes:
    """Write numbered lines, each of ten bytes, and have the console drained; return all of it."""
    text = b"".join(LINE % number for number in range(first, last))
    for start in range(0, len(text), 1000):
        os.write(slave, text[start : start + 1000])
        while console.drain():
            pass
    return text


def test_who_comes_later_sees_the_last_64_kib(console: Opened) -> None:
    said = say(*console, 0, 10_000)
    ours, theirs = socket.socketpair()

    with ours:
        ours.settimeout(5)
        console[0].attach(theirs)
        shown = b""
        while len(shown) < RING:
            shown += ours.recv(RING)
            console[0].flush(theirs)
        assert shown == said[-RING:]
        console[0].detach(theirs)


def test_the_log_is_turned_over_and_two_files_are_all_that_is_kept(console: Opened, tmp_path: Path) -> None:
    said = say(*console, 0, 230_000)

    old, new = (tmp_path / "log.1").read_bytes(), (tmp_path / "log").read_bytes()
    assert LOG < len(old) < LOG + (64 << 10)
    assert len(new) <= LOG
    assert said.endswith(old + new)
    assert sorted(os.listdir(tmp_path)) == ["log", "log.1"]


def test_a_log_that_can_not_be_written_holds_nobody_up(tmp_path: Path) -> None:
    with opened(tmp_path / "no" / "such" / "folder" / "log") as (console, slave):
        said = say(console, slave, 0, 5000)
        ours, theirs = socket.socketpair()
        with ours:
            console.attach(theirs)
            assert ours.recv(len(said), socket.MSG_WAITALL) == said
            console.detach(theirs)
