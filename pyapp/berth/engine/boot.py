"""One boot of a container: the birth of PID 1, and the conversation with it until init has been executed."""

import os
import signal
from collections.abc import Callable
from typing import NoReturn

from berth.engine import cgroups
from berth.engine.birth_place import BirthPlace
from berth.engine.channel import Channel
from berth.engine.execute import ExecError
from berth.engine.hooks import run_hook
from berth.engine.init import Birth, become_init
from berth.errors import BerthError
from berth.kernel.call import KernelError, explain
from berth.kernel.namespaces import clone_flags, unshare
from berth.kernel.processes import Process, close_all_but, end_with, fork, processor_seconds, start_time, status_field
from berth.spec import Hook

_PATIENCE = (0.001, 0.001, 0.002, 0.004, 0.008, *(0.016,) * 124)  # seconds: two, if it gets no processor for so long
_INSTANT_SECONDS = 0.06  # of processor time
_CAUGHT_BY_ANY_SHELL = 1 << signal.SIGINT - 1 | 1 << signal.SIGCHLD - 1  # before it has read a line of its script


class Boot:
    """One boot under way: what PID 1 needs, the hooks to run before it, and who is told of its progress.

    `reached` is told each stage, so that a test can stop there; `take_init` gets PID 1 as soon as it is there,
    `take_console` the console's master and slave just before init is executed, `take_listener` what hears its filter
    ask.
    """

    def __init__(
        self,
        birth: Birth,
        prestart: tuple[Hook, ...],
        reached: Callable[[str], None],
        take_init: Callable[[Process], None],
        take_console: Callable[[int, int], None],
        *,
        take_listener: Callable[[int], None],
    ) -> None:
        self.birth = birth
        self.prestart = prestart
        self.reached = reached
        self.take_init = take_init
        self.take_console = take_console
        self.take_listener = take_listener
        self.skipped: tuple[str, ...] = ()
        self.terminals: list[int] = []


def boot(order: Boot) -> Process:
    """Have PID 1 born in its namespaces and cgroups; return it when init has been executed.

    It becomes the caller's child, who must be a child subreaper.  Raises BerthError with the failing step; then
    nothing of the container runs any more.
    """
    birth = order.birth
    ours, theirs = Channel.pair()
    place = BirthPlace(f"{path}/payload" for path in cgroups.paths(birth.plan.cgroups, birth.plan.name))
    child, live = _beget(place, birth.plan.namespaces)
    if child == 0:
        end_with(
            lambda: live(order, place, theirs),
            lambda error: theirs.send({"error": explain(error) if isinstance(error, OSError) else str(error)}),
        )
    theirs.close()
    try:
        return _converse(order, ours, child, is_init=live is _be_born)
    finally:
        ours.close()


def _beget(place: BirthPlace, namespaces: tuple[str, ...]) -> tuple[int, Callable[[Boot, BirthPlace, Channel], None]]:
    """Return what `fork` returns, and what the child is to do: PID 1 itself, or a set-up child that forks it.

    Where the kernel refuses to make the namespaces with the child, the set-up child tells which of them it can't have.
    """
    try:
        return place.clone(clone_flags(word for word in namespaces if word != "cgroup")), _be_born
    except KernelError:
        return place.fork(), _set_up


def _be_born(order: Boot, place: BirthPlace, channel: Channel) -> NoReturn:
    """Be PID 1: join the cgroups and only then make the cgroup namespace, so that it is rooted there."""
    _join(order, place, channel)
    if "cgroup" in order.birth.plan.namespaces:
        unshare("cgroup")
    channel.send({"pid": None})
    _live(order, channel)


def _set_up(order: Boot, place: BirthPlace, channel: Channel) -> None:
    """Be the set-up child, for a kernel below 5.3 or, with cgroup2, below 5.7: namespaces first, then PID 1 in them."""
    _join(order, place, channel)
    unshare(*order.birth.plan.namespaces)
    pid = fork()
    if pid == 0:
        _live(order, channel)
    channel.send({"pid": pid})


def _join(order: Boot, place: BirthPlace, channel: Channel) -> None:
    journal = order.birth.journal
    close_all_but(channel.fileno(), *([journal.fd] if journal else []))
    place.enter()
    order.reached("joined")


def _live(order: Boot, channel: Channel) -> NoReturn:
    if order.prestart and channel.receive()[0] is None:
        os._exit(1)
    become_init(order.birth, channel)


def _converse(order: Boot, channel: Channel, child: int, *, is_init: bool) -> Process:
    name = order.birth.plan.name
    process = Process(child) if is_init else None
    ready = False
    try:
        while True:
            message, descriptors = channel.receive()
            if message is None:
                break
            if "error" in message:
                raise BerthError(f"container {name}: {message['error']}")
            if "exec" in message:
                raise ExecError(order.birth.plan.argv[0], message["exec"])
            if "terminals" in message:
                order.terminals = descriptors
                continue
            if "guard" in message:
                order.take_listener(*descriptors)
                continue
            if "pid" in message:
                if process is None:
                    os.waitpid(child, 0)
                    process = Process(message["pid"])
                order.take_init(process)
                order.reached("namespaces")
                _run_prestart(order, process.pid, channel)
            if "ready" in message:
                ready, order.skipped = True, tuple(message["skipped"])
                if descriptors:
                    order.take_console(*descriptors)
                order.reached("ready")
            if ready and process is not None and "bound" not in message:
                channel.send({"go": True})  # not before the set-up child has ended: PID 1 is the caller's own now
        if process is None or not ready:
            raise BerthError(f"container {name}: PID 1 was killed while it was being set up; start it again")
        if not order.birth.for_caller:
            _await_life(order.birth, process)
    except BaseException:
        channel.close()
        if process is not None:
            process.send(9)
            _reap(process.pid)
        raise
    order.reached("executed")
    return process


def _run_prestart(order: Boot, pid: int, channel: Channel) -> None:
    plan = order.birth.plan
    new = {"CLONE_NEWNET": "1"} if "network" in plan.namespaces else {}
    for hook in order.prestart:
        run_hook(hook, plan.name, [str(pid)], **new)
    if order.prestart:
        channel.send({"go": True})


def _await_life(birth: Birth, process: Process) -> None:
    """Return once init shows that it lives: it sleeps, catches a signal that no mere shell does, or works for a while.

    One that ends within the first instant does nothing of that, and on a busy phone that instant may be long.  Raises
    BerthError then, having reaped it.
    """
    asleep, so_far = False, processor_seconds(process.pid)
    for seconds in _PATIENCE:
        if process.wait(seconds) or start_time(process.pid) is None:
            how = describe_end(_reap(process.pid))
            raise BerthError(
                f"container {birth.plan.name}: {birth.plan.argv[0]} {how} at once; look at its output with"
                f' "berth logs {birth.plan.name}"'
            )
        before, asleep = asleep, _sleeps(process.pid)
        if _catches_something(process.pid) or (before and asleep):  # once alone may be a moment of waiting for the disk
            return
        if processor_seconds(process.pid) - so_far >= _INSTANT_SECONDS:
            return


def _catches_something(pid: int) -> bool:
    caught = status_field(pid, "SigCgt")
    return caught is not None and int(caught, 16) & ~_CAUGHT_BY_ANY_SHELL != 0


def _sleeps(pid: int) -> bool:
    state = status_field(pid, "State")
    return state is not None and state.startswith("S")


def _reap(pid: int) -> int:
    try:
        return os.waitpid(pid, 0)[1]
    except ChildProcessError:
        return 0


def describe_end(status: int) -> str:
    """Return in words how a process with this wait status ended."""
    if os.WIFSIGNALED(status):
        return f"was ended by signal {os.WTERMSIG(status)}"
    return f"ended with {os.WEXITSTATUS(status)}"
