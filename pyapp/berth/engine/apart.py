"""Doing something in a process of its own, so that whatever it does to itself is gone with it."""

import os
import select
import signal
from collections.abc import Callable
from typing import TypeVar

import msgspec
from msgspec import Struct

from berth.errors import BerthError, UsageError
from berth.kernel.processes import end_with, fork

_Result = TypeVar("_Result")


class _Answer(Struct, frozen=True):
    done: bool = False
    value: msgspec.Raw = msgspec.Raw(b"null")
    error: str = ""
    usage: bool = False
    errno: int = 0


def do_apart(work: Callable[[], _Result], kind: type[_Result], seconds: float | None = None) -> _Result:
    """Do `work` in a forked child and return its result, which msgspec must be able to carry as a `kind`.

    For single-threaded callers.  A BerthError, UsageError or OSError of the child is raised here again, its text and
    errno as they were; a child that was killed is a BerthError, and so is one that takes longer than `seconds`.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = fork()
    if pid == 0:
        end_with(lambda: _tell(writer, _attempt(work)), lambda error: _tell(writer, _Answer(error=repr(error))))
    os.close(writer)
    with open(reader, "rb") as file:
        if seconds is not None and not select.select([file], [], [], seconds)[0]:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise BerthError(f"what was begun in another process was not done after {seconds:.0f} s")
        data = file.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        raise BerthError(f"a process that only had a look was killed ({signal.Signals(os.WTERMSIG(status)).name})")
    answer = msgspec.json.decode(data, type=_Answer)
    if answer.done:
        return msgspec.json.decode(answer.value, type=kind)
    if answer.errno:
        raise OSError(answer.errno, os.strerror(answer.errno), answer.error)
    raise (UsageError if answer.usage else BerthError)(answer.error)


def _attempt(work: Callable[[], _Result]) -> _Answer:
    try:
        return _Answer(done=True, value=msgspec.Raw(msgspec.json.encode(work())))
    except BerthError as error:
        return _Answer(error=str(error), usage=isinstance(error, UsageError))
    except OSError as error:
        return _Answer(error=str(error.filename or getattr(error, "call", "")), errno=error.errno or 0)


def _tell(writer: int, answer: _Answer) -> None:
    data = msgspec.json.encode(answer)
    while data:
        data = data[os.write(writer, data) :]
