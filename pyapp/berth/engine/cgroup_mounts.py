"""Where the host has its cgroup hierarchies, where a process is in them, and mounting what the host lacks."""

import os
from collections.abc import Iterable

from berth.engine.cgroup_trees import read
from berth.engine.own_mounts import take_own_mounts
from berth.host import CgroupMount
from berth.kernel.mounts import MS_NODEV, MS_NOEXEC, MS_NOSUID, MountEntry, mount, read_mounts
from berth.plan.cgroups import OWN_MOUNTS, own_path
from berth.plan.model import Cgroup


def read_host_mounts() -> tuple[CgroupMount, ...]:
    """Return the hierarchies that the host has mounted, without those that the caller has mounted for itself.

    Raises OSError when /proc is not mounted.
    """
    return tuple(mount for mount in read_cgroup_mounts() if not mount.path.startswith(f"{OWN_MOUNTS}/"))


def read_cgroup_mounts() -> tuple[CgroupMount, ...]:
    """Return the hierarchies that the caller can reach by their roots, in the order in which they were mounted.

    Raises OSError when /proc is not mounted.
    """
    known = {line.split()[0] for line in read("/proc/cgroups").splitlines()}
    entries = [entry for entry in read_mounts() if entry.filesystem in ("cgroup", "cgroup2") and entry.root == "/"]
    return tuple(_describe(entry, known) for entry in entries if _is_on_top(entry))


def reach(cgroups: tuple[Cgroup, ...]) -> None:
    """Let the caller, a process of one request, reach hierarchies that the host has not mounted, in mounts of its own.

    Does nothing where the host has all of them mounted.  Raises KernelError.
    """
    if any(cgroup.mount is None and not os.path.isdir(own_path(cgroup)) for cgroup in cgroups):
        take_own_mounts()
        mount_missing(cgroups)


def mount_missing(cgroups: tuple[Cgroup, ...]) -> None:
    """Mount the hierarchies that the host has not mounted; does nothing where there are none, or a second time.

    The caller is in a mount namespace of its own whose mounts do not propagate to the host: the monitor before it makes
    the cgroups, and whoever undoes a crashed monitor's record.  Raises KernelError.
    """
    missing = [cgroup for cgroup in cgroups if cgroup.mount is None and not os.path.isdir(own_path(cgroup))]
    if not missing:
        return
    if os.stat(OWN_MOUNTS).st_dev == os.stat(os.path.dirname(OWN_MOUNTS)).st_dev:
        mount("tmpfs", OWN_MOUNTS, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=700,size=64k")
    for cgroup in missing:
        path = own_path(cgroup)
        os.mkdir(path)
        filesystem, data = ("cgroup2", "") if cgroup.version == 2 else ("cgroup", f"none,{cgroup.controllers[0]}")
        mount(filesystem, path, filesystem, MS_NOSUID | MS_NODEV | MS_NOEXEC, data)


def places(pid: int | str, mounts: Iterable[CgroupMount]) -> list[tuple[str, str]]:
    """Return the folder of process `pid` and the root of each hierarchy it is in; none when the process is gone."""
    paths: dict[frozenset[str], str] = {}
    for line in read(f"/proc/{pid}/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        paths[frozenset(filter(None, controllers.split(",")))] = path.removesuffix(" (deleted)")
    found: dict[frozenset[str], tuple[str, str]] = {}
    for hierarchy in mounts:
        key = frozenset(hierarchy.controllers) if hierarchy.version == 1 else frozenset()
        path = paths.get(key, "")
        if path.startswith("/") and not path.startswith("/.."):  # outside the root of our cgroup namespace
            found.setdefault(key, (hierarchy.path + path.rstrip("/"), hierarchy.path))
    return list(found.values())


def _describe(entry: MountEntry, known: set[str]) -> CgroupMount:
    if entry.filesystem == "cgroup2":
        return CgroupMount(entry.target, 2, tuple(read(f"{entry.target}/cgroup.controllers").split()))
    controllers = tuple(word for word in entry.super_options if word in known or word.startswith("name="))
    return CgroupMount(entry.target, 1, controllers, noprefix="noprefix" in entry.super_options)


def _is_on_top(entry: MountEntry) -> bool:
    """Tell whether the path leads there, and to nothing mounted over it."""
    try:
        return os.stat(entry.target).st_dev == entry.device
    except OSError:
        return False
