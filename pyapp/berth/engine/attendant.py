"""A new monitor for a container that runs without one, or whose record was lost.

It is not the parent of init, so it can't tell how init ends: any end means stop.  The old monitor's console died with
it, and what it had shown; the container gets a new one.
"""

import contextlib
import os
import signal

import msgspec

from berth.engine import probation
from berth.engine.allowed import Allowed
from berth.engine.awake import Awake
from berth.engine.cgroup_mounts import mount_missing, read_cgroup_mounts
from berth.engine.channel import Channel
from berth.engine.console import Console
from berth.engine.containers import Alive, look_up, look_up_alive
from berth.engine.events import announce
from berth.engine.guard import Guard
from berth.engine.journal import Journal, RunFolder, State, read_record
from berth.engine.network import rejoin
from berth.engine.new_console import renew_terminal
from berth.engine.own_mounts import take_own_mounts
from berth.engine.surroundings import leave_surroundings
from berth.engine.switchboard import Switchboard
from berth.engine.undo import undo
from berth.errors import BerthError
from berth.home import Home
from berth.kernel.processes import Process, end_with, fork, name_process, start_time
from berth.kernel.sockets import listen
from berth.plan.model import GettyTerminal
from berth.spec import JOINED
from berth.store import remember_end

_LOOK_SECONDS = 1.0  # where the kernel has no pidfds (before 5.3) nobody tells of a stranger's end


def attend(home: Home, name: str) -> None:
    """Fork a monitor for the unattended container `name` and return when it watches; raises BerthError.

    The caller holds the container's lock.
    """
    ours, theirs = Channel.pair()
    pid = fork()
    if pid == 0:
        if fork() == 0:  # twice, so that the caller has no child to reap
            end_with(lambda: _watch(home, name, theirs), lambda error: theirs.send({"error": str(error)}))
        os._exit(0)
    os.waitpid(pid, 0)
    theirs.close()
    message, _ = ours.receive()
    ours.close()
    if message is None or "error" in message:
        why = message["error"] if message else "the new monitor was killed"
        raise BerthError(f"container {name}: can't be attended to again: {why}")


def _watch(home: Home, name: str, report: Channel) -> None:
    leave_surroundings((report.fileno(),), read_cgroup_mounts())
    os.setsid()
    name_process(f"berth: {name}", f"berth: monitor of {name}")
    record = look_up(home, name).record
    folder = RunFolder(home, name)
    journal = Journal.take_over(folder.journal)
    if record is None or record.init is None or record.plan is None or journal is None:
        raise BerthError("its record is not whole")
    member = rejoin(home, name) if record.plan.lease or record.plan.network in JOINED else None
    take_own_mounts()
    mount_missing(record.plan.cgroups)
    journal.save(msgspec.structs.replace(record, monitor=(os.getpid(), start_time(os.getpid()) or 0)))
    journal.shorten()
    init = Process(*record.init)
    board = Switchboard(listen(folder.socket))
    if member is not None:
        member.watch_by(board, lambda sentence: None)
    if record.plan.wakelock is not None:
        Awake(record.plan.wakelock, lambda sentence: None).watch_by(board)
    with contextlib.suppress(BerthError, OSError):  # root inside may have put anything in its place
        board.console = Console(*renew_terminal(look_up_alive(home, name), "/dev/console"), home.log(name))
        _renew_getties(look_up_alive(home, name))
    allowed = Allowed(record.plan.mounts, record.plan.devices)
    # For programs that enter from now on; init's listener has died with the first monitor.
    Guard(board, lambda: allowed)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whoever answers in its place is reaped by the kernel
    report.send({"watching": True})
    report.close()
    _serve(board, init)
    _finish(home, record, journal, folder)


def _renew_getties(container: Alive) -> None:
    """Give the container's getties terminals again, whose other ends stay open as long as this process lives.

    Raises BerthError and OSError for the first that can't be had: each of the others might take as long.
    """
    for step in container.plan.steps:
        if isinstance(step, GettyTerminal):
            _, slave = renew_terminal(container, step.target)
            os.close(slave)


def _serve(board: Switchboard, init: Process) -> None:
    pidfd = init.fileno()

    def ended() -> bool | None:
        return None if init.alive else True

    if pidfd is None:
        board.serve(ended, seconds=_LOOK_SECONDS)
    else:
        board.serve(ended, pidfd)
    if board.console is not None:
        board.console.hang_up()  # what init has said last may not have been heard yet


def _finish(home: Home, record: State, journal: Journal, folder: RunFolder) -> None:
    probation.end(home, record.name)
    state, effects = read_record(folder.journal)
    troubles = undo(journal, state, effects)
    if troubles:
        journal.save(msgspec.structs.replace(record, stage="stuck", warnings=(*record.warnings, *troubles)))
    else:
        with contextlib.suppress(OSError):
            remember_end(home, record.name, "init ended; its first monitor had been killed, so nobody saw how")
        folder.forget(journal)
        announce(home, record.name, "stopped", "nobody saw how")
