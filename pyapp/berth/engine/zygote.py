"""Where monitors come from: a small process of the service's that does nothing but fork them.

A monitor shares what it has not written to with whoever forked it, as long as both live and neither writes.  A worker
ends, and the service keeps writing; the zygote stays as it was made, so all of its monitors share its memory.  Where no
service runs, a monitor is forked by the worker itself.
"""

import contextlib
import os
import signal

import msgspec

from berth.engine.cgroup_mounts import read_cgroup_mounts
from berth.engine.channel import Channel
from berth.engine.monitor import Task, monitor
from berth.engine.network import Membership
from berth.engine.order import Order, Started, StartFailed
from berth.engine.surroundings import leave_surroundings
from berth.errors import BerthError
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


def start_monitor(order: Order, lock: int, member: Membership | None) -> Started:
    """Have a monitor carry out `order` and return what came of it once the container's init has been executed.

    `lock` is the descriptor that holds the container's lock, `member` its place on the network.  Raises StartFailed
    with the failing step, nothing being left of the attempt, and BerthError when the monitor was killed.
    """
    name = order.spec.name
    ours, theirs = Channel.pair()
    written = order.write()
    descriptors = (written, theirs.fileno(), lock, *((member.fileno(),) if member else ()))
    task = Task(name=name, state=order.state, run=order.run, descriptors=descriptors)
    if not _ask_zygote(task):
        _fork_here(task, order)
    os.close(written)
    theirs.close()
    message, _ = ours.receive()
    if message is None:
        raise BerthError(f'container {name}: its monitor was killed during the start; run "berth recover"')
    if "error" in message:
        ours.receive()  # its end: nothing of the monitor is left either
        raise StartFailed(message["error"])
    return msgspec.convert(message["started"], Started)


def _ask_zygote(task: Task) -> bool:
    for channel in _nearest:
        with contextlib.suppress(OSError):  # it was killed
            channel.send({"name": task.name, "state": task.state, "run": task.run}, task.descriptors)
            return True
    return False


def _fork_here(task: Task, order: Order) -> None:
    def begin() -> None:
        leave_surroundings(task.descriptors, order.host.cgroups)
        monitor(task)

    if fork() == 0:
        end_with(begin, lambda _: None)
