"""A new console for a container that runs: the terminal of the first one died with its monitor.

Until then everything that opens /dev/console in there gets an error, and systemd waits a second for each of its words.
"""

import os

from berth.engine.apart import do_apart
from berth.engine.containers import Alive
from berth.engine.enter import Door
from berth.kernel.mounts import MS_BIND, mount
from berth.kernel.namespaces import setns
from berth.kernel.paths import open_in_root


def renew_console(container: Alive) -> tuple[int, int]:
    """Show the slave of a new terminal at the container's /dev/console; return (master, slave).

    Raises BerthError and OSError.
    """
    with Door(container) as door:
        master, slave = door.open_terminal()
        try:
            target = open_in_root(door.root, "/dev/console")
            try:
                do_apart(lambda: _bind(door.namespaces["mount"], slave, target), bool)
            finally:
                os.close(target)
        except BaseException:
            os.close(master)
            os.close(slave)
            raise
    return master, slave


def _bind(namespace: int, slave: int, target: int) -> bool:
    """Mount `slave` over `target` in the mount namespace that both are in.

    Descriptors are reached through the host's /proc: the container's shows only processes of its own.
    """
    proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    setns(namespace, "mount")
    os.fchdir(proc)
    mount(f"self/fd/{slave}", f"self/fd/{target}", None, MS_BIND)
    return True
