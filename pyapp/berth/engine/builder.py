"""The builder: a child of the monitor that makes a container, and hands it over when init has been executed.

What it has read and planned is gone with it, so that the monitor, which stays, is small: every page that a forked
Python writes to is a page of its own.  It only makes things and tells the record; whatever comes of it, the monitor
takes them back.
"""

import contextlib
import os
import signal
import time
from functools import partial

import msgspec
from msgspec import Struct

from berth.android.labels import label_image
from berth.engine import awake, cgroups, selinux
from berth.engine.boot import Boot, boot
from berth.engine.cgroup_mounts import mount_missing
from berth.engine.channel import Channel
from berth.engine.console import Console
from berth.engine.containers import user_of_image
from berth.engine.events import announce
from berth.engine.init import Birth
from berth.engine.inspect import read_rootfs
from berth.engine.journal import Journal, RunFolder, State, identity_of, read_record
from berth.engine.network import EFFECT, Membership
from berth.engine.order import Order, Started
from berth.engine.stages import come_to, reached
from berth.errors import BerthError
from berth.kernel import seccomp
from berth.kernel.call import explain
from berth.kernel.processes import (
    Process,
    boot_id,
    close_all_but,
    die_with_parent,
    name_process,
    reset_signals,
    start_time,
)
from berth.kernel.sockets import listen
from berth.plan import plan as make_plan
from berth.plan.model import Plan, Wakelock
from berth.spec import Hook
from berth.storage.images import ImageBusy, mount_image


class Built(Struct, frozen=True, kw_only=True):
    """What the monitor has to know of a container that runs.

    Descriptors come beside it: the container's socket at first, the console's master and slave, the masters of its
    other `terminals`, what hears the filter.

    `init` is pid and start time (clock ticks), `loop` the number of the image's loop device, None without one.
    """

    init: tuple[int, int]
    loop: int | None
    hw_access: bool
    poststop: tuple[Hook, ...]
    wakelock: Wakelock | None
    terminals: int


read_built = msgspec.json.Decoder(Built).decode


class Builder:
    """Makes one container, and makes it again after a reboot; a process of its own does either."""

    def __init__(self, order: Order, journal: Journal, member: Membership | None) -> None:
        self.order = order
        self.home = order.home
        self.spec = order.spec
        self.journal = journal
        self.member = member
        self.folder = RunFolder(self.home, self.spec.name)
        self.console: tuple[int, int] | None = None
        self.socket: tuple[int, ...] = ()
        self.listeners: list[int] = []
        self.terminals: list[int] = []
        self.come_to = partial(come_to, self.home, self.spec.name)
        self.loop: int | None = None

    def build(self) -> None:
        """Open the record, mount the image, make the cgroups, boot.  Raises BerthError and OSError."""
        monitor = os.getppid()
        self.state = State(
            stage="starting",
            name=self.spec.name,
            boot=boot_id(),
            monitor=(monitor, start_time(monitor) or 0),
            rootfs=self.spec.rootfs or "",
            image=self.spec.image or "",
            options=self.order.options,
        )
        try:
            self._save()
        except OSError as error:
            why = f"its record can't be written in {self.folder.path}: {error.strerror}"
            raise BerthError(f"container {self.spec.name}: {why}") from error
        announce(self.home, self.spec.name, self.state.stage)
        self.come_to("recorded")
        folder = self._open_rootfs()
        plan = self.order.plan or self._decide(folder)
        self._save(plan=plan, warnings=(*self.state.warnings, *plan.warnings, *self.order.notices))
        mount_missing(plan.cgroups)
        cgroups.create(plan.cgroups, plan.devices, plan.name, self.journal)
        cgroups.keep_sysctls(plan.cgroups, plan.sysctls, plan.name)
        if plan.selinux_permissive:
            selinux.make_permissive(self.home.run, self.spec.name, self.journal)
        if plan.wakelock is not None:  # which the monitor will hold
            self.journal.intend(awake.EFFECT, plan.wakelock.name)
        self.come_to("cgroups")
        if self.member is not None:
            self.journal.intend(EFFECT, self.spec.name)
        self.socket = (listen(self.folder.socket).detach(),)
        self._boot(folder, plan)
        announce(self.home, self.spec.name, self.state.stage)

    def build_again(self) -> None:
        """Boot once more, in the same cgroups and on the same mount.  Raises BerthError and OSError."""
        state, _ = read_record(self.folder.journal)
        if state is None or state.plan is None:
            raise BerthError("its record is not whole")
        self.state = state
        self.journal.number_on()
        self._save(stage="rebooting")  # until it has its root again, whoever entered would find the host's
        cgroups.empty(state.plan.cgroups, state.plan.name)
        self._boot(self.spec.rootfs or self.order.image_target, state.plan)
        announce(self.home, self.spec.name, "rebooted")

    def _save(self, **changes: object) -> None:
        self.state = msgspec.structs.replace(self.state, **changes)
        self.journal.save(self.state)

    def _open_rootfs(self) -> str:
        """Return the folder that becomes the root, having mounted the image if there is one."""
        if self.spec.rootfs is not None:
            return self.spec.rootfs
        assert self.spec.image is not None
        if self.order.host.android and self.order.host.selinux != "off":
            label_image(self.spec.image)
        target = self._make_folder(self.order.image_target)
        try:
            image = mount_image(
                self.spec.image,
                target,
                policy=self.spec.fsck,
                read_only=self.order.options.volatile,
                tools=self.order.host.tools,
                now=int(time.time()),
                node_folder=self.folder.path,
            )
        except ImageBusy as error:
            user = user_of_image(self.home, self.spec.image, self.spec.name)
            if user is None:
                raise
            raise BerthError(f"image {self.spec.image}: container {user} runs from it; stop that one first") from error
        self.loop = image.loop
        self._save(warnings=image.warnings)
        self.come_to("mounted")
        return target

    def _make_folder(self, path: str) -> str:
        """Make the folders of `path` that are missing, each told to the record first."""
        if not os.path.isdir(path):
            self._make_folder(os.path.dirname(path))
            number = self.journal.intend("folder", path)
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o755)
            self.journal.done(number, identity_of(os.lstat(path)))
        return path

    def _decide(self, folder: str) -> Plan:
        root = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            rootfs = read_rootfs(root, self.spec.init, self.spec.image or folder)
        finally:
            os.close(root)
        return make_plan(self.spec, self.order.options, self.order.host, rootfs)

    def _boot(self, folder: str, plan: Plan) -> None:
        rules = plan.syscall_rules
        birth = Birth(
            plan=plan,
            rootfs=folder,
            new_root=self.folder.new_root,
            resolv_conf=self.folder.resolv_conf,
            program=seccomp.assemble(rules, self.order.host.machine) if rules else b"",
            journal=self.journal if self.spec.image is None else None,
            hooks=self.order.hooks("prechroot"),
        )
        prestart = self.order.hooks("prestart")
        order = Boot(
            birth, prestart, self.come_to, self._take_init, self._take_console, take_listener=self.listeners.append
        )
        try:
            init = boot(order)
        except (BerthError, OSError):
            if self.console is not None:  # what init said before it failed goes to the log
                Console(*self.console, self.home.log(self.spec.name)).hang_up()
            raise
        self._save(stage="running", init=(init.pid, init.started or 0), started_at=time.time(), skipped=order.skipped)
        self.terminals = order.terminals
        reached("running")

    def _take_init(self, init: Process) -> None:
        self._save(init=(init.pid, init.started or 0))
        if self.member is not None:
            self.member.attach(init.pid)

    def _take_console(self, master: int, slave: int) -> None:
        self.console = (master, slave)

    def hand_over(self, monitor: Channel) -> None:
        """Tell the monitor what runs, and give it what it will need; raises OSError when it is gone.

        It may be busy with that when others hear of it: whoever calls the monitor then will be heard next.
        """
        assert self.state.init is not None
        built = Built(
            init=self.state.init,
            loop=self.loop,
            hw_access=self.spec.hw_access,
            poststop=self.order.hooks("poststop"),
            wakelock=self.state.plan.wakelock if self.state.plan else None,
            terminals=len(self.terminals),
        )
        encoded = msgspec.json.encode(built).decode()
        monitor.send({"built": encoded}, (*self.socket, *(self.console or ()), *self.terminals, *self.listeners))

    def report(self, caller: Channel) -> None:
        """Tell who ordered the container that it runs, if that process is still there."""
        assert self.state.init is not None
        started = Started(self.state.init[0], self.state.skipped, self.state.warnings)
        with contextlib.suppress(OSError):
            caller.send({"started": msgspec.to_builtins(started)})


def become_builder(builder_of: int, keep: tuple[int, ...]) -> None:
    """Make the calling process, just forked by monitor `builder_of`, its builder: it ends with the monitor.

    Only the descriptors `keep` stay open.  Raises KernelError.
    """
    reset_signals()
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    close_all_but(*keep)
    die_with_parent()
    if os.getppid() != builder_of:
        os._exit(1)
    name_process("berth: builder")


def explain_failure(name: str, error: BerthError | OSError) -> str:
    """Return in one sentence why the start of container `name` failed."""
    return str(error) if isinstance(error, BerthError) else f"container {name}: {explain(error)}"
