"""From a forked process to the container's init: everything PID 1 does before it is replaced by the program.

Read `become_init` from top to bottom: it is in the order that the kernel needs.  The process is the first of its new
PID namespace, in the other namespaces and in the cgroups already.
"""

import errno
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Iterable
from typing import NoReturn

from berth.engine.channel import Channel
from berth.engine.confine import confine
from berth.engine.execute import NotExecuted, execute
from berth.engine.hooks import run_hook
from berth.engine.journal import Journal
from berth.engine.own_null import take_own_null
from berth.engine.reaper import reap_around
from berth.engine.stages import reached
from berth.engine.steps import StepError, Workshop, make_terminal
from berth.engine.surroundings import reset_limits
from berth.errors import BerthError
from berth.kernel.call import KernelError, calling, explain
from berth.kernel.mounts import (
    MNT_DETACH,
    MS_BIND,
    MS_MOVE,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    MS_SHARED,
    MS_SLAVE,
    mount,
    pivot_root,
    read_mounts,
    remount_flags,
    umount,
)
from berth.kernel.namespaces import sethostname, setns
from berth.kernel.processes import (
    close_all_but,
    die_with_parent,
    end_with,
    forbid_inspection,
    name_process,
    reset_signals,
    setsid,
)
from berth.kernel.terminals import make_controlling
from berth.plan.model import Plan
from berth.spec import Hook

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_SIOCGIFFLAGS_FORMAT = "16sH14x"


class Birth:
    """What PID 1 needs for its life as init, gathered before the fork.

    `rootfs` is the folder (or mounted image) that becomes `/`; `program` the assembled seccomp filter, empty for none.
    With `for_caller` PID 1 is a caller's program: it keeps the streams that are no terminal, sees only the one file
    system that `rootfs` is on, and nothing may be made in that; with `reaped` it is the child of a small init.
    """

    def __init__(
        self,
        *,
        plan: Plan,
        rootfs: str,
        new_root: str,
        resolv_conf: str,
        program: bytes,
        journal: Journal | None,
        hooks: tuple[Hook, ...] = (),
        for_caller: bool = False,
        reaped: bool = False,
    ) -> None:
        self.plan = plan
        self.rootfs = rootfs
        self.new_root = new_root
        self.resolv_conf = resolv_conf
        self.program = program
        self.journal = journal
        self.hooks = hooks
        self.for_caller = for_caller
        self.reaped = reaped


def become_init(birth: Birth, channel: Channel) -> NoReturn:
    """Build the container around the calling process and execute its init; never returns.

    Tells the monitor over `channel` when it is ready (with the console's master and slave) and waits for
    its word, so that a monitor that died leaves no half-made container; a failure is told as an error.
    """
    end_with(lambda: _build_and_execute(birth, channel), lambda error: channel.send(_told(error)))


def _told(error: BaseException) -> dict[str, object]:
    if isinstance(error, NotExecuted):
        return {"exec": error.errno}
    if isinstance(error, OSError):
        return {"error": explain(error)}
    if isinstance(error, (StepError, BerthError)):
        return {"error": str(error)}
    return {"error": f"{type(error).__name__}: {error}"}


def _build_and_execute(birth: Birth, channel: Channel) -> NoReturn:
    plan = birth.plan
    forbid_inspection()
    name_process("berth: init")
    reset_limits(plan.oom_score_adj)
    os.umask(0)
    close_all_but(channel.fileno(), *([birth.journal.fd] if birth.journal else []))
    sys.meta_path.clear()  # from here on an import would run the container's code

    mount(None, "/", None, MS_SLAVE | MS_REC)  # storage that is unlocked later still appears in binds
    root = _open_new_root(birth)
    workshop = Workshop(root, birth.resolv_conf, None if plan.volatile else birth.journal, makes=not birth.for_caller)
    for step in plan.steps:
        workshop.perform(step)
    if workshop.terminals:
        channel.send({"terminals": True}, tuple(workshop.terminals))
    console = make_terminal(root, "/dev/console") if plan.console else ()
    for hook in birth.hooks:
        run_hook(hook, plan.name, BERTH_ROOT=os.readlink(f"/proc/self/fd/{root}"))
    if plan.read_only_root:
        mount(None, root, None, MS_REMOUNT | MS_BIND | MS_RDONLY | remount_flags(root))

    _enter(root)
    mount(None, "/", None, MS_SHARED | MS_REC)  # among the container's own children, as systemd and Docker expect
    sethostname(plan.hostname)
    if "network" in plan.namespaces:
        _bring_up_loopback()

    reached("built")
    channel.send({"ready": True, "skipped": workshop.skipped}, console)
    if channel.receive()[0] is None:
        os._exit(1)  # the monitor is gone, and with it whoever would undo this container
    reached("released")
    if birth.for_caller:
        die_with_parent()
        channel.send({"bound": True})  # fails where the parent died before
    os.umask(0o022)
    setsid()
    if console:
        _take_streams(console[1], birth)
    if birth.for_caller:
        take_own_null()
    os.chdir("/")
    reset_signals()
    listener = confine(plan.capabilities, plan.syscall_rules, birth.program)
    if listener is not None:
        channel.send({"guard": True}, (listener,))
        os.close(listener)
    if birth.reaped:
        reap_around(plan.argv, plan.environment, channel, console[1] if console else None)
    execute(plan.argv, plan.environment)


def _open_new_root(birth: Birth) -> int:
    """Mount the rootfs, below an overlay if volatile, where it can become the root; return it with O_PATH."""
    lower = os.open(birth.rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if not birth.plan.volatile:
        mount(lower, birth.new_root, None, MS_BIND if birth.for_caller else MS_BIND | MS_REC)
        root = os.open(birth.new_root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        have = remount_flags(root)
        want = have & ~(MS_NOSUID | MS_NODEV | MS_NOEXEC)  # Android's /data is nosuid,nodev: sudo would not work
        if want != have:
            mount(None, root, None, MS_REMOUNT | MS_BIND | want)
        return root
    # The layers are named by descriptor and relative path: a comma or colon in a path would end the option.
    mount("tmpfs", birth.new_root, "tmpfs", MS_NODEV, f"mode=755,size={birth.plan.volatile_size}")
    os.chdir(birth.new_root)
    for folder in ("upper", "work", "root"):
        os.mkdir(folder, 0o755)
    mount("overlay", "root", "overlay", 0, f"lowerdir=/proc/self/fd/{lower},upperdir=upper,workdir=work")
    return os.open("root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _take_streams(slave: int, birth: Birth) -> None:
    """Put the terminal in the place of 0, 1, 2; for a caller's program only of those that were a terminal."""
    if not birth.for_caller:  # so that it is called /dev/console in /proc too
        slave = os.open("/dev/console", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    for number in range(3):
        if not birth.for_caller or os.isatty(number):
            os.dup2(slave, number)
    if birth.for_caller and not birth.reaped:
        make_controlling(slave)


def _enter(root: int) -> None:
    """Make `root` the root of this mount namespace and let go of the old one."""
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    os.fchdir(root)
    try:
        pivot_root(".", ".")
    except KernelError as error:
        if error.errno != errno.EINVAL:
            raise
        _enter_from_ramfs(root)
        return
    umount(".", MNT_DETACH)
    # Entering a mount namespace leads to its true root.  In a chroot, pivot_root exchanges that of the chroot only, and
    # root inside could go out by the same step.
    setns(own, "mount")
    if not os.path.samestat(os.stat("/"), os.fstat(root)):
        raise StepError("pivot_root: Berth runs in a chroot, which can't hold a container; start it outside")
    os.chdir("/")


def _enter_from_ramfs(root: int) -> None:
    """Do what pivot_root can't do where the root is the kernel's first ramfs: leave no mount but the new root.

    chroot alone could be left again through any mount of the host that is still in this namespace, so those are
    detached first.  The ramfs itself stays below, for it can't be unmounted; the plan refuses the one call that leads
    there.  The mounts above the new root can go only when it has been moved away: to /proc, which every host has.
    """
    here = os.readlink(f"/proc/self/fd/{root}")
    targets = [entry.target for entry in reversed(read_mounts())]
    others = [target for target in targets if target not in ("/", here) and not target.startswith(f"{here}/")]
    mount(None, "/", None, MS_PRIVATE)  # what the host mounts later must not appear there
    os.fchdir(root)
    _detach(target for target in others if not here.startswith(f"{target}/"))
    mount(".", "/proc", None, MS_MOVE)
    _detach(target for target in others if here.startswith(f"{target}/"))
    mount(".", "/", None, MS_MOVE)
    os.chroot(".")
    os.chdir("/")


def _detach(targets: Iterable[str]) -> None:
    for target in targets:
        try:
            umount(target, MNT_DETACH)
        except KernelError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT):
                raise  # gone already with the mount that held it is fine; anything else is a way out


def _bring_up_loopback() -> None:
    with (
        calling("bringing the loopback up"),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
    ):
        request = struct.pack(_SIOCGIFFLAGS_FORMAT, b"lo", 0)
        _, flags = struct.unpack(_SIOCGIFFLAGS_FORMAT, fcntl.ioctl(sock, _SIOCGIFFLAGS, request))
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack(_SIOCGIFFLAGS_FORMAT, b"lo", flags | _IFF_UP))
