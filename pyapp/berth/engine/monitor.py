"""The monitor: one process per container that has it built, holds its console, waits for its end and cleans up.

It depends on nobody: supervisor, web pages and module updates come and go.  It waits in poll for the console, its
socket and PID 1's end; it never polls.  It stays for as long as the container runs and so is kept small: it knows
little more than a name, and what takes knowledge is done by children, or at its end.
"""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple, NoReturn

import msgspec
from msgspec import Struct

from berth.engine import cgroups, probation, rest
from berth.engine.allowed import read_allowed
from berth.engine.awake import Awake
from berth.engine.boot import describe_end
from berth.engine.builder import Builder, Built, become_builder, explain_failure, read_built
from berth.engine.channel import Channel
from berth.engine.console import Console
from berth.engine.ending import break_off, clean_up
from berth.engine.events import announce
from berth.engine.guard import Guard
from berth.engine.hooks import run_hook
from berth.engine.hotplug import Hotplug
from berth.engine.journal import Journal, RunFolder, State, read_record
from berth.engine.last_words import complain, leave_last_words
from berth.engine.network import Membership
from berth.engine.order import Order
from berth.engine.own_mounts import take_own_mounts
from berth.engine.stages import reached
from berth.engine.switchboard import Switchboard
from berth.errors import BerthError
from berth.home import Home
from berth.kernel.namespaces import setns
from berth.kernel.processes import become_subreaper, close_all_but, end_with, fork, name_process, setsid
from berth.kernel.signals import Wakeup
from berth.plan.model import DevicePolicy, Plan
from berth.store import remember_end

_QUICK_SECONDS = 1.0
_MOST_QUICK_REBOOTS = 5
_POWERED_OFF = "powered off"


class Task(Struct, frozen=True, kw_only=True):
    """What a monitor knows: its container's name, and the home at `state` and `run`.

    `descriptors` says which it was given: where its order comes from and it reports to, and the container's lock.
    """

    name: str
    state: str
    run: str
    descriptors: tuple[int, ...]


def monitor(task: Task) -> NoReturn:
    """Be the monitor of a container, in a process that was forked for it and has left its surroundings; never returns.

    The lock is held until there is a record: a second start must not come between, even if the caller is killed.
    """
    report, lock = task.descriptors
    home = Home(task.state, task.run)
    channel = Channel(socket.socket(fileno=report))

    def tell(error: BaseException) -> None:
        why = leave_last_words(home, task.name, error)
        channel.send({"error": f"container {task.name}: its monitor could not go on: {why}"})

    end_with(lambda: Monitor(home, task.name).run(lock, channel), tell)


class _Forked(NamedTuple):
    """A builder that waits to be told, and the channel to it."""

    pid: int
    channel: Channel


class Monitor:
    """Has one container built and stays with it until its end."""

    def __init__(self, home: Home, name: str) -> None:
        self.home = home
        self.name = name
        self.folder = RunFolder(home, name)
        self.member: Membership | None = None
        self.loop: int | None = None
        self.terminals: list[int] = []

    def run(self, lock: int, report: Channel) -> None:
        """Await the order, have the container started, which the builder reports, and stay until it ends.

        Where the start was refused after all, or its worker killed, there is no order, and this returns.
        """
        name_process(f"berth: {self.name}", f"berth: monitor of {self.name}")
        become_subreaper()
        setsid()
        with Wakeup(signal.SIGCHLD) as news:
            self.outside = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            try:
                take_own_mounts()
                builder = self._fork_builder(Builder.build, report)  # which begins while the order is being written
            except OSError as error:
                report.send({"error": explain_failure(self.name, error)})
                os._exit(1)
            if not self._await_order(report):
                return
            reached("forked")
            self._open_record(report)
            os.close(lock)
            try:
                built, (listener, *descriptors) = self._have_built(builder)
            except (BerthError, OSError) as error:
                self._fail(explain_failure(self.name, error), report)
            report.close()
            self.loop = built.loop
            self.board = Switchboard(socket.socket(fileno=listener))
            self.guard = Guard(self.board, partial(read_allowed, self.folder.journal))
            self._take_over(built, descriptors)
            if built.wakelock is not None:
                Awake(built.wakelock, partial(complain, self.home, self.name)).watch_by(self.board)
            how = self._watch(built, news)
        self._finish(built, how)

    def _await_order(self, report: Channel) -> bool:
        """Say that this is there, and return whether an order came."""
        with contextlib.suppress(OSError):  # whoever wanted it has been killed
            report.send({"here": True})
        _, descriptors = report.receive()
        if not descriptors:
            return False
        self.order, *network = descriptors
        if network:
            self.member = Membership(self.home, self.name, socket.socket(fileno=network[0]), mounts=self.outside)
        return True

    def _open_record(self, report: Channel) -> None:
        try:
            self.journal = Journal.create(self.folder.journal)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(self.folder.journal)
            why = f"its record can't be written in {self.folder.path}: {error.strerror}"
            report.send({"error": f"container {self.name}: {why}"})
            os._exit(1)

    def _finish(self, built: Built, how: str) -> NoReturn:
        reached("ended")
        for hook in built.poststop:
            try:
                run_hook(hook, self.name)
            except BerthError as error:
                complain(self.home, self.name, error)
        if how == _POWERED_OFF:  # noted before it counts as stopped, when it may be asked about or started again
            rest.note(self.home, self.name)
        with contextlib.suppress(OSError):
            remember_end(self.home, self.name, how)
        probation.end(self.home, self.name)
        if clean_up(self.journal, self.folder, self.loop):
            announce(self.home, self.name, "stuck")
        announce(self.home, self.name, "stopped", how)
        with contextlib.suppress(OSError):
            setns(self.outside, "mount")
            close_all_but(*self.board.waiting())
            self.board.dismiss()  # all that is left of this process is memory
        os._exit(0)

    def _fork_builder(self, work: Callable[[Builder], None], report: Channel | None = None) -> _Forked:
        """Fork a builder that will do `work` and tell `report` of it, as soon as it is told with what."""
        ours, theirs = Channel.pair()
        own = os.getpid()
        pid = fork()
        if pid == 0:
            end_with(lambda: self._be_builder(own, work, theirs, report), lambda error: theirs.send(self._told(error)))
        theirs.close()
        return _Forked(pid, ours)

    def _have_built(self, builder: _Forked) -> tuple[Built, list[int]]:
        """Have `builder` do its work; return what it made, with the descriptors of that.

        Raises BerthError when it could not, or was killed.
        """
        network = (self.member.fileno(),) if self.member else ()
        with contextlib.suppress(OSError):  # it was killed
            builder.channel.send({"build": True}, (self.order, self.journal.fd, *network))
        message, descriptors = builder.channel.receive()
        builder.channel.close()
        if message is None or "built" not in message:
            os.waitpid(builder.pid, 0)
            break_off(self.folder)
            killed = f"container {self.name}: the process that built it was killed; start it again"
            raise BerthError(message["error"] if message else killed)
        return read_built(message["built"]), descriptors

    def _take_over(self, built: Built, descriptors: list[int]) -> None:
        master, slave, *others = descriptors
        for terminal in self.terminals:
            os.close(terminal)
        self.terminals = others[: built.terminals]  # nobody looks at them, but without us they would be hung up
        if self.board.console is None:
            self.board.console = Console(master, slave, self.home.log(self.name))
        else:
            self.board.console.renew(master, slave)
        for listener in others[built.terminals :]:
            self.guard.take(listener)
        self.journal.shorten()

    def _be_builder(self, own: int, work: Callable[[Builder], None], channel: Channel, report: Channel | None) -> None:
        become_builder(own, (channel.fileno(), *((report.fileno(),) if report else ())))
        message, descriptors = channel.receive()
        if message is None:
            return  # the start was refused
        order, record, *network = descriptors
        member = Membership(self.home, self.name, socket.socket(fileno=network[0])) if network else None
        builder = Builder(Order.read(order), Journal(self.folder.journal, record), member)
        work(builder)
        builder.hand_over(channel)
        if report is not None:
            builder.report(report)

    def _told(self, error: BaseException) -> dict[str, object]:
        if isinstance(error, (BerthError, OSError)):
            return {"error": explain_failure(self.name, error)}
        return {"error": f"container {self.name}: could not be built: {leave_last_words(self.home, self.name, error)}"}

    def _fail(self, why: str, report: Channel) -> NoReturn:
        probation.end(self.home, self.name)
        clean_up(self.journal, self.folder, self.loop)
        with contextlib.suppress(OSError):  # the caller was killed
            report.send({"error": why})
        announce(self.home, self.name, "failed", why)
        os._exit(1)

    def _watch(self, built: Built, news: Wakeup) -> str:
        """Serve console and socket until the container has ended for good; return how, in words."""
        quick_reboots = 0
        if self.member is not None:
            self.member.watch_by(self.board, partial(complain, self.home, self.name))
        while True:
            began = time.monotonic()
            with self._devices_followed(built):
                status = self.board.serve(partial(_reap, built.init[0], news), news.fileno())
            if self.board.console is not None:
                self.board.console.hang_up()
            rebooted = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGHUP
            if not rebooted or self.board.stopping:
                return _end_in_words(status)
            quick_reboots = quick_reboots + 1 if time.monotonic() - began < _QUICK_SECONDS else 0
            if quick_reboots == _MOST_QUICK_REBOOTS:
                return f"rebooted {quick_reboots} times in a row within {_QUICK_SECONDS:g} s, so it was left stopped"
            try:
                built, descriptors = self._have_built(self._fork_builder(Builder.build_again))
                self._take_over(built, descriptors)
            except (BerthError, OSError) as error:
                return f"did not come back after a reboot: {error}"

    @contextlib.contextmanager
    def _devices_followed(self, built: Built) -> Iterator[None]:
        if not built.hw_access:
            yield
            return
        order, devices = Order.read(self.order), self._plan().devices
        hotplug = Hotplug(
            built.init[0],
            order.spec,
            order.host,
            devices,
            redefine=self._redefine_devices,
            complain=partial(complain, self.home, self.name),
        )
        for fd in hotplug.filenos():
            self.board.watch(fd, hotplug.follow)
        yield
        for fd in hotplug.filenos():
            self.board.forget(fd)
        hotplug.close()

    def _redefine_devices(self, policy: DevicePolicy) -> None:
        state = self._state()
        plan = msgspec.structs.replace(self._plan(), devices=policy)
        cgroups.redefine_devices(plan.cgroups, policy, plan.name)
        self.journal.save(msgspec.structs.replace(state, plan=plan))
        self.journal.shorten()

    def _plan(self) -> Plan:
        """Return the plan that is in force, as the record has it."""
        plan = self._state().plan
        assert plan is not None
        return plan

    def _state(self) -> State:
        state, _ = read_record(self.folder.journal)
        assert state is not None
        return state


def _reap(init: int, news: Wakeup) -> int | None:
    """Collect every exited child; return the wait status of `init` if it was among them."""
    news.clear()
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == init:
            found = status


def _end_in_words(status: int) -> str:
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGINT:
        return _POWERED_OFF
    return f"init {describe_end(status)}"
