"""What this device offers: plain values, read once per start.

`plan` decides from a Host alone, so a test makes any phone it likes out of plain values.
"""

from typing import Literal

from msgspec import Struct

SelinuxMode = Literal["off", "permissive", "enforcing"]


class CgroupMount(Struct, frozen=True):
    """One cgroup hierarchy that the host has mounted.

    `controllers` are the v1 controllers of a v1 hierarchy (comounted ones together, `name=systemd` as
    "name=systemd"), or those listed in `cgroup.controllers` at a v2 root.  `noprefix` is the v1 cpuset
    mount option under which files are called `cpus` instead of `cpuset.cpus` (Android 9 to 11).
    """

    path: str
    version: Literal[1, 2]
    controllers: tuple[str, ...] = ()
    noprefix: bool = False


class DeviceNode(Struct, frozen=True):
    """A device node of the host, relative to its /dev; `mode` holds type and permission bits (st_mode)."""

    path: str
    mode: int
    major: int
    minor: int
    uid: int = 0
    gid: int = 0


class Lease(Struct, frozen=True, kw_only=True):
    """What a container has on the network of its own: its `address` in `subnet` (CIDR) and the MAC of its link.

    `gateway` is the phone's address there, and the name server; `address6` and `gateway6` are "" without IPv6.
    """

    address: str
    subnet: str
    gateway: str
    mac: str
    address6: str = ""
    gateway6: str = ""


class Host(Struct, frozen=True, kw_only=True):
    """The device as `plan` sees it.

    `machine` is uname's (aarch64, armv7l, x86_64, i686, riscv64); `memory` is in bytes; `tools` maps a tool's name to
    its absolute path; `filesystems` are those in /proc/filesystems; `dns` are the addresses of its resolvers,
    `lease` is what the network has for this container;
    `home` tells another state folder than the device's own from others;
    `time_zone` is Android's (Europe/Berlin), "" elsewhere; `network_groups` says that the kernel opens
    internet sockets only for members of a group (Android's, up to 4.14), `wakelocks` that a process can keep the
    device awake.
    """

    kernel: tuple[int, int]
    machine: str
    android: bool = False
    selinux: SelinuxMode = "off"
    memory: int = 0
    cpus: int = 1
    cgroups: tuple[CgroupMount, ...] = ()
    cgroup_namespace: bool = True
    device_bpf: bool = True
    root_is_ramfs: bool = False
    filesystems: frozenset[str] = frozenset()
    tools: dict[str, str] = {}
    devices: tuple[DeviceNode, ...] = ()
    dns: tuple[str, ...] = ()
    lease: Lease | None = None
    home: str = ""
    time_zone: str = ""
    network_groups: bool = False
    wakelocks: bool = False


ResolvConf = Literal["missing", "file", "link", "link-to-run"]
InitKind = Literal["systemd", "sysvinit", "openrc", "runit", "s6", "busybox", "unknown"]


class Rootfs(Struct, frozen=True, kw_only=True):
    """What a container's root file system is, read by descriptor without following links out of it.

    `init` is the path of the init binary after following links inside the rootfs, `systemd` its version
    (None: no systemd), `filesystem` the type's name as in /proc/mounts, `casefold` whether that file system folds case,
    `resolv_conf_target` where a link points, as an absolute path inside the rootfs; `getties` are the virtual terminals
    (tty1, ...) that its init keeps a getty on.
    """

    init: str
    init_kind: InitKind = "unknown"
    systemd: int | None = None
    filesystem: str = "ext4"
    casefold: bool = False
    resolv_conf: ResolvConf = "file"
    resolv_conf_target: str = ""
    getties: tuple[str, ...] = ()
