"""The last thing before a program: fewer capabilities and the system call filter."""

import errno
import os
from collections.abc import Iterable

from berth.kernel import capabilities, seccomp
from berth.kernel.call import KernelError
from berth.plan.model import SyscallRule


def confine(keep: Iterable[str], rules: Iterable[SyscallRule], program: bytes) -> int | None:
    """Leave the calling process the capabilities `keep` and the filter `program` of `rules` (empty for none), for good.

    Returns the descriptor that hears what the filter asks; whoever answers must get it, and the caller close it.  None
    when the filter asks nothing, and inside a container whose own filter asks already.

    The filter goes in while SYS_ADMIN is effective: without that the kernel asks for NO_NEW_PRIVS, and sudo inside
    would not work.  Raises KernelError.
    """
    keep = tuple(keep)
    capabilities.drop_bounding(keep)
    listener = _install(tuple(rules), program) if program else None
    capabilities.set_capabilities(keep)
    return listener


def _install(rules: tuple[SyscallRule, ...], program: bytes) -> int | None:
    if any(rule.asks for rule in rules):
        try:
            return seccomp.install_with_listener(program)
        except KernelError as error:
            if error.errno != errno.EBUSY:
                raise
        program = seccomp.assemble([rule for rule in rules if not rule.asks], os.uname().machine)
    seccomp.install(program)
    return None
