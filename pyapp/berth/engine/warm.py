"""What a service finds out once, so that its forks need not: they begin with all that is in its memory."""

from berth.kernel.call import libc

_CALLS = ("capset", "ioctl", "mount", "pivot_root", "prctl", "sethostname", "setns", "setsid", "umount2", "unshare")


def look_up_calls() -> None:
    """Look up the functions of libc that a start calls: the first who asks does that, and it is kept."""
    for name in _CALLS:
        getattr(libc, name)
