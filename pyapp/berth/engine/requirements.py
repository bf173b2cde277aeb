"""What Berth needs of a device: what each thing is for, and where to get it.  Pure; `probes` has a look."""

import errno
import os
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from berth.amounts import size
from berth.host import Host
from berth.plan.devices import plan_devices
from berth.spec import Spec

FREE_LEAST = 64 << 20  # bytes: logs, settings and some room to remove things

_FORBIDDEN = (os.strerror(errno.EPERM), os.strerror(errno.EACCES))
_DEVICES = "devices"
_CONFIG = "use a kernel with"


class Finding(Struct, frozen=True):
    """Whether something is there; `detail` is what was seen, part of a sentence."""

    there: bool
    detail: str = ""


class Probes(Struct, frozen=True, kw_only=True):
    """What came of trying.  `narrow` is a 32-bit program, `free` the bytes free in the state folder."""

    root: Finding
    namespaces: dict[str, Finding]
    pivot_root: Finding
    devpts: Finding
    seccomp: Finding
    overlay: Finding
    loop: Finding
    ext4: Finding
    cgroup2: Finding
    cgroup2_controllers: tuple[str, ...]
    pidfd: Finding
    clone_into_cgroup: Finding
    openat2: Finding
    close_range: Finding
    narrow: Finding
    tun: Finding
    fuse: Finding
    free: int


class Requirement(Struct, frozen=True, kw_only=True):
    """One thing: without a `required` one no container starts, without another something is less good.

    `cost` says what is lost without it, `remedy` how to get it.
    """

    key: str
    title: str
    required: bool
    state: Literal["ok", "missing", "unknown"]
    found: str
    cost: str
    remedy: str


def requirements(host: Host, probes: Probes) -> tuple[Requirement, ...]:
    """Return every requirement, judged for this device: the required ones first.

    What only root may try is unknown to anybody else.
    """
    judged = (
        *_required(probes),
        *_for_isolation(host, probes),
        *_for_limits(host, probes),
        *_for_roots(host, probes),
        *_for_speed(probes),
        *_for_programs(probes),
    )
    return judged if probes.root.there else tuple(map(_as_far_as_tried, judged))


def _as_far_as_tried(one: Requirement) -> Requirement:
    untried = one.found in _FORBIDDEN or one.key == _DEVICES  # to try that, a BPF program is loaded
    return replace(one, state="unknown", found="only root can tell") if untried else one


def fulfilled(judged: tuple[Requirement, ...]) -> bool:
    """Tell whether nothing that is required is missing."""
    return not any(one.required and one.state == "missing" for one in judged)


def _required(probes: Probes) -> list[Requirement]:
    none, anyway = "no container can start", "one can't start without --privileged=noseccomp"
    namespaces = {
        "mount": "every kernel has them, so a sandbox around this shell forbids it; use a plain root shell",
        "pid": f"{_CONFIG} CONFIG_PID_NS",
        "uts": f"{_CONFIG} CONFIG_UTS_NS",
        "ipc": f"{_CONFIG} CONFIG_IPC_NS",
    }
    return [
        _judge("root", "root", probes.root, none, "run it as root: su, or sudo", required=True),
        *(
            _judge(f"ns-{word}", f"{word} namespaces", probes.namespaces[word], none, remedy, required=True)
            for word, remedy in namespaces.items()
        ),
        _judge(
            "devpts",
            "terminals of its own (devpts)",
            probes.devpts,
            none,
            f"{_CONFIG} CONFIG_DEVPTS_MULTIPLE_INSTANCES (always there from 4.7)",
            required=True,
        ),
        _judge(
            "seccomp",
            "system call filters (seccomp)",
            probes.seccomp,
            f"{anyway}, and then root inside reaches the phone's kernel more easily",
            f"{_CONFIG} CONFIG_SECCOMP_FILTER",
            required=True,
        ),
    ]


def _for_isolation(host: Host, probes: Probes) -> list[Requirement]:
    keeper = plan_devices(Spec(name="check"), host)
    return [
        _judge(
            "pivot-root",
            "pivot_root",
            probes.pivot_root,
            "the phone's mounts are detached one by one instead, and a warning is shown",
            "boot from a disk and not from a ramfs alone; nothing else helps",
        ),
        _judge(
            "ns-cgroup",
            "cgroup namespaces",
            probes.namespaces["cgroup"],
            "only the container's own subtree is shown, and root inside can lift its limits",
            f"{_CONFIG} CONFIG_CGROUPS, 4.6 or later",
        ),
        _judge(
            "ns-network",
            "network namespaces",
            probes.namespaces["network"],
            "--net=none and networks of its own can't be had; --net=host works",
            f"{_CONFIG} CONFIG_NET_NS",
        ),
        _judge(
            _DEVICES,
            "device confinement",
            Finding(keeper.keeper != "none", keeper.reason),
            "root inside can make nodes of the phone's disks and open them",
            f"{_CONFIG} CONFIG_CGROUP_BPF (4.15), or mount a v1 devices hierarchy before the service starts",
        ),
    ]


def _for_limits(host: Host, probes: Probes) -> list[Requirement]:
    limits = (
        ("memory", "--memory", "CONFIG_MEMCG"),
        ("cpu", "--cpus", "CONFIG_CFS_BANDWIDTH"),
        ("pids", "--pids-limit", "CONFIG_CGROUP_PIDS"),
    )
    mounted = any(mount.version == 2 for mount in host.cgroups)
    return [
        _judge(
            "cgroup2",
            "cgroup2",
            Finding(True, "is mounted") if mounted else probes.cgroup2,
            "containers see cgroup v1, which systemd 256 and later refuses",
            f"{_CONFIG} CONFIG_CGROUPS, 4.5 or later",
        ),
        *(
            _judge(
                f"controller-{controller}",
                f"{controller} controller",
                _keeper(host, probes, controller),
                f"{flag} is refused",
                f"{_CONFIG} {option}, and leave the controller to a hierarchy that is mounted",
            )
            for controller, flag, option in limits
        ),
    ]


def _keeper(host: Host, probes: Probes, controller: str) -> Finding:
    for mount in host.cgroups:
        if controller in mount.controllers:
            return Finding(True, f"v{mount.version} at {mount.path}")
    if controller in probes.cgroup2_controllers:
        return Finding(True, "v2, mounted by the engine")
    return Finding(False, "in no hierarchy")


def _for_roots(host: Host, probes: Probes) -> list[Requirement]:
    e2fsck = host.tools.get("e2fsck", "")
    enough = probes.free >= FREE_LEAST
    return [
        _judge(
            "loop",
            "loop devices",
            probes.loop,
            "image files can't be used; directories and block devices can",
            f"{_CONFIG} CONFIG_BLK_DEV_LOOP",
        ),
        _judge("ext4", "ext4", probes.ext4, "images can't be used; directories can", f"{_CONFIG} CONFIG_EXT4_FS"),
        _judge(
            "e2fsck",
            "e2fsck",
            Finding(bool(e2fsck), e2fsck or "in none of the system's folders"),
            "a damaged image is refused instead of repaired",
            "install e2fsprogs; Android has it in /system/bin",
        ),
        _judge("overlay", "overlayfs", probes.overlay, "--volatile can't be used", f"{_CONFIG} CONFIG_OVERLAY_FS"),
        _judge(
            "space",
            "free space",
            Finding(enough, size(probes.free)),
            "settings and logs can't be kept",
            f"free at least {size(FREE_LEAST)} where the containers are kept",
        ),
        _judge(
            "selinux",
            "SELinux",
            Finding(True, host.selinux),
            "nothing: it need not be there, and may enforce",
            "where it enforces, images get a label that the kernel may read",
        ),
    ]


def _for_speed(probes: Probes) -> list[Requirement]:
    return [
        _judge(
            "pidfd",
            "pidfds",
            probes.pidfd,
            "the end of a container that lost its monitor is looked for once a second",
            "use a kernel from 5.3",
        ),
        _judge(
            "clone-into-cgroup",
            "birth in a cgroup (clone3)",
            probes.clone_into_cgroup,
            "a start and an enter take 5 to 16 ms longer",
            "use a kernel from 5.7",
        ),
        _judge(
            "openat2",
            "openat2",
            probes.openat2,
            "paths inside a container are walked step by step, which is as safe but slower",
            "use a kernel from 5.6",
        ),
        _judge(
            "close-range",
            "close_range",
            probes.close_range,
            "descriptors are closed one by one, which is slower",
            "use a kernel from 5.9",
        ),
    ]


def _for_programs(probes: Probes) -> list[Requirement]:
    return [
        _judge(
            "32-bit",
            "32-bit programs",
            probes.narrow,
            "32-bit distributions do not run; 64-bit ones do",
            f"{_CONFIG} CONFIG_COMPAT on a processor with that mode",
        ),
        _judge("tun", "tun", probes.tun, "VPNs inside a container do not work", f"{_CONFIG} CONFIG_TUN"),
        _judge(
            "fuse", "FUSE", probes.fuse, "sshfs, AppImages and others do not work inside", f"{_CONFIG} CONFIG_FUSE_FS"
        ),
    ]


def _judge(key: str, title: str, finding: Finding, cost: str, remedy: str, *, required: bool = False) -> Requirement:
    return Requirement(
        key=key,
        title=title,
        required=required,
        state="ok" if finding.there else "missing",
        found=finding.detail,
        cost=cost,
        remedy=remedy,
    )
