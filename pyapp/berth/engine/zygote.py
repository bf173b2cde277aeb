"""Where monitors come from: a small process of the service's that does nothing but fork them.

A monitor shares what it has not written to with whoever forked it, as long as both live and neither writes.  A worker
ends, and the service keeps writing; the zygote stays as it was made, so all of its monitors share its memory.  Where no
service runs, a monitor is forked by the worker itself.
"""

import contextlib
import os
import signal
from typing import Any, Self

import msgspec

from berth.engine.cgroup_mounts import read_cgroup_mounts
from berth.engine.channel import Channel
from berth.engine.monitor import Task, monitor
from berth.engine.network import Membership
from berth.engine.order import Order, Started, StartFailed
from berth.engine.surroundings import leave_surroundings
from berth.errors import BerthError
from berth.home import Home
from berth.kernel.processes import die_with_parent, end_with, fork, name_process

_nearest: list[Channel] = []  # the zygote's, in the service and all that it forks


def start_zygote() -> int:
    """Fork a zygote, for the caller and what that forks from now on; return its pid.  Raises KernelError.

    It ends with the caller.
    """
    ours, theirs = Channel.pair()
    parent = os.getpid()
    pid = fork()
    if pid == 0:
        end_with(lambda: _serve(theirs, parent), lambda _: None)
    theirs.close()
    for before in _nearest:
        before.close()
    _nearest[:] = [ours]
    return pid


def filenos() -> tuple[int, ...]:
    """Return the descriptors that must stay open in a fork of the service that may start containers."""
    return tuple(channel.fileno() for channel in _nearest)


def _serve(channel: Channel, parent: int) -> None:
    leave_surroundings((channel.fileno(),), read_cgroup_mounts())
    die_with_parent()
    if os.getppid() != parent:
        return
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a monitor
    name_process("berth: zygote")
    while True:
        message, descriptors = channel.receive()
        if message is None:
            return
        with contextlib.suppress(OSError):  # without room for one more process: its report comes to an end at once
            _fork_monitor(Task(**message, descriptors=tuple(descriptors)), channel)
        for fd in descriptors:
            os.close(fd)


def _fork_monitor(task: Task, channel: Channel) -> None:
    if fork() == 0:
        channel.close()  # all that is open here beside what the monitor was given
        end_with(lambda: monitor(task), lambda _: None)


class Expected:
    """A monitor on its way: forked while its order is still being written, and gone again where none comes."""

    def __init__(self, home: Home, name: str, lock: int) -> None:
        """Have it forked; `lock` is the descriptor that holds the container's lock.  Raises OSError."""
        self._home = home
        self._name = name
        self._lock = lock
        self._ours = self._have_forked(by_zygote=True)

    def _have_forked(self, *, by_zygote: bool) -> Channel:
        ours, theirs = Channel.pair()
        descriptors = (theirs.fileno(), self._lock)
        task = Task(name=self._name, state=self._home.state, run=self._home.run, descriptors=descriptors)
        if not (by_zygote and _ask_zygote(task)):
            _fork_here(task)
        theirs.close()
        return ours

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        """Return, where the start failed or was refused, when nothing is left of the monitor either."""
        if failure is not None:
            self._ours.end()
            while self._ours.receive()[0] is not None:
                pass
        self._ours.close()

    def carry_out(self, order: Order, member: Membership | None) -> Started:
        """Have it carry out `order` and return what came of it once the container's init has been executed.

        `member` is its place on the network.  Raises StartFailed with the failing step, nothing being left of the
        attempt, and BerthError when the monitor was killed.
        """
        written = order.write()
        descriptors = (written, *((member.fileno(),) if member else ()))
        message = self._hand_over(descriptors)
        if message is None:  # the zygote was killed before it had forked anything
            self._ours.close()
            self._ours = self._have_forked(by_zygote=False)
            message = self._hand_over(descriptors)
        os.close(written)
        if message is not None and "here" in message:
            message, _ = self._ours.receive()
        if message is None:
            raise BerthError(f'container {self._name}: its monitor was killed during the start; run "berth recover"')
        if "error" in message:
            raise StartFailed(message["error"])
        return msgspec.convert(message["started"], Started)

    def _hand_over(self, descriptors: tuple[int, ...]) -> dict[str, Any] | None:
        """Give the monitor its order and return its first word: that it is there, or why not; None of none."""
        with contextlib.suppress(OSError):
            self._ours.send({"order": True}, descriptors)
        return self._ours.receive()[0]


def _ask_zygote(task: Task) -> bool:
    for channel in _nearest:
        with contextlib.suppress(OSError):  # it was killed
            channel.send({"name": task.name, "state": task.state, "run": task.run}, task.descriptors)
            return True
    return False


def _fork_here(task: Task) -> None:
    def begin() -> None:
        leave_surroundings(task.descriptors, read_cgroup_mounts())
        monitor(task)

    if fork() == 0:
        end_with(begin, lambda _: None)
