"""The last thing before a program: fewer capabilities and the system call filter."""

from collections.abc import Iterable

from berth.kernel import capabilities, seccomp


def confine(keep: Iterable[str], program: bytes) -> None:
    """Leave the calling process the capabilities `keep` and the filter `program` (empty for none), for good.

    The filter goes in while SYS_ADMIN is effective: without that the kernel asks for NO_NEW_PRIVS, and sudo inside
    would not work.  Raises KernelError.
    """
    keep = tuple(keep)
    capabilities.drop_bounding(keep)
    if program:
        seccomp.install(program)
    capabilities.set_capabilities(keep)
