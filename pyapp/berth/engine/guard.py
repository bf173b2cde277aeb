"""Answers what a container's filter asks about: new file systems and BPF programs.

The monitor reads a question and forks; a mount may hang for as long as it likes, the monitor never does.
"""

import contextlib
import errno
import os
import select
import signal
import sys
from collections.abc import Callable
from functools import cache

from berth.engine import cgroups, guarded_bpf, guarded_mount
from berth.engine.allowed import Allowed
from berth.engine.birth_place import BirthPlace
from berth.engine.caller import look_at
from berth.engine.cgroup_mounts import read_cgroup_mounts
from berth.engine.surroundings import leave_surroundings
from berth.engine.switchboard import Switchboard
from berth.host import CgroupMount
from berth.kernel.call import KernelError
from berth.kernel.notifications import Question, answer, receive, waits
from berth.kernel.processes import close_all_but, end_with, name_process, reset_signals
from berth.kernel.syscalls import number_of
from berth.plan.model import Plan


class Guard:
    """Answers the questions of a container's filters: of its init, and of every program that has entered it."""

    _MOST_AT_ONCE = 32  # mounts that hang use up descriptors here; what is asked beyond waits in the kernel

    def __init__(self, board: Switchboard, allowed: Callable[[], Allowed]) -> None:
        """Answer by what `allowed` says at the time, as long as `board` is served."""
        self._board = board
        self._allowed = allowed
        self._working = 0
        self._listeners: set[int] = set()
        board.take_listener = self.take

    def take(self, listener: int) -> None:
        """Answer what is asked at `listener` until nobody is left who could, then close it."""
        self._listeners.add(listener)
        if self._working < self._MOST_AT_ONCE:
            self._listen(listener)

    def _listen(self, listener: int) -> None:
        self._board.watch(listener, lambda: self._attend_to(listener))

    def _attend_to(self, listener: int) -> None:
        if not _is_asked(listener):
            self._let_go(listener)
            return
        try:
            question = receive(listener)
        except KernelError:  # a caller has sent what no filter is behind
            self._let_go(listener)
            return
        if question is None:
            return
        try:
            working = _reply_apart(listener, question, self._allowed)
        except OSError as error:  # the caller has moved to another cgroup or died, or no process more can be had
            answer(listener, question, errno.EINTR if error.errno == errno.ENOENT else errno.ENOMEM)
            return
        self._board.watch(working, lambda: self._settle(listener, question, working))
        self._working += 1
        if self._working == self._MOST_AT_ONCE:
            for one in self._listeners:
                self._board.forget(one)

    def _let_go(self, listener: int) -> None:
        self._board.forget(listener)
        self._listeners.remove(listener)
        with contextlib.suppress(OSError):
            os.close(listener)

    def _settle(self, listener: int, question: Question, working: int) -> None:
        """The process that was to answer has ended; if it was killed before, the caller must not wait for ever."""
        self._board.forget(working)
        os.close(working)
        if listener in self._listeners:
            answer(listener, question, errno.EINTR)
        if self._working == self._MOST_AT_ONCE:
            for one in self._listeners:
                self._listen(one)
        self._working -= 1


def stand_guard(listener: int, plan: Plan) -> None:
    """Fork a process that answers at `listener`, closed here, until nobody is left who could ask; one after the other.

    The caller has it to reap, and must not be under the filter itself: it would ask whoever answers for it.
    """
    if os.fork() == 0:
        end_with(lambda: _stand(listener, plan), lambda _: None)
    os.close(listener)


def _stand(listener: int, plan: Plan) -> None:
    leave_surroundings((listener,), ())
    os.setsid()
    name_process(f"berth: {plan.name}")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    allowed = Allowed(plan.mounts, plan.devices)
    while True:
        select.select([listener], [], [])
        if not _is_asked(listener):
            return
        question = receive(listener)
        if question is None:
            continue
        try:
            working = _reply_apart(listener, question, lambda: allowed)
        except OSError:
            answer(listener, question, errno.ENOMEM)
            continue
        os.read(working, 1)
        os.close(working)
        answer(listener, question, errno.EINTR)


def _is_asked(listener: int) -> bool:
    """Tell whether there is a question; what else makes a listener readable is that nobody is left (5.9)."""
    poller = select.poll()
    poller.register(listener, select.POLLIN)
    return any(events & select.POLLIN for _, events in poller.poll(0))


@cache
def _hierarchies() -> tuple[CgroupMount, ...]:
    """Where cgroups are mounted; the container is in none that is mounted later."""
    return read_cgroup_mounts()


def _reply_apart(listener: int, question: Question, allowed: Callable[[], Allowed]) -> int:
    """Fork, in the caller's cgroup, a process that answers; return a descriptor that is at its end when that has ended.

    There its memory counts as the caller's, and the devices that the kernel opens for it are the container's.  Raises
    OSError.
    """
    place = BirthPlace(cgroups.current(question.thread, _hierarchies()))
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    try:
        if place.fork() == 0:
            end_with(
                lambda: _reply_in(place, listener, question, allowed, theirs),
                lambda error: answer(listener, question, getattr(error, "errno", None) or errno.EIO),
            )
    except OSError:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return ours


def _reply_in(place: BirthPlace, listener: int, question: Question, allowed: Callable[[], Allowed], alive: int) -> None:
    reset_signals()
    close_all_but(listener, alive)
    place.enter()
    sys.meta_path.clear()  # from here on an import would run the container's code
    caller = look_at(question)
    if not waits(listener, question):
        return
    if question.number == number_of("bpf", question.audit):
        guarded_bpf.reply(listener, question, caller)
    else:
        guarded_mount.reply(listener, question, caller, allowed())
