"""The monitor: one process per container that starts it, holds its console, waits for its end and cleans up.

It is forked by whoever starts the container, and depends on nobody afterwards: supervisor, web pages and
module updates come and go.  It waits in select for the console, its socket and PID 1's end; it never polls.
"""

import contextlib
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from typing import NoReturn

import msgspec
from msgspec import Struct

from berth.android.labels import label_image
from berth.engine import cgroups, rest
from berth.engine.boot import Boot, boot, describe_end
from berth.engine.cgroup_mounts import mount_missing
from berth.engine.channel import Channel
from berth.engine.console import Console
from berth.engine.containers import user_of_image
from berth.engine.events import announce
from berth.engine.guard import Guard
from berth.engine.hooks import run_hook
from berth.engine.hotplug import Hotplug
from berth.engine.init import Birth
from berth.engine.inspect import read_rootfs
from berth.engine.journal import Journal, RunFolder, State, boot_id, identity_of, read_record
from berth.engine.network import EFFECT, Membership
from berth.engine.own_mounts import take_own_mounts
from berth.engine.surroundings import leave_surroundings
from berth.engine.switchboard import Switchboard
from berth.engine.undo import undo
from berth.errors import BerthError
from berth.host import Host
from berth.kernel import seccomp
from berth.kernel.call import KernelError, explain
from berth.kernel.mounts import umount
from berth.kernel.processes import Process, become_subreaper, end_with, fork, name_process, setsid, start_time
from berth.kernel.signals import Wakeup
from berth.plan import plan as make_plan
from berth.plan.model import DevicePolicy, Plan
from berth.spec import Hook, Spec, StartOptions
from berth.storage.images import ImageBusy, MountedImage, mount_image
from berth.store import Home, remember_end

IMAGE_FOLDER = "/mnt/berth"
_NUMBERS_OF_INIT = 1000  # journal entries that PID 1 may write while it sets up
_QUICK_SECONDS = 1.0
_MOST_QUICK_REBOOTS = 5
_POWERED_OFF = "powered off"


class Started(Struct, frozen=True):
    """What a start has to tell: init's pid on the host, the binds that were skipped, and what else is worth knowing."""

    pid: int
    skipped: tuple[str, ...]
    warnings: tuple[str, ...]


class StartFailed(BerthError):
    """A start failed in an orderly way: everything is undone."""


class Monitor:
    """Starts one container and stays with it until its end.

    `plan` is None for an image: what is in it decides too, and that is seen only when it is mounted.
    """

    def __init__(
        self,
        home: Home,
        spec: Spec,
        options: StartOptions,
        host: Host,
        reached: Callable[[str], None],
        *,
        plan: Plan | None,
        member: Membership | None,
    ) -> None:
        self.home = home
        self.spec = spec
        self.options = options
        self.host = host
        self.decided = plan
        self.reached = reached
        self.member = member
        self.folder = RunFolder(home, spec.name)
        self.board: Switchboard | None = None
        self.guard: Guard | None = None
        self.terminals: list[int] = []

    def run(self, report: Channel, lock: int) -> NoReturn:
        """Start the container, tell `report` how that went, and stay until it ends; never returns.

        `lock` is held until there is a record: a second start must not come between, even if the caller is killed.
        """
        network = self.member.filenos() if self.member else ()
        leave_surroundings((report.fileno(), lock, *network), self.host.cgroups)
        name_process(f"berth: {self.spec.name}", f"berth: monitor of {self.spec.name}")
        become_subreaper()
        setsid()
        self.reached("forked")
        try:
            self.journal = Journal.create(self.folder.journal)
            self.state = State(
                stage="starting",
                name=self.spec.name,
                boot=boot_id(),
                monitor=(os.getpid(), start_time(os.getpid()) or 0),
                rootfs=self.spec.rootfs or "",
                image=self.spec.image or "",
                options=self.options,
            )
            self._save()
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(self.folder.journal)
            why = f"its record can't be written in {self.folder.path}: {error.strerror}"
            report.send({"error": f"container {self.spec.name}: {why}"})
            os._exit(1)
        os.close(lock)
        announce(self.home, self.spec.name, self.state.stage)
        self.reached("recorded")
        image: MountedImage | None = None
        try:
            take_own_mounts()
            rootfs, image = self._open_rootfs()
            init = self._first_boot(rootfs)
        except (BerthError, OSError) as error:
            self._clean_up(image)
            why = str(error) if isinstance(error, BerthError) else f"container {self.spec.name}: {explain(error)}"
            self._report(report, {"error": why})
            announce(self.home, self.spec.name, "failed", why)
            os._exit(1)
        started = Started(init.pid, self.state.skipped, self.state.warnings)
        self._report(report, {"started": msgspec.to_builtins(started)})
        report.close()
        assert self.board is not None
        how = self._watch(init, rootfs, self.board)
        self.reached("ended")
        self._run_poststop()
        self._clean_up(image)
        self._remember_end(how)
        announce(self.home, self.spec.name, "stopped", how)
        os._exit(0)

    @staticmethod
    def _report(report: Channel, message: dict[str, object]) -> None:
        with contextlib.suppress(OSError):  # the caller was killed; the container goes on
            report.send(message)

    def _save(self, **changes: object) -> None:
        before = self.state.stage
        self.state = msgspec.structs.replace(self.state, **changes)
        self.journal.save(self.state)
        if self.state.stage != before:
            announce(self.home, self.spec.name, self.state.stage)

    def _open_rootfs(self) -> tuple[str, MountedImage | None]:
        """Return the folder that becomes the root, having mounted the image if there is one."""
        if self.spec.rootfs is not None:
            return self.spec.rootfs, None
        assert self.spec.image is not None
        if self.host.android and self.host.selinux != "off":
            label_image(self.spec.image)
        target = self._make_folder(os.path.join(IMAGE_FOLDER, self.spec.name))
        try:
            image = mount_image(
                self.spec.image,
                target,
                policy=self.spec.fsck,
                read_only=self.options.volatile,
                tools=self.host.tools,
                now=int(time.time()),
                node_folder=self.folder.path,
            )
        except ImageBusy as error:
            user = user_of_image(self.home, self.spec.image, self.spec.name)
            if user is None:
                raise
            raise BerthError(f"image {self.spec.image}: container {user} runs from it; stop that one first") from error
        self._save(warnings=image.warnings)
        self.reached("mounted")
        return target, image

    def _make_folder(self, path: str) -> str:
        """Make the folders of `path` that are missing, each told to the record first."""
        if not os.path.isdir(path):
            self._make_folder(os.path.dirname(path))
            number = self.journal.intend("folder", path)
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o755)
            self.journal.done(number, identity_of(os.lstat(path)))
        return path

    def _first_boot(self, folder: str) -> Process:
        self.plan = self.decided or self._decide(folder)
        self._save(plan=self.plan, warnings=(*self.state.warnings, *self.plan.warnings))
        mount_missing(self.plan.cgroups)
        cgroups.create(self.plan.cgroups, self.plan.devices, self.plan.name, self.journal)
        cgroups.keep_sysctls(self.plan.cgroups, self.plan.sysctls, self.plan.name)
        self.reached("cgroups")
        self.program = seccomp.assemble(self.plan.syscall_rules, self.host.machine) if self.plan.syscall_rules else b""
        self.board = Switchboard(self.folder)
        self.guard = Guard(self.board, lambda: self.plan)
        if self.member is not None:  # before PID 1 is there, which numbers its own entries from where this process is
            number = self.journal.intend(EFFECT, self.spec.name)
            self.journal.done(number, self.member.address)
        return self._boot(folder)

    def _decide(self, folder: str) -> Plan:
        root = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            rootfs = read_rootfs(root, self.spec.init, self.spec.image or folder)
        finally:
            os.close(root)
        return make_plan(self.spec, self.options, self.host, rootfs)

    def _boot(self, folder: str) -> Process:
        birth = Birth(
            plan=self.plan,
            rootfs=folder,
            new_root=self.folder.new_root,
            resolv_conf=self.folder.resolv_conf,
            program=self.program,
            journal=self.journal if self.spec.image is None else None,
            hooks=self._hooks("prechroot"),
        )
        assert self.guard is not None
        order = Boot(
            birth,
            self._hooks("prestart"),
            self.reached,
            self._take_init,
            self._take_console,
            take_listener=self.guard.take,
        )
        try:
            process = boot(order)
        except (BerthError, OSError):
            if self.board is not None and self.board.console is not None:
                self.board.console.hang_up()  # what init said before it failed goes to the log
            raise
        for master in self.terminals:
            os.close(master)
        self.terminals = order.terminals  # nobody looks at them, but without us they would be hung up
        self.journal.skip_numbers(_NUMBERS_OF_INIT)
        self._save(
            stage="running",
            init=(process.pid, process.started or 0),
            started_at=time.time(),
            skipped=order.skipped,
        )
        self.journal.shorten()
        self.reached("running")
        return process

    def _take_init(self, init: Process) -> None:
        self._save(init=(init.pid, init.started or 0))
        if self.member is not None:
            self.member.attach(init.pid)

    def _take_console(self, master: int, slave: int) -> None:
        assert self.board is not None
        if self.board.console is None:
            self.board.console = Console(master, slave, self.home.log(self.spec.name))
        else:
            self.board.console.renew(master, slave)

    def _hooks(self, stage: str) -> tuple[Hook, ...]:
        return tuple(hook for hook in self.spec.hooks if hook.stage == stage)

    def _watch(self, init: Process, folder: str, board: Switchboard) -> str:
        """Serve console and socket until the container has ended for good; return how, in words."""
        quick_reboots = 0
        if self.member is not None:
            self.member.watch_by(board, self._complain)
        with Wakeup(signal.SIGCHLD) as news:
            while True:
                began = time.monotonic()
                with self._devices_followed(init.pid, board):
                    status = board.serve(partial(_reap, init.pid, news), news.fileno())
                init.close()
                if board.console is not None:
                    board.console.hang_up()
                rebooted = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGHUP
                if not rebooted or board.stopping:
                    return _end_in_words(status)
                quick_reboots = quick_reboots + 1 if time.monotonic() - began < _QUICK_SECONDS else 0
                if quick_reboots == _MOST_QUICK_REBOOTS:
                    return (
                        f"rebooted {quick_reboots} times in a row within {_QUICK_SECONDS:g} s, so it was left stopped"
                    )
                try:
                    cgroups.empty(self.plan.cgroups, self.plan.name)
                    init = self._boot(folder)
                    announce(self.home, self.spec.name, "rebooted")
                except (BerthError, OSError) as error:
                    return f"did not come back after a reboot: {error}"

    @contextlib.contextmanager
    def _devices_followed(self, init: int, board: Switchboard) -> Iterator[None]:
        if not self.spec.hw_access:
            yield
            return
        devices = self.plan.devices
        hotplug = Hotplug(init, self.spec, self.host, devices, redefine=self._redefine_devices, complain=self._complain)
        for fd in hotplug.filenos():
            board.watch(fd, hotplug.follow)
        yield
        for fd in hotplug.filenos():
            board.forget(fd)
        hotplug.close()

    def _redefine_devices(self, policy: DevicePolicy) -> None:
        cgroups.redefine_devices(self.plan.cgroups, policy, self.plan.name)
        self.plan = msgspec.structs.replace(self.plan, devices=policy)
        self._save(plan=self.plan)
        self.journal.shorten()

    def _complain(self, sentence: str) -> None:
        _log(self.home.log(self.spec.name), [f"{sentence}\n"])

    def _run_poststop(self) -> None:
        for hook in self._hooks("poststop"):
            try:
                run_hook(hook, self.spec.name)
            except BerthError as error:
                _log(self.home.log(self.spec.name), [f"{error}\n"])

    def _clean_up(self, image: MountedImage | None) -> None:
        """Undo everything that the record lists and remove it; what could not be undone keeps the record."""
        if image is not None:
            with contextlib.suppress(KernelError):
                umount(os.path.join(IMAGE_FOLDER, self.spec.name))
                _await_release(image)
        if self.board is not None:
            self.board.close()
        _, effects = read_record(self.folder.journal)
        troubles = undo(self.journal, self.state, effects)
        if troubles:
            self._save(stage="stuck", warnings=(*self.state.warnings, *troubles))
            return
        self.reached("undone")
        self.folder.forget(self.journal)

    def _remember_end(self, how: str) -> None:
        if how == _POWERED_OFF:
            rest.note(self.home, self.spec.name)
        with contextlib.suppress(OSError):
            remember_end(self.home, self.spec.name, how)


def _await_release(image: MountedImage) -> None:
    """Wait until the loop device has let go of the image: the last of its mounts may go a moment after PID 1.

    The kernel tells nobody when that is, so this looks, for a second at most.
    """
    backing = f"/sys/block/loop{image.loop}/loop/backing_file"
    pause = 0.0005
    while image.loop is not None and os.path.exists(backing) and pause < 0.5:
        time.sleep(pause)
        pause *= 2


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


def _leave_last_words(home: Home, name: str, error: BaseException, report: Channel) -> None:
    _log(home.log(name), traceback.format_exception(error))
    said = explain(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
    report.send({"error": f"container {name}: its monitor could not go on: {said}"})


def _log(path: str, lines: list[str]) -> None:
    """Write lines of our own to the container's log: a monitor has no other place to say something."""
    with contextlib.suppress(OSError), open(path, "a", encoding="utf-8") as file:
        file.writelines(f"[berth] {line}" for line in lines)


def start_monitor(
    home: Home,
    spec: Spec,
    options: StartOptions,
    host: Host,
    reached: Callable[[str], None],
    *,
    plan: Plan | None,
    lock: int,
    member: Membership | None = None,
) -> Started:
    """Fork a monitor for `spec` and return what came of the start once its init has been executed.

    `lock` is the descriptor that holds the container's lock, `member` its place on the network.  Raises StartFailed
    with the failing step, nothing being left of the attempt, and BerthError when the monitor was killed.
    """
    ours, theirs = Channel.pair()
    pid = fork()
    if pid == 0:
        end_with(
            lambda: Monitor(home, spec, options, host, reached, plan=plan, member=member).run(theirs, lock),
            lambda error: _leave_last_words(home, spec.name, error, theirs),
        )
    theirs.close()
    message, _ = ours.receive()
    ours.close()
    if message is None:
        os.waitpid(pid, 0)
        raise BerthError(f'container {spec.name}: its monitor was killed during the start; run "berth recover"')
    if "error" in message:
        with contextlib.suppress(OSError):
            os.waitpid(pid, 0)
        raise StartFailed(message["error"])
    return msgspec.convert(message["started"], Started)
