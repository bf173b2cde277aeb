"""Which cgroups a container gets, which hierarchy keeps each limit, and what the container sees of them.

Limits lie on `berth/NAME`, processes in `berth/NAME/payload`: root inside owns the root of its own view and could lift
whatever were set there.
"""

from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from berth.errors import BerthError, UsageError
from berth.host import CgroupMount, Host
from berth.plan.model import BindMount, Cgroup, Directory, Link, Mount, ReadOnly, Step
from berth.spec import Spec

OPTIONAL_LIMITS: Final = ("memory.use_hierarchy", "memory.swap.max", "memory.memsw.limit_in_bytes")
"""Limit files that a kernel may lack (swap accounting off) or no longer need; then the rest is kept without them."""

OWN_MOUNTS: Final = "/proc/driver"
"""Where the engine mounts hierarchies that the host has not mounted, in a mount namespace of its own.

An empty folder that every kernel has: nothing has to be made on the host, and nothing can be left behind.
"""

_INSIDE: Final = "/sys/fs/cgroup"
_OPTIONS: Final = ("nosuid", "nodev", "noexec")
_SYSTEMD: Final = "name=systemd"
_PASSED_ON: Final = ("cpu", "memory", "pids", "io")
_PERIOD: Final = 100_000  # microseconds, the kernel's own default for cpu.max and cpu.cfs_period_us
_SMALLEST_QUOTA: Final = 1_000  # microseconds; the kernel refuses less
_SYSTEMD_WITH_V2: Final = 226
_SYSTEMD_WITHOUT_V1: Final = 256

# Android's schedtune (3.18 to 5.4) has five or six groups, all taken, and answers ENOSPC or EINVAL to one more.
_NO_NEW_GROUPS: Final = frozenset({"schedtune"})


_Values = tuple[tuple[str, str], ...]


class _Limit(Struct, frozen=True):
    flag: str
    controller: str
    option: str
    since: tuple[int, int]
    v1: _Values
    v2: _Values


def plan_cgroups(spec: Spec, host: Host, *, systemd: int | None) -> tuple[Cgroup, ...]:
    """Return one Cgroup for each hierarchy, with every limit in the one that really has its controller.

    `systemd` is the version inside, None without.  `--memory` limits RAM, and allows as much again of swap, which on a
    phone is compressed RAM; `--cpus` is a quota per 100 ms; `--pids-limit` counts threads, as the kernel does.
    What is undone begins with the last: v1's freezer, since who is frozen there can be killed nowhere else.
    Raises BerthError for a limit whose controller the host lacks and for a systemd that refuses the cgroups there
    are, UsageError for a share of the CPU that is too small for the kernel.
    """
    cgroups = [_from_mount(mount) for mount in _hierarchies(host)]
    if _version_inside(spec, host, systemd) == 1 and systemd is not None and not _has(cgroups, _SYSTEMD):
        why = "systemd keeps its groups in a hierarchy of its own, and the host has none"
        cgroups.append(Cgroup(None, 1, (_SYSTEMD,), reason=why))
    if _has_cgroup2(host) and not any(cgroup.version == 2 for cgroup in cgroups):
        cgroups.append(Cgroup(None, 2, reason="the kernel has cgroup2 but the host has not mounted it"))
    for limit in _wanted(spec):
        index = _keeper(limit, cgroups, host)
        cgroups[index] = _with_limit(cgroups[index], limit)
    cgroups.sort(key=lambda cgroup: "freezer" in cgroup.controllers)
    if host.home:
        return tuple(replace(cgroup, group=f"{spec.name}@{host.home}") for cgroup in cgroups)
    return tuple(cgroups)


def inside_cgroups(spec: Spec, host: Host, *, systemd: int | None) -> tuple[Step, ...]:
    """Return the steps that show cgroups at /sys/fs/cgroup inside, none where the kernel has no cgroups.

    One cgroup2 wherever that can work, with controllers or without; else a read-only tmpfs with a mount for each v1
    hierarchy.  Before Linux 4.6 a fresh mount would show the host's root, so each shows the container's own
    subtree only, under the path that /proc/self/cgroup names.  Raises BerthError as `plan_cgroups` does.
    """
    version = _version_inside(spec, host, systemd)
    if version is None:
        return ()
    if version == 2 and host.cgroup_namespace:
        why = "the cgroup namespace makes the payload its root; limits are held outside"
        return (Mount(_INSIDE, "cgroup2", _OPTIONS, reason=why),)
    cgroups = plan_cgroups(spec, host, systemd=systemd)
    if version == 2:
        payload = f"{group_path(next(cgroup for cgroup in cgroups if cgroup.version == 2), spec.name)}/payload"
        return (BindMount(payload, _INSIDE, reason=_why_bound(host)),)
    return _legacy_steps(spec, host, [cgroup for cgroup in cgroups if cgroup.version == 1])


def own_path(cgroup: Cgroup) -> str:
    """Return where the root of the hierarchy is: the host's mount point, or else the engine's own."""
    if cgroup.mount is not None:
        return cgroup.mount
    return f"{OWN_MOUNTS}/{_label(cgroup.controllers) if cgroup.version == 1 else 'cgroup2'}"


def group_path(cgroup: Cgroup, name: str) -> str:
    """Return the folder of container `name` in the hierarchy: `berth/NAME`, or what `cgroup` has for another home."""
    return f"{own_path(cgroup)}/berth/{cgroup.group or name}"


def _version_inside(spec: Spec, host: Host, systemd: int | None) -> Literal[1, 2] | None:
    has_v2 = _has_cgroup2(host)
    has_v1 = "cgroup" in host.filesystems or any(mount.version == 1 for mount in host.cgroups)
    if spec.force_cgroupv1:
        why = "--force-cgroupv1 was given"
    elif systemd is not None and systemd < _SYSTEMD_WITH_V2:
        why = f"systemd {systemd} knows cgroup v1 only"
    elif not has_v2:
        why = "this kernel has no cgroup2"
    elif not host.cgroup_namespace and has_v1:
        why = "this kernel has no cgroup namespaces (4.6)"
    else:
        return 2
    if systemd is not None and systemd >= _SYSTEMD_WITHOUT_V1:
        way_out = "start without it" if spec.force_cgroupv1 and has_v2 else "use a rootfs with systemd 255 or older"
        raise BerthError(f"container {spec.name}: {why}, but systemd {systemd} refuses cgroup v1; {way_out}")
    if has_v1:
        return 1
    if spec.force_cgroupv1 or systemd is not None:
        way_out = "start without it" if spec.force_cgroupv1 and has_v2 else "use a rootfs with another init"
        raise BerthError(f"container {spec.name}: {why}, but this kernel has no cgroup v1; {way_out}")
    return None


def _has_cgroup2(host: Host) -> bool:
    return "cgroup2" in host.filesystems or any(mount.version == 2 for mount in host.cgroups)


def _hierarchies(host: Host) -> list[CgroupMount]:
    """Each hierarchy once: Android 10 and 11 mount cgroup2 a second time for its BPF programs."""
    seen: set[tuple[int, frozenset[str]]] = set()
    found = []
    for mount in host.cgroups:
        key = (mount.version, frozenset(mount.controllers) if mount.version == 1 else frozenset())
        if key not in seen and not (mount.version == 1 and _NO_NEW_GROUPS & set(mount.controllers)):
            seen.add(key)
            found.append(mount)
    return found


def _from_mount(mount: CgroupMount) -> Cgroup:
    if mount.version == 2:
        switch_on = tuple(controller for controller in _PASSED_ON if controller in mount.controllers)
        why = f"{', '.join(switch_on)} are passed on to the container" if switch_on else "no controllers to pass on"
        return Cgroup(mount.path, 2, mount.controllers, switch_on=switch_on, reason=why)
    if "cpuset" not in mount.controllers:
        return Cgroup(mount.path, 1, mount.controllers, reason=f"holds {', '.join(mount.controllers)}")
    inherit = ("cpus", "mems") if mount.noprefix else ("cpuset.cpus", "cpuset.mems")
    why = "a new v1 cpuset is empty and takes no process until it has CPUs and memory nodes"
    return Cgroup(mount.path, 1, mount.controllers, inherit=inherit, reason=why)


def _wanted(spec: Spec) -> list[_Limit]:
    wanted = []
    if spec.memory is not None:
        ram, both = str(spec.memory), str(2 * spec.memory)
        # Before 5.11 a v1 limit does not count what groups below use, unless it is told to before they are made.
        v1: _Values = (
            ("memory.use_hierarchy", "1"),
            ("memory.limit_in_bytes", ram),
            ("memory.memsw.limit_in_bytes", both),
        )
        v2: _Values = (("memory.max", ram), ("memory.swap.max", ram))
        wanted.append(_Limit("--memory", "memory", "CONFIG_MEMCG", (4, 5), v1, v2))
    if spec.cpus is not None:
        quota = round(spec.cpus * _PERIOD)
        if quota < _SMALLEST_QUOTA:
            raise UsageError(f"--cpus {spec.cpus:g}: the kernel's smallest share is 0.01; ask for that or more")
        v1 = (("cpu.cfs_period_us", str(_PERIOD)), ("cpu.cfs_quota_us", str(quota)))
        v2 = (("cpu.max", f"{quota} {_PERIOD}"),)
        wanted.append(_Limit("--cpus", "cpu", "CONFIG_CFS_BANDWIDTH", (4, 15), v1, v2))
    if spec.pids_limit is not None:
        pids = (("pids.max", str(spec.pids_limit)),)
        wanted.append(_Limit("--pids-limit", "pids", "CONFIG_CGROUP_PIDS", (4, 5), pids, pids))
    return wanted


def _keeper(limit: _Limit, cgroups: list[Cgroup], host: Host) -> int:
    for index, cgroup in enumerate(cgroups):
        if limit.controller in cgroup.controllers:
            return index
    for index, cgroup in enumerate(cgroups):
        # A controller that no v1 hierarchy took is in cgroup2; the engine looks once it has mounted it.
        if cgroup.version == 2 and cgroup.mount is None and host.kernel >= limit.since:
            return index
    raise BerthError(
        f"{limit.flag}: no cgroup hierarchy of this host has the {limit.controller} controller; start without "
        f"{limit.flag}, or use a kernel with {limit.option}"
    )


def _with_limit(cgroup: Cgroup, limit: _Limit) -> Cgroup:
    if cgroup.version == 1:
        return replace(cgroup, limits=cgroup.limits + limit.v1)
    switch_on = cgroup.switch_on if limit.controller in cgroup.switch_on else (*cgroup.switch_on, limit.controller)
    return replace(cgroup, switch_on=switch_on, limits=cgroup.limits + limit.v2)


def _legacy_steps(spec: Spec, host: Host, hierarchies: list[Cgroup]) -> tuple[Step, ...]:
    """The tmpfs is sealed before anything is mounted in it: a bind of itself must not cover the hierarchies."""
    noprefix = {mount.path for mount in host.cgroups if mount.noprefix}
    folders: list[Step] = []
    links: list[Step] = []
    mounts: list[Step] = []
    for cgroup in hierarchies:
        label = _label(cgroup.controllers)
        target = f"{_INSIDE}/{label}"
        folders.append(Directory(target))
        if "," in label:
            links += [Link(f"{_INSIDE}/{name}", label, reason="comounted controllers") for name in label.split(",")]
        if host.cgroup_namespace:
            data = _mount_data(cgroup.controllers, noprefix=cgroup.mount in noprefix)
            mounts.append(Mount(target, "cgroup", _OPTIONS, data, reason="rooted at the payload by the namespace"))
            continue
        payload = f"{group_path(cgroup, spec.name)}/payload"
        for name in payload.removeprefix(f"{own_path(cgroup)}/").split("/"):
            target = f"{target}/{name}"
            folders.append(Directory(target))
        mounts.append(BindMount(payload, target, reason=_why_bound(host)))
    tmpfs = Mount(_INSIDE, "tmpfs", (*_OPTIONS, "strictatime"), "mode=755", reason="cgroup v1: one folder each")
    sealed = ReadOnly(_INSIDE, reason="systemd must not add hierarchies of its own")
    return (tmpfs, *folders, *links, sealed, *mounts)


def _why_bound(host: Host) -> str:
    major, minor = host.kernel
    return (
        f"kernel {major}.{minor} has no cgroup namespaces: only the container's own subtree is bound, under the path "
        "that /proc/self/cgroup names; root inside can still mount the hierarchy anew and lift its limits"
    )


def _label(controllers: tuple[str, ...]) -> str:
    return ",".join(controllers).removeprefix("name=")


def _mount_data(controllers: tuple[str, ...], *, noprefix: bool) -> str:
    named = all(controller.startswith("name=") for controller in controllers)
    return ",".join((*(("none",) if named else ()), *controllers, *(("noprefix",) if noprefix else ())))


def _has(cgroups: list[Cgroup], controller: str) -> bool:
    return any(controller in cgroup.controllers for cgroup in cgroups)
