"""A worker: the forked process that carries out one caller's request."""

import contextlib
import errno
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import NoReturn

from berth.engine import zygote
from berth.engine.surroundings import leave_app, set_oom_score_adj
from berth.errors import BerthError
from berth.kernel.call import explain
from berth.kernel.processes import close_all_but, end_with, fork, name_process, reset_signals, setsid
from berth.service.protocol import Connection, peer_of
from berth.service.session import Session

Run = Callable[[list[str], Session], int]


def work(sock: socket.socket, run: Run) -> NoReturn:
    """Serve the request that arrives on `sock` by `run`, in this process, which was forked for it and ends with it."""

    def begin() -> NoReturn:
        leave_parent(sock.fileno())
        serve(sock, run)

    end_with(begin, lambda error: _tell(sock, error))


def leave_parent(keep: int) -> None:
    """Leave behind what a forked process has of its parent's, but for descriptor `keep`.  Raises KernelError."""
    reset_signals()
    set_oom_score_adj()
    setsid()  # the keys of the caller's terminal are for the caller
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # a reader that goes is an error to be told of, EPIPE
    close_all_but(keep, *zygote.filenos())


def serve(sock: socket.socket, run: Run) -> NoReturn:
    """Do the rest of `work`, in a process that has left its parent's things already."""
    end_with(lambda: _serve(sock, run), lambda error: _tell(sock, error))


def _tell(sock: socket.socket, error: BaseException) -> None:
    """Say what nobody expected to fail, where the caller sees it, and that there is no more to come."""
    said = explain(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
    os.write(2, f"berth: {said}\n".encode(errors="backslashreplace"))
    sock.send(b'{"exit":1}\n')


def _serve(sock: socket.socket, run: Run) -> None:
    name_process("berth: worker")
    connection = Connection(sock)
    request, streams = connection.receive()
    if request is None or len(streams) != 3:
        return
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
        os.close(fd)
    _open_streams()
    caller = peer_of(sock)[0]
    session = Session(connection, request["cwd"], request["env"], caller, foreground=request.get("foreground", True))
    code = _run(request["argv"], session, run)
    with contextlib.suppress(OSError):
        connection.send({"exit": code})


def _open_streams() -> None:
    """Make Python's streams anew: the ones inherited are laid out for what the supervisor had on 0, 1 and 2."""
    # They live as long as the process, so nothing closes them.
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115


def _run(argv: list[str], session: Session, run: Run) -> int:
    try:
        code = run(argv, session)
        sys.stdout.flush()
    except BerthError as error:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os.write(2, f"berth: {error}\n".encode(errors="backslashreplace"))
        return error.exit_code
    except OSError as error:
        if error.errno == errno.EPIPE:
            return 141  # as a program that SIGPIPE ended
        os.write(2, f"berth: {explain(error)}\n".encode(errors="backslashreplace"))
        return 1
    return code


def fork_worker(run: Run) -> socket.socket:
    """Fork a worker of this process, for a command that no supervisor serves; return the caller's end."""
    ours, theirs = socket.socketpair()

    def begin() -> NoReturn:
        leave_app()
        work(theirs, run)

    pid = fork()
    if pid == 0:
        ours.close()
        end_with(begin, lambda error: _tell(theirs, error))
    theirs.close()
    return ours
