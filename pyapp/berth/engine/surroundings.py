"""Leaves a caller's surroundings behind: what a shell or an app set for itself must not hold for a container."""

import contextlib
import os
import resource
import signal

from berth.android.system import is_android
from berth.engine import cgroups
from berth.host import CgroupMount
from berth.kernel.files import write_file
from berth.kernel.namespaces import enter_mounts_of, same_mount_namespace
from berth.kernel.processes import close_all_but, reset_signals

_SYSTEM = 1  # Android's init, whose mounts are those of the system
_RLIMITS = {
    resource.RLIMIT_CORE: (0, resource.RLIM_INFINITY),
    resource.RLIMIT_NOFILE: (1024, 524288),
}


def leave_app() -> None:
    """On Android, take the calling process out of the app whose `su` started it; elsewhere do nothing.

    An app's root shell has mounts of its own (Magisk, KernelSU): what was mounted there nobody else would see, and it
    would be gone with the app.  Its cgroups are frozen and killed with the app.  Raises KernelError.
    """
    if not is_android():
        return
    if not same_mount_namespace(_SYSTEM):
        enter_mounts_of(_SYSTEM)
    with contextlib.suppress(OSError):
        cgroups.leave_to_root()


def leave_surroundings(keep: tuple[int, ...], mounts: tuple[CgroupMount, ...]) -> None:
    """Give the calling process the surroundings of a fresh daemon; only the descriptors `keep` stay open.

    Cgroups (Android's ActivityManager kills and freezes an app's), oom_score_adj, scheduling, rlimits, umask, signals,
    working folder and standard streams.  What a machine does not permit to be changed stays as it is.
    """
    reset_signals()
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # who looks at a console may go at any time
    close_all_but(*keep)
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    if null > 2:
        os.close(null)
    os.chdir("/")
    with contextlib.suppress(OSError):
        cgroups.leave_to_root(mounts)
    reset_limits()


def set_oom_score_adj(value: int = 0) -> None:
    """Give the calling process this oom_score_adj, where that is permitted; less than before needs SYS_RESOURCE.

    The supervisor of a phone must not be killed for memory (-1000); what it forks inherits that, and may be.
    """
    with contextlib.suppress(OSError):
        write_file("/proc/self/oom_score_adj", b"%d" % value)


def reset_limits(oom_score_adj: int = 0) -> None:
    """Give the calling process the umask, scheduling and rlimits that a container starts with, and `oom_score_adj`."""
    os.umask(0o022)
    set_oom_score_adj(oom_score_adj)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # a real-time process is barred from v1 cgroups
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    for kind, (soft, hard) in _RLIMITS.items():
        try:
            resource.setrlimit(kind, (soft, hard))
        except (OSError, ValueError):  # more than the caller had; what it had itself may be used whole
            with contextlib.suppress(OSError, ValueError):
                most = resource.getrlimit(kind)[1]
                resource.setrlimit(kind, (min(soft, most), most))
