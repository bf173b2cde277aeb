"""Having the service carry out a command for a process that must not do it itself, such as one with threads."""

import os
from typing import NamedTuple

from berth.errors import BerthError
from berth.home import Home
from berth.kernel.sockets import connect
from berth.service.protocol import Connection


class Outcome(NamedTuple):
    """How a command ended: its exit code, and what it printed on its two outputs."""

    code: int
    output: bytes
    errors: bytes


def run_command(home: Home, argv: tuple[str, ...], entered: bytes = b"") -> Outcome:
    """Have the service run the command `argv`, with `entered` as its input; returns when it has ended.

    Raises BerthError when no service runs, or the worker was killed.
    """
    streams = [os.memfd_create(name, os.MFD_CLOEXEC) for name in ("input", "output", "errors")]
    try:
        os.write(streams[0], entered)
        os.lseek(streams[0], 0, os.SEEK_SET)
        code = _converse(home, argv, streams)
        return Outcome(code, *(_content(fd) for fd in streams[1:]))
    finally:
        for fd in streams:
            os.close(fd)


def _converse(home: Home, argv: tuple[str, ...], streams: list[int]) -> int:
    try:
        sock = connect(home.socket)
    except OSError as error:
        raise BerthError('the service does not run; start it with "berth serve --background"') from error
    connection = Connection(sock)
    try:
        connection.send({"call": "command", "argv": argv, "cwd": "/", "env": {}}, tuple(streams))
        while True:
            message, descriptors = connection.receive()
            for fd in descriptors:
                os.close(fd)
            if message is None:
                raise BerthError('the process that served this was killed; run "berth recover"')
            if "exit" in message:
                return int(message["exit"])
    except (OSError, ValueError) as error:
        raise BerthError('the process that served this was killed; run "berth recover"') from error
    finally:
        connection.close()


def _content(fd: int) -> bytes:
    size = os.lseek(fd, 0, os.SEEK_END)
    return os.pread(fd, size, 0)
