"""What a service finds out once, so that its forks need not: they begin with all that is in its memory."""

import contextlib

from berth.engine.inspect import read_host
from berth.errors import BerthError
from berth.kernel import seccomp
from berth.kernel.call import libc
from berth.plan.one_off import plan_one_off
from berth.spec import Spec

_CALLS = ("capset", "ioctl", "mount", "pivot_root", "prctl", "sethostname", "setns", "setsid", "umount2", "unshare")


def warm_up() -> None:
    """Read what lasts of this device, plan the simplest container and assemble its filter; nothing is done.

    Code that has run once is also a fork's to run without writing to, and so copying, the memory it shares.
    """
    for name in _CALLS:
        getattr(libc, name)  # looked up by the first who asks, and kept
    with contextlib.suppress(BerthError, OSError):  # whoever starts a container is told of it
        host = read_host()
        plan = plan_one_off(Spec(name="none", rootfs="/"), ("/",), {}, host, terminal=False)
        seccomp.assemble(plan.syscall_rules, host.machine)
