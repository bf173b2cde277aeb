"""What this device really can do, found out by doing it: in processes and mount namespaces that end at once."""

import ctypes
import errno
import os
import signal
import stat
import struct
from collections.abc import Callable
from functools import partial
from typing import Final

from berth.engine.apart import do_apart
from berth.engine.device import free_space
from berth.engine.own_mounts import take_own_mounts
from berth.engine.requirements import Finding, Probes
from berth.errors import BerthError
from berth.home import Home
from berth.host import Host
from berth.kernel import seccomp
from berth.kernel.call import KernelError, syscall
from berth.kernel.compat import execute_narrow_program
from berth.kernel.loop import attach
from berth.kernel.mounts import AT_FDCWD, MS_NOEXEC, MS_NOSUID, mount, pivot_root
from berth.kernel.namespaces import unshare
from berth.kernel.processes import pidfd_open
from berth.kernel.terminals import open_pty
from berth.plan.cgroups import OWN_MOUNTS

_SYS_CLONE3: Final = 435
_SYS_CLOSE_RANGE: Final = 436
_SYS_OPENAT2: Final = 437
_CLONE_INTO_CGROUP: Final = 0x200000000
_NAMESPACES: Final = ("mount", "pid", "uts", "ipc", "cgroup", "network")
_TUN: Final = os.makedev(10, 200)
_FUSE: Final = os.makedev(10, 229)


def read_probes(home: Home, host: Host) -> Probes:
    """Try everything that a requirement asks for and return what was found; nothing stays changed."""
    controllers = _unified_controllers(host)
    return Probes(
        root=Finding(os.geteuid() == 0, f"user {os.geteuid()}"),
        namespaces={word: _try(partial(unshare, word)) for word in _NAMESPACES},
        pivot_root=_try(_pivot),
        devpts=_try(_open_terminal),
        seccomp=_try(lambda: seccomp.install(seccomp.assemble((), host.machine))),
        overlay=_try(_mount_overlay),
        loop=_try(_attach_loop),
        ext4=_try(_mount_ext4),
        cgroup2=controllers if isinstance(controllers, Finding) else Finding(True, "can be mounted"),
        cgroup2_controllers=() if isinstance(controllers, Finding) else controllers,
        pidfd=_try(_open_pidfd),
        clone_into_cgroup=_try(_clone_into_cgroup),
        openat2=_try(_openat2),
        close_range=_try(_close_range),
        narrow=_try(lambda: execute_narrow_program(host.machine)),
        tun=_try(lambda: _open_device(_TUN)),
        fuse=_try(lambda: _open_device(_FUSE)),
        free=free_space(home.state),
    )


def _try(work: Callable[[], object]) -> Finding:
    def done() -> bool:
        work()
        return True

    try:
        return Finding(do_apart(done, bool))
    except OSError as error:
        return Finding(False, os.strerror(error.errno or errno.EIO))
    except BerthError as error:
        return Finding(False, str(error))


def _be_private() -> None:
    """Give the process mounts of its own, with an empty folder for what a probe needs."""
    take_own_mounts()
    mount("tmpfs", OWN_MOUNTS, "tmpfs", 0, "mode=700,size=1m")
    os.chdir(OWN_MOUNTS)


def _pivot() -> None:
    _be_private()
    pivot_root(".", ".")


def _open_terminal() -> None:
    _be_private()
    os.mkdir("pts")
    mount("devpts", "pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620")
    folder = os.open("pts", os.O_RDONLY | os.O_DIRECTORY)
    open_pty(os.open("pts/ptmx", os.O_PATH), folder)


def _mount_overlay() -> None:
    _be_private()
    for folder in ("lower", "upper", "work", "merged"):
        os.mkdir(folder)
    mount("overlay", "merged", "overlay", 0, "lowerdir=lower,upperdir=upper,workdir=work")


def _attach_loop() -> None:
    _be_private()
    backing = os.memfd_create("berth-check", os.MFD_CLOEXEC)
    os.ftruncate(backing, 1 << 20)
    with attach(backing, read_only=True, name="berth-check", node_folder=OWN_MOUNTS):
        pass


def _mount_ext4() -> None:
    """Mount what is no block device: a kernel without ext4 complains about that first, having looked for a module."""
    _be_private()
    os.mkdir("here")
    try:
        mount("/dev/null", "here", "ext4")
    except KernelError as error:
        if error.errno != errno.ENOTBLK:
            raise


def _unified_controllers(host: Host) -> tuple[str, ...] | Finding:
    """The controllers of cgroup2, where it is not mounted by a mount of our own; else why there are none."""
    for hierarchy in host.cgroups:
        if hierarchy.version == 2:
            return hierarchy.controllers
    try:
        return do_apart(_mount_cgroup2, tuple[str, ...])
    except OSError as error:
        return Finding(False, os.strerror(error.errno or errno.EIO))


def _mount_cgroup2() -> tuple[str, ...]:
    _be_private()
    os.mkdir("cgroup2")
    mount("cgroup2", "cgroup2", "cgroup2")
    with open("cgroup2/cgroup.controllers", encoding="utf-8") as file:
        return tuple(file.read().split())


def _open_pidfd() -> None:
    if pidfd_open(os.getpid()) is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def _clone_into_cgroup() -> None:
    """Ask for a birth in a folder that is no cgroup: a kernel that knows the flag looks there, and refuses."""
    folder = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    words = (_CLONE_INTO_CGROUP, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, folder)
    arguments = ctypes.create_string_buffer(struct.pack("=11Q", *words), 88)
    _refused_with(errno.EBADF, _SYS_CLONE3, "clone3", arguments, ctypes.c_size_t(88))


def _openat2() -> None:
    nothing, none = ctypes.c_void_p(None), ctypes.c_size_t(0)
    _refused_with(errno.EINVAL, _SYS_OPENAT2, "openat2", ctypes.c_int(AT_FDCWD), ctypes.c_char_p(b"/"), nothing, none)


def _close_range() -> None:
    from_two, to_one = ctypes.c_uint(2), ctypes.c_uint(1)
    _refused_with(errno.EINVAL, _SYS_CLOSE_RANGE, "close_range", from_two, to_one, ctypes.c_uint(0))


def _refused_with(expected: int, number: int, call: str, *arguments: object) -> None:
    """Make a system call that does nothing; a kernel that has it answers `expected`."""
    try:
        syscall(number, call, *arguments)
    except KernelError as error:
        if error.errno != expected:
            raise


def _open_device(device: int) -> None:
    _be_private()
    os.mknod("node", stat.S_IFCHR | 0o600, device)
    os.close(os.open("node", os.O_RDWR | os.O_CLOEXEC))
