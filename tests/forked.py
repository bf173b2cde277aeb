"""Doing in a forked child what a process can't take back: filters, namespaces, capabilities, cgroups."""

import json
import os
import traceback
from collections.abc import Callable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class Child(Generic[Answer]):
    """A forked child that does `work`, whose result must be one that JSON can carry (a tuple becomes a list)."""

    def __init__(self, work: Callable[[], Answer]) -> None:
        self._reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._reader)
            try:
                os.write(writer, _told(work).encode())
            finally:
                os._exit(0)
        os.close(writer)

    def result(self) -> Answer:
        """Wait for its end and return the result; fails with the traceback of what `work` raised."""
        told, code = self._end()
        assert code == 0, f"the child ended with {code}"
        answer = json.loads(told)
        assert "raised" not in answer, answer["raised"]
        result: Answer = answer["result"]
        return result

    def exit_code(self) -> int:
        """Wait for its end and return its exit code, or the negative number of the signal that killed it."""
        return self._end()[1]

    def _end(self) -> tuple[str, int]:
        with os.fdopen(self._reader) as pipe:
            told = pipe.read()
        return told, os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def in_child(work: Callable[[], Answer]) -> Answer:
    """Do `work` in a forked child and return its result; fails with the traceback of what it raised."""
    return Child(work).result()


def errno_in_child(work: Callable[[], object]) -> int:
    """Do `work` in a forked child and return the errno with which it failed, 0 where it did not."""

    def attempt() -> int:
        try:
            work()
        except OSError as error:
            return error.errno or -1
        return 0

    return in_child(attempt)


def _told(work: Callable[[], object]) -> str:
    try:
        return json.dumps({"result": work()})
    except BaseException:  # noqa: BLE001  whatever it is, the parent shows it
        return json.dumps({"raised": traceback.format_exc()})
