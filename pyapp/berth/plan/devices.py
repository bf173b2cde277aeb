"""Which devices a container may use, and what its /dev contains.

/dev is always a tmpfs of the container's own: there is one devtmpfs per machine, and what a container does to it
happens to the host.
"""

import stat
from collections.abc import Iterable
from re import compile as pattern
from typing import Final, Literal

from berth.host import DeviceNode, Host, Rootfs
from berth.plan.model import DevicePolicy, DeviceRule, Directory, GettyTerminal, Link, Mount, Node, Step
from berth.spec import Spec

# admin-guide/devices.txt of the kernel.  devpts gives all its terminals major 136; 137 to 143 are reserved for it too.
_BASE_RULES: Final = (
    DeviceRule("a", None, None, "m", "making a node is harmless while opening it is refused"),
    DeviceRule("c", 1, 3, "rw", "null"),
    DeviceRule("c", 1, 5, "rw", "zero"),
    DeviceRule("c", 1, 7, "rw", "full"),
    DeviceRule("c", 1, 8, "rw", "random"),
    DeviceRule("c", 1, 9, "rw", "urandom"),
    DeviceRule("c", 5, 0, "rw", "tty: the caller's own terminal"),
    DeviceRule("c", 5, 2, "rw", "ptmx"),
    DeviceRule("c", 136, None, "rw", "pts: the terminals of devpts"),
    DeviceRule("c", 10, 229, "rw", "fuse"),
    DeviceRule("c", 10, 200, "rw", "tun"),
)
_BASE_NODES: Final = (
    ("null", 1, 3, 0),
    ("zero", 1, 5, 0),
    ("full", 1, 7, 0),
    ("random", 1, 8, 0),
    ("urandom", 1, 9, 0),
    ("tty", 5, 0, 5),  # group 5 is tty in every distribution, as in devpts below
    ("fuse", 10, 229, 0),
    ("net/tun", 10, 200, 0),
)
_BASE_FOLDERS: Final = ("pts", "shm", "mqueue", "net")
_LINKS: Final = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
)
_OUR_OWN: Final = frozenset(
    {name for name, *_ in _BASE_NODES} | {name for name, _ in _LINKS} | {*_BASE_FOLDERS, "console", "tun", "log"}
)
_UNDER_OUR_OWN: Final = ("pts/", "shm/", "mqueue/", "fd/")

_DRI_CARD: Final = pattern(r"dri/card\d+")
# Virtual terminals and what shows their contents: a getty inside would take the host's screen and keyboard.
_HOST_TERMINAL: Final = pattern(r"tty\d+|vcs[au]?\d*|ttyprintk")
# What is not hardware to use but the host itself: its memory and log, ways to its disks that are no block device
# (SCSI, NVMe and UFS pass-through, flash, device mapper), Android's own services, and the watchdog, which
# reboots the machine when whoever opened it ends.
_HOST_ITSELF: Final = pattern(
    r"mem|kmem|port|kmsg|oldmem|nvram|snapshot|cpu/\d+/msr|"
    r"sg\d+|bsg/.*|ufs-bsg.*|nvme\d+|ng\d+n\d+|nvme-fabrics|mmcblk\d+rpmb|.*rpmb.*|mtd\d+(ro)?|ubi.*|raw/.*|"
    r"mapper/control|device-mapper|dm-user/.*|loop-control|btrfs-control|autofs|zram-control|"
    r"(.*/)?(hw|vnd)?binder|binderfs/.*|watchdog\d*"
)
# Majors whose numbers are shared by unlike things: memory, terminals, miscellaneous, screens, GPU cards.
_NODE_BY_NODE: Final = frozenset({1, 4, 5, 7, 10, 226})
_PLUGGABLE: Final = {
    13: "input",
    81: "cameras",
    116: "sound",
    166: "USB modems",
    180: "USB printers and others",
    188: "USB serial ports",
    189: "USB devices",
}


def plan_devices(spec: Spec, host: Host) -> DevicePolicy:
    """Return who keeps the container off the host's devices, and the devices it may open.

    A BPF program where the kernel has those (4.15) and a cgroup2 to attach them to, else a v1 `devices` hierarchy, else
    nobody.  Hardware access adds the host's character devices but no block device and nothing that leads to
    its disks or memory another way; `--privileged=unfiltered-dev` lifts it all.
    """
    if "unfiltered-dev" in spec.privileged:
        return DevicePolicy("none", reason="--privileged=unfiltered-dev: even the host's disks can be opened")
    keeper, why = _keeper(host)
    if keeper == "none":
        return DevicePolicy("none", reason=why)
    rules = _BASE_RULES + (_hardware_rules(host) if spec.hw_access else ())
    if spec.hw_access:
        why += (
            "; hardware access leaves out block devices and what leads to the host's disks or memory "
            "(--privileged=unfiltered-dev gives those too)"
        )
    return DevicePolicy(keeper, rules, why)


def device_steps(spec: Spec, host: Host) -> tuple[Step, ...]:
    """Return the steps that make /dev; /dev/console is missing there, because it is a terminal made at start.

    A node is made whether or not the kernel has its driver: without one it answers ENXIO or ENODEV.
    """
    hardware = hardware_nodes(spec, host.devices) if spec.hw_access else ()
    folders = _BASE_FOLDERS + tuple(name for name in _folders_above(hardware) if name not in _BASE_FOLDERS)
    return (
        Mount(
            "/dev",
            "tmpfs",
            ("nosuid", "strictatime"),
            "mode=755,size=4m,nr_inodes=16k",
            reason="nodes only; a devtmpfs would be the host's own",
        ),
        *(Directory(f"/dev/{name}") for name in folders),
        *(
            Node(f"/dev/{name}", stat.S_IFCHR | 0o666, major, minor, gid=gid, reason="every system expects it")
            for name, major, minor, gid in _BASE_NODES
        ),
        *(Link(f"/dev/{name}", points_to, reason="every system expects it") for name, points_to in _LINKS),
        Mount(
            "/dev/pts",
            "devpts",
            ("nosuid", "noexec"),
            "newinstance,ptmxmode=0666,mode=0620,gid=5",
            reason="terminals of this container only",
        ),
        Mount("/dev/shm", "tmpfs", ("nosuid", "nodev"), "mode=1777", reason="POSIX shared memory"),
        Mount(
            "/dev/mqueue",
            "mqueue",
            ("nosuid", "nodev", "noexec"),
            optional=True,
            reason="POSIX message queues of this IPC namespace",
        ),
        *(
            Node(f"/dev/{n.path}", n.mode, n.major, n.minor, n.uid, n.gid, "hardware access: as on the host")
            for n in hardware
        ),
    )


def terminal_steps(rootfs: Rootfs) -> tuple[Step, ...]:
    """Return the steps that make the terminals on which the rootfs' init keeps a getty.

    There are no virtual terminals in a container, and a getty without its terminal ends and is started anew for ever,
    each time waking the phone.  On a terminal that nobody looks at it sleeps.
    """
    why = "its init keeps a getty there; without a terminal that would be started again and again"
    return tuple(GettyTerminal(f"/dev/{name}", why) for name in rootfs.getties)


def hugepage_steps(host: Host, rootfs: Rootfs) -> tuple[Step, ...]:
    """Return the steps that have huge pages where systemd would mount them: by a program, which asks for each mount."""
    if rootfs.init_kind != "systemd" or "hugetlbfs" not in host.filesystems:
        return ()
    why = "systemd finds it there, and need not run a program that mounts it"
    mount = Mount("/dev/hugepages", "hugetlbfs", ("nosuid", "nodev"), optional=True, reason=why)
    return Directory("/dev/hugepages"), mount


def hardware_nodes(spec: Spec, devices: Iterable[DeviceNode]) -> tuple[DeviceNode, ...]:
    """Return those of the host's `devices` that hardware access shows, by path."""
    shown = {node.path: node for node in devices if is_shown(spec, node)}
    return tuple(shown[path] for path in sorted(shown))


def is_shown(spec: Spec, node: DeviceNode) -> bool:
    """Tell whether hardware access shows `node` in the container's /dev; for devices plugged in later too.

    Never the host's displays (`dri/card*`: a second master there can panic the kernel), nor its terminals, nor a name
    that is ours; the host's disks, memory and control devices only with `unfiltered-dev`.
    """
    return _is_free(node) and ("unfiltered-dev" in spec.privileged or not _is_host_itself(node))


def _keeper(host: Host) -> tuple[Literal["bpf", "v1", "none"], str]:
    has_cgroup2 = "cgroup2" in host.filesystems or any(mount.version == 2 for mount in host.cgroups)
    if host.device_bpf and has_cgroup2:
        return "bpf", "a BPF program on the container's cgroup2 refuses every other device"
    missing = "no device programs (CONFIG_CGROUP_BPF, 4.15)" if has_cgroup2 else "no cgroup2"
    if any(mount.version == 1 and "devices" in mount.controllers for mount in host.cgroups):
        return "v1", f"this kernel has {missing}: the v1 devices hierarchy refuses every other device"
    return "none", (
        f"this kernel has {missing} and no v1 devices hierarchy is mounted: root inside can make nodes of the "
        "host's disks and open them"
    )


def _is_free(node: DeviceNode) -> bool:
    """Neither a name of ours nor something that takes the host's screen or keyboard away."""
    ours = node.path in _OUR_OWN or node.path.startswith(_UNDER_OUR_OWN)
    return not (ours or _DRI_CARD.fullmatch(node.path) or _HOST_TERMINAL.fullmatch(node.path))


def _is_host_itself(node: DeviceNode) -> bool:
    return stat.S_ISBLK(node.mode) or _HOST_ITSELF.fullmatch(node.path) is not None


def _folders_above(nodes: tuple[DeviceNode, ...]) -> list[str]:
    """Every folder once, each after the one above it."""
    folders: dict[str, None] = {}
    for node in nodes:
        parts = node.path.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            folders["/".join(parts[:depth])] = None
    return list(folders)


def _hardware_rules(host: Host) -> tuple[DeviceRule, ...]:
    """A major is given as a whole when nothing of it has to stay out, so that what is plugged in later works too."""
    characters = [(node.major, node.minor, node) for node in host.devices if stat.S_ISCHR(node.mode)]
    barred = {(major, minor) for major, minor, node in characters if not _is_free(node) or _is_host_itself(node)}
    mixed = _NODE_BY_NODE | {major for major, _ in barred}
    whole = {major: f"hardware access: {what}, also when plugged in later" for major, what in _PLUGGABLE.items()}
    single: dict[tuple[int, int], str] = {}
    for major, minor, node in characters:
        if (major, minor) in barred:
            continue
        if major in mixed:
            single.setdefault((major, minor), f"hardware access: {node.path}")
        else:
            whole.setdefault(major, f"hardware access: {node.path} and its like")
    return (
        *(DeviceRule("c", major, None, "rw", why) for major, why in whole.items()),
        *(DeviceRule("c", major, minor, "rw", why) for (major, minor), why in single.items()),
    )
