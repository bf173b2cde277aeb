"""New terminals for a container that runs: those of its console and of its getties died with its monitor.

Until then everything that opens /dev/console in there gets an error, and systemd waits a second for each of its words.
"""

import contextlib
import os

from berth.engine.apart import do_apart
from berth.engine.containers import Alive
from berth.engine.enter import Door
from berth.kernel.call import KernelError
from berth.kernel.mounts import MNT_DETACH, MS_BIND, mount, umount
from berth.kernel.namespaces import setns
from berth.kernel.paths import open_in_root


def renew_terminal(container: Alive, place: str) -> tuple[int, int]:
    """Show the slave of a new terminal at the container's `place`, such as /dev/console; return (master, slave).

    Raises BerthError and OSError.
    """
    with Door(container) as door:
        master, slave = door.open_terminal()
        try:
            do_apart(lambda: _bind(door.namespaces["mount"], door.root, slave, place), bool)
        except BaseException:
            os.close(master)
            os.close(slave)
            raise
    return master, slave


def _bind(namespace: int, root: int, slave: int, place: str) -> bool:
    """Mount `slave` at `place`, in the mount namespace that it is in, instead of what was mounted there.

    Nothing can be mounted over the old slave: its name is gone.  Descriptors are reached through the host's /proc,
    for the container's shows only processes of its own.
    """
    proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    setns(namespace, "mount")
    os.fchdir(proc)
    old = open_in_root(root, place)
    with contextlib.suppress(KernelError):  # EINVAL: root inside has unmounted it already
        umount(f"self/fd/{old}", MNT_DETACH)
    mount(f"self/fd/{slave}", f"self/fd/{open_in_root(root, place)}", None, MS_BIND)
    return True
