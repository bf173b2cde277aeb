"""New terminals for a container that runs: those of its console and of its getties died with its monitor.

Until then everything that opens /dev/console in there gets an error, and systemd waits a second for each of its words.
"""

import contextlib
import os
import select
import signal
import sys
from typing import Final

from berth.engine.channel import Channel
from berth.engine.containers import Alive
from berth.engine.enter import Door
from berth.errors import BerthError
from berth.kernel.call import KernelError
from berth.kernel.mounts import MNT_DETACH, MS_BIND, mount, umount
from berth.kernel.namespaces import setns
from berth.kernel.paths import open_in_root
from berth.kernel.processes import end_with, fork

_SECONDS: Final = 6.0


def renew_terminal(container: Alive, place: str) -> tuple[int, int]:
    """Show the slave of a new terminal at the container's `place`, such as /dev/console; return (master, slave).

    A process of its own does it, which is given up after a while: root inside may have mounted a file system there
    that never answers.  Raises BerthError and OSError.
    """
    with Door(container) as door:
        ours, theirs = Channel.pair()
        pid = fork()
        if pid == 0:
            sys.meta_path.clear()  # from here on an import would run the container's code
            end_with(
                lambda: theirs.send({}, _renew(door, place)),
                lambda error: theirs.send({"error": str(error)}),
            )
        theirs.close()
        try:
            return _await(ours, pid, container, place)
        finally:
            ours.close()


def _await(channel: Channel, pid: int, container: Alive, place: str) -> tuple[int, int]:
    in_time = select.select([channel], [], [], _SECONDS)[0]
    message, descriptors = channel.receive() if in_time else (None, [])
    if not in_time:
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    if message is None or "error" in message:
        why = message["error"] if message else "it takes too long"
        raise BerthError(f"container {container.name}: no new terminal can be shown at its {place}: {why}")
    master, slave = descriptors
    return master, slave


def _renew(door: Door, place: str) -> tuple[int, int]:
    master, slave = door.open_terminal()
    _bind(door.namespaces["mount"], door.root, slave, place)
    return master, slave


def _bind(namespace: int, root: int, slave: int, place: str) -> None:
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
