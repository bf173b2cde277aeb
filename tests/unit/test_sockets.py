"""Callers at a socket, also where no descriptor is left to take them in."""

import os
import resource
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from berth.kernel.sockets import accept, connect, listen


@pytest.fixture
def door(tmp_path: Path) -> str:
    return f"{tmp_path}/door"


@pytest.fixture
def listener(door: str) -> Iterator[socket.socket]:
    with listen(door) as sock:
        yield sock


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Lower the limit to what is open already."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def is_readable(sock: socket.socket) -> bool:
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(0))


def test_a_caller_is_taken_in(listener: socket.socket, door: str) -> None:
    with connect(door) as caller:
        taken = accept(listener)
        assert taken is not None
        with taken:
            caller.send(b"hello")
            assert taken.recv(16) == b"hello"


def test_where_nobody_calls_nobody_is_taken_in(listener: socket.socket) -> None:
    assert accept(listener) is None


def test_a_caller_for_whom_no_descriptor_is_left_is_turned_away_and_not_looked_at_again_and_again(
    listener: socket.socket, door: str
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with connect(door) as caller:
        with no_descriptor_left():
            assert is_readable(listener)
            assert accept(listener) is None
            assert not is_readable(listener)
        assert caller.recv(16) == b""
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == limits
