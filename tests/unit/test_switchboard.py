"""What a monitor hears."""

import errno
import os
import socket
from pathlib import Path

import pytest

from berth.engine.switchboard import Switchboard
from berth.kernel.sockets import connect, listen


def test_a_descriptor_whose_file_can_not_be_written_any_more_ends_no_monitor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "monitor.sock")
    close, closed = os.close, []

    def close_badly(fd: int) -> None:
        close(fd)
        closed.append(fd)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with listen(path) as listener, connect(path) as caller, open("/dev/zero", "rb") as file:
        socket.send_fds(caller, [b"{}"], [file.fileno()])
        monkeypatch.setattr(os, "close", close_badly)

        Switchboard(listener).serve(lambda: bool(closed) or None, seconds=0.01)

        monkeypatch.undo()
        assert len(closed) == 1
