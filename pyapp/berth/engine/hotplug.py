"""Hardware access while a container runs: its /dev follows the host's, and so does what it may open.

A uevent tells that the kernel has a device more or less; inotify, that the host's own device manager (ueventd, udevd)
has made, changed or removed a node, which it does a moment later.  Both are only the reason to look: what the host's
/dev holds then is what counts, so a forged uevent achieves nothing.
"""

import errno
import os
import stat
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from berth.engine.inspect import device_folders, read_device_nodes
from berth.host import DeviceNode, Host
from berth.kernel.call import KernelError
from berth.kernel.inotify import IN_ATTRIB, IN_CREATE, IN_DELETE, IN_MOVED_FROM, IN_MOVED_TO, Inotify
from berth.kernel.mounts import fd_path, mount_id, read_mounts
from berth.kernel.paths import make_in_root, open_in_root
from berth.kernel.uevents import UeventSocket
from berth.plan.devices import hardware_nodes, plan_devices
from berth.plan.model import DevicePolicy
from berth.spec import Spec

_CHANGES: Final = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB


class Hotplug:
    """Keeps the devices of one container from now on, its init being `pid`, until it is closed.

    `host` and `policy` are what its /dev was made from and what is in force; `redefine` puts another policy in force,
    and `complain` takes a sentence about what does not work: a container never ends for that.
    """

    def __init__(
        self,
        pid: int,
        spec: Spec,
        host: Host,
        policy: DevicePolicy,
        *,
        redefine: Callable[[DevicePolicy], None],
        complain: Callable[[str], None],
    ) -> None:
        self._spec = spec
        self._host = host
        self._policy = policy
        self._redefine = redefine
        self._complain = complain
        self._dev: int | None = None
        self._uevents: UeventSocket | None = None
        self._changes: Inotify | None = None
        try:
            self._dev = _open_dev(pid)
            self._uevents = UeventSocket()
            self._changes = Inotify()
        except OSError as error:
            complain(f"hardware access: not every device that is plugged in will be noticed: {error}")
        self.follow()

    def filenos(self) -> list[int]:
        """Return the descriptors that become readable when `follow` is to be called."""
        return [source.fileno() for source in (self._uevents, self._changes) if source is not None]

    def follow(self) -> None:
        """Make the container's devices what the host's are now."""
        try:
            named = self._read_news()
            before = self._host.devices
            self._host = replace(self._host, devices=read_device_nodes())
            if self._host.devices != before:
                self._follow_policy()
            self._follow_nodes(before, named)
        except OSError as error:
            self._complain(f"hardware access: the host's devices could not be followed: {error}")

    def close(self) -> None:
        """Let go of the container's /dev, as it is."""
        for source in (self._uevents, self._changes):
            if source is not None:
                source.close()
        if self._dev is not None:
            os.close(self._dev)
            self._dev = None

    def _read_news(self) -> set[str]:
        """Return the nodes that uevents name; news that was lost does no harm, because everything is looked at."""
        named: set[str] = set()
        if self._uevents is not None:
            try:
                named = {event.devname for event in self._uevents.read()}
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                named = {node.path for node in self._host.devices}
        if self._changes is not None:
            self._changes.read()
            for folder, _ in device_folders():  # before its nodes are read: what is made after that is told
                self._changes.watch(folder, _CHANGES)
        return named

    def _follow_policy(self) -> None:
        policy = plan_devices(self._spec, self._host)
        if policy.rules != self._policy.rules:
            self._redefine(policy)
            self._policy = policy

    def _follow_nodes(self, before: tuple[DeviceNode, ...], named: set[str]) -> None:
        if self._dev is None:
            return
        was, now = (hardware_nodes(self._spec, devices) for devices in (before, self._host.devices))
        still_there = {_identity(node) for node in now}
        for node in was:
            if _identity(node) not in still_there:
                self._try(_take_away, node)
        for node in now:
            if node.path in named or node not in was:
                self._try(_show, node)

    def _try(self, change: Callable[[int, DeviceNode], None], node: DeviceNode) -> None:
        assert self._dev is not None
        try:
            change(self._dev, node)
        except OSError as error:
            self._complain(f"hardware access: /dev/{node.path} is not as on the host: {error}")


def _open_dev(pid: int) -> int:
    """Take hold of the container's /dev.  What it mounts over that later is its own affair.

    Init may have mounted something there already: a file system of its own (FUSE) could keep the monitor waiting for
    ever.  Raises OSError then.
    """
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        dev = open_in_root(root, "/dev", os.O_PATH | os.O_DIRECTORY, follow=False)
    finally:
        os.close(root)
    if _is_tmpfs(pid, dev):
        return dev
    os.close(dev)
    raise OSError(errno.EXDEV, "its /dev has been replaced inside")


def _is_tmpfs(pid: int, fd: int) -> bool:
    number = mount_id(fd)
    return any(entry.id == number and entry.filesystem == "tmpfs" for entry in read_mounts(pid))


def _identity(node: DeviceNode) -> tuple[str, int, int, int]:
    return node.path, stat.S_IFMT(node.mode), node.major, node.minor


def _show(dev: int, node: DeviceNode) -> None:
    """Make `node`, or give it the owner and mode that it has now; another thing of that name is left alone."""
    above, name = _open_above(dev, node, make=True)
    try:
        try:
            os.mknod(name, stat.S_IFMT(node.mode), os.makedev(node.major, node.minor), dir_fd=above)
        except FileExistsError:
            pass
        found = open_in_root(above, name, follow=False, across_mounts=False)
        try:
            if _is(node, os.fstat(found)):
                os.chown(fd_path(found), node.uid, node.gid)
                os.chmod(fd_path(found), stat.S_IMODE(node.mode))
        finally:
            os.close(found)
    finally:
        os.close(above)


def _take_away(dev: int, node: DeviceNode) -> None:
    """Remove `node` if it is still that device."""
    try:
        above, name = _open_above(dev, node, make=False)
        try:
            found = open_in_root(above, name, follow=False, across_mounts=False)
            try:
                if _is(node, os.fstat(found)):
                    os.unlink(name, dir_fd=above)
            finally:
                os.close(found)
        finally:
            os.close(above)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise


def _open_above(dev: int, node: DeviceNode, *, make: bool) -> tuple[int, str]:
    """Open the folder of `node` inside /dev, out of which no link or mount leads; return it and the node's name."""
    *folders, name = node.path.split("/")
    for depth in range(1, len(folders) + 1 if make else 1):
        try:
            os.close(make_in_root(dev, "/".join(folders[:depth]), folder=True, across_mounts=False))
        except KernelError as error:
            if error.errno != errno.EEXIST:
                raise
    return open_in_root(dev, "/".join(folders) or ".", os.O_PATH | os.O_DIRECTORY, across_mounts=False), name


def _is(node: DeviceNode, found: os.stat_result) -> bool:
    here = (stat.S_IFMT(found.st_mode), os.major(found.st_rdev), os.minor(found.st_rdev))
    return here == (stat.S_IFMT(node.mode), node.major, node.minor)
