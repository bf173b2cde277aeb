"""Processes: pidfds, prctl, what /proc says of one, and the descriptors that a fork inherits."""

import _signal  # type: ignore[import-not-found]  # typeshed does not know what signal is made of
import contextlib
import ctypes
import errno
import os
import resource
import select
import signal
from collections.abc import Callable
from functools import cache
from typing import Final, NoReturn

from berth.kernel.call import KernelError, check, libc, syscall
from berth.kernel.files import read_file

_SYS_PIDFD_SEND_SIGNAL: Final = 424
_SYS_PIDFD_OPEN: Final = 434
_SYS_CLONE3: Final = 435
_SYS_CLOSE_RANGE: Final = 436
_SYS_PIDFD_GETFD: Final = 438
_CLONE_INTO_CGROUP: Final = 0x200000000

_locked_libc: Final = ctypes.PyDLL(None, use_errno=True)  # keeps the interpreter's lock over the call
_locked_libc.syscall.restype = ctypes.c_long

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NAME: Final = 15
_PR_SET_CHILD_SUBREAPER: Final = 36


def boot_id() -> str:
    """Return the kernel's random id of this boot: a pid means nothing in another.  Raises OSError.  See random(4)."""
    return read_file("/proc/sys/kernel/random/boot_id").decode().strip()


def become_subreaper() -> None:
    """Make orphaned descendants children of the caller (Linux 3.4).  See PR_SET_CHILD_SUBREAPER(2const)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, "PR_SET_CHILD_SUBREAPER")


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the kernel send `number` to the caller when its parent thread ends; 0 takes that back."""
    _prctl(_PR_SET_PDEATHSIG, number, "PR_SET_PDEATHSIG")


def forbid_inspection() -> None:
    """Keep others from reading the caller through /proc/PID/{exe,mem,fd}; an execve(2) undoes it."""
    _prctl(_PR_SET_DUMPABLE, 0, "PR_SET_DUMPABLE")


def setsid() -> None:
    """Make the caller the leader of a session without a terminal.  Raises KernelError.  See setsid(2)."""
    check(libc.setsid(), "setsid")


def name_process(name: str, title: str = "") -> None:
    """Set what `ps` shows for the calling process: `name` (15 bytes), and `title` or else that as its command line."""
    libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)  # only for showing: nothing depends on it
    begin, end = _argument_area()
    shown = (title or name).encode()[: max(0, end - begin - 1)]
    ctypes.memmove(begin, shown.ljust(end - begin, b"\0"), end - begin)


@cache
def _argument_area() -> tuple[int, int]:
    """Where this process, and so every fork of it, has the words it was executed with; (0, 0) where nobody tells.

    Python has read them and does not look again; the environment, which lies behind, is not touched.  See
    proc_pid_stat(5), fields 48 and 49 (Linux 3.5; qemu-user has none).
    """
    fields = read_file("/proc/self/stat").rpartition(b")")[2].split()
    return (int(fields[45]), int(fields[46])) if len(fields) > 46 else (0, 0)


def _prctl(option: int, value: int, call: str) -> None:
    check(libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), call)


def start_time(pid: int) -> int | None:
    """Return when process `pid` started, in clock ticks since boot; None if it is gone or a zombie.

    With the pid this identifies a process across pid reuse.  See proc_pid_stat(5), field 22.
    """
    try:
        fields = read_file(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in b"ZX" else int(fields[19])


def processor_seconds(pid: int) -> float:
    """Return the processor time that process `pid` has had, 0 if it is gone.  See proc_pid_stat(5), fields 14, 15."""
    try:
        fields = read_file(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def status_field(pid: int, field: str) -> str | None:
    """Return one line's value of /proc/PID/status, None when the process is gone.  See proc_pid_status(5)."""
    try:
        lines = read_file(f"/proc/{pid}/status").split(b"\n")
    except (FileNotFoundError, ProcessLookupError):
        return None
    start = f"{field}:".encode()
    return next((line[len(start) :].strip().decode(errors="replace") for line in lines if line.startswith(start)), None)


def uid_above(pid: int) -> int:
    """Return the uid of the nearest process above `pid` that is not root's: who called su or sudo; 0 for none."""
    while pid > 1:
        uid, parent = status_field(pid, "Uid"), status_field(pid, "PPid")
        if uid is None or parent is None:
            return 0
        if int(uid.split()[0]):
            return int(uid.split()[0])
        pid = int(parent)
    return 0


def catches(pid: int, number: int) -> bool:
    """Tell whether process `pid` has a handler for signal `number`, blocks it (and so will read it), or waits for one.

    While a process is in sigtimedwait(2) the kernel shows what it waits for as not blocked: busybox' init is there.
    """
    bit = 1 << (number - 1)
    masks = (status_field(pid, field) for field in ("SigCgt", "SigBlk"))
    return any(mask is not None and int(mask, 16) & bit for mask in masks) or "sigtimedwait" in _wait_channel(pid)


def ignores(pid: int, number: int) -> bool:
    """Tell whether process `pid` has chosen to ignore signal `number`."""
    mask = status_field(pid, "SigIgn")
    return mask is not None and bool(int(mask, 16) & 1 << (number - 1))


def _wait_channel(pid: int) -> str:
    """Return the kernel function that the process sleeps in; "0" or nothing where the kernel does not tell."""
    try:
        return read_file(f"/proc/{pid}/wchan").decode()
    except OSError:
        return ""


def pidfd_open(pid: int) -> int | None:
    """Return a descriptor that becomes readable when `pid` ends; None on kernels before 5.3, or where none can be had.

    Raises KernelError with ESRCH when there is no such process.  See pidfd_open(2).
    """
    try:
        return syscall(_SYS_PIDFD_OPEN, "pidfd_open", ctypes.c_int(pid), ctypes.c_uint(0), path=str(pid))
    except KernelError as error:
        if error.errno == errno.ESRCH:
            raise
        return None


def pidfd_getfd(pidfd: int, number: int) -> int:
    """Return a copy, close-on-exec, of descriptor `number` of the process behind `pidfd` (Linux 5.6).

    Raises KernelError: EBADF when it has none of that number.  See pidfd_getfd(2).
    """
    return syscall(_SYS_PIDFD_GETFD, "pidfd_getfd", ctypes.c_int(pidfd), ctypes.c_int(number), ctypes.c_uint(0))


def end_with(action: Callable[[], object], tell: Callable[[BaseException], object]) -> NoReturn:
    """Do `action` in a forked child and end it, so that it never runs on into what its parent was doing.

    Whatever `action` raises is handed to `tell`, and the exit code is 1; a parent that is gone can't be told.
    """
    try:
        action()
        os._exit(0)
    except BaseException as error:  # noqa: BLE001  a child has nobody above it to raise to
        with contextlib.suppress(OSError):
            tell(error)
    finally:
        os._exit(1)


class _CloneArguments(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            "flags",
            "pidfd",
            "child_tid",
            "parent_tid",
            "exit_signal",
            "stack",
            "stack_size",
            "tls",
            "set_tid",
            "set_tid_size",
            "cgroup",
        )
    )


def fork() -> int:
    """Fork, and return 0 in the child and its pid in the parent, which must have one thread only.  See fork(2).

    For programs with threads os.fork has the child renew what those might have held.  To do that where there are none
    writes to half a megabyte of memory, all of which the kernel then has to copy, each time.  Raises KernelError.
    """
    return check(int(_locked_libc.fork()), "fork")


def clone(namespaces: int = 0, cgroup: int | None = None) -> int:
    """Do as `fork` does, and have the child born in new namespaces and in a cgroup2 folder.

    `namespaces` are CLONE_NEW* flags, `cgroup` is the folder's descriptor.  To be born in a cgroup takes no time; a
    move makes the kernel wait for a grace period of RCU, 5 to 16 ms.  Raises KernelError: ENOSYS before Linux 5.3,
    EINVAL or E2BIG for a cgroup before 5.7, EPERM also where a filter refuses what it can't look into.  See clone3(2).
    """
    flags = namespaces if cgroup is None else namespaces | _CLONE_INTO_CGROUP
    arguments = _CloneArguments(flags=flags, exit_signal=signal.SIGCHLD, cgroup=cgroup or 0)
    size = ctypes.c_size_t(ctypes.sizeof(arguments))
    return check(int(_locked_libc.syscall(ctypes.c_long(_SYS_CLONE3), ctypes.byref(arguments), size)), "clone3")


class Process:
    """A process known by pid and start time, so that a reused pid is never signalled or waited for."""

    __slots__ = ("_pidfd", "pid", "started")

    def __init__(self, pid: int, started: int | None = None) -> None:
        """Take hold of process `pid`; `started` is its start time where it is known from a record."""
        self.pid = pid
        self._pidfd: int | None = None
        try:
            self._pidfd = pidfd_open(pid)
        except KernelError as error:
            if error.errno != errno.ESRCH:
                raise
        now = start_time(pid)
        self.started = now if started is None else started
        if now is None or now != self.started:
            self.close()
            self.started = None

    @property
    def alive(self) -> bool:
        """Whether the process still runs (a zombie does not)."""
        return self.started is not None and start_time(self.pid) == self.started

    def send(self, number: int) -> bool:
        """Send signal `number`; False when the process is gone."""
        if not self.alive:
            return False
        try:
            if self._pidfd is None or not _send_by_pidfd(self._pidfd, number):
                os.kill(self.pid, number)
        except OSError as error:
            if error.errno == errno.ESRCH:
                return False
            raise
        return True

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds` for the process to end; True when it has.

        Waits on a pidfd; without one (before 5.3) it looks every 20 ms.
        """
        if not self.alive:
            return True
        poller = select.poll()
        if self._pidfd is not None:
            poller.register(self._pidfd, select.POLLIN)
            return bool(poller.poll(seconds * 1000))
        while seconds > 0 and self.alive:
            poller.poll(20)
            seconds -= 0.02
        return not self.alive

    def fileno(self) -> int | None:
        """Return the pidfd for a selector, None where the kernel has none."""
        return self._pidfd

    def close(self) -> None:
        """Let go of the pidfd."""
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None


def _send_by_pidfd(pidfd: int, number: int) -> bool:
    """Send a signal by pidfd_send_signal(2); False where that call can't be made."""
    arguments = (ctypes.c_int(pidfd), ctypes.c_int(number), ctypes.c_void_p(None), ctypes.c_uint(0))
    try:
        syscall(_SYS_PIDFD_SEND_SIGNAL, "pidfd_send_signal", *arguments)
    except KernelError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):
            return False
        raise
    return True


def close_all_but(*keep: int) -> None:
    """Close every descriptor except 0, 1, 2 and `keep`: a forked child that never execs inherits them all.

    Uses close_range(2), before 5.9 the list in /proc/self/fd.
    """
    first = 3
    try:
        for fd in [*sorted({fd for fd in keep if fd > 2}), None]:
            last = 0xFFFFFFFF if fd is None else fd - 1
            if first <= last:
                syscall(_SYS_CLOSE_RANGE, "close_range", ctypes.c_uint(first), ctypes.c_uint(last), ctypes.c_uint(0))
            if fd is not None:
                first = fd + 1
    except KernelError:
        _close_listed(set(keep))


def _close_listed(keep: set[int]) -> None:
    try:
        listed = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        listed = list(range(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
    for fd in listed:
        if fd > 2 and fd not in keep:
            try:
                os.close(fd)
            except OSError as error:
                if error.errno != errno.EBADF:
                    raise


def reset_signals() -> None:
    """Give every signal its default action and unblock all: what a program expects at execve(2).

    Python ignores SIGPIPE and SIGXFSZ, and ignored signals stay ignored across execve.
    """
    # Not by `signal`: it looks every answer up in enums, and each fork pays for the pages that this touches (0.15 MB).
    _signal.set_wakeup_fd(-1)
    for number in range(1, _signal.NSIG):
        if _signal.getsignal(number) not in (_signal.SIG_DFL, None):
            _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
