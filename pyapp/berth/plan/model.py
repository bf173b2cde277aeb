"""The vocabulary of a plan: small frozen steps that explain themselves.

A step says what is to be done and why; the engine knows how.  All `target` paths are absolute inside the
container and are resolved by the engine, by descriptor, without following links out of the root.
"""

from typing import Literal

from msgspec import Struct

from berth.host import InitKind, Lease
from berth.spec import Network


class Mount(Struct, frozen=True, tag=True):
    """Mount a new instance of `filesystem` at `target`; `options` are words as in mount(8).

    With `optional` a kernel that lacks the file system (ENODEV, EINVAL, EPERM) is passed over.
    """

    target: str
    filesystem: str
    options: tuple[str, ...] = ()
    data: str = ""
    optional: bool = False
    reason: str = ""

    def describe(self) -> str:
        words = ",".join(self.options + ((self.data,) if self.data else ()))
        return f"mount {self.filesystem} on {self.target}" + (f" ({words})" if words else "")


class BindMount(Struct, frozen=True, tag=True):
    """Show the host's `source` at `target`; a missing source is skipped and reported, a missing target made."""

    source: str
    target: str
    read_only: bool = False
    reason: str = ""

    def describe(self) -> str:
        return f"bind {self.source} -> {self.target} ({'ro' if self.read_only else 'rw'})"


class Directory(Struct, frozen=True, tag=True):
    """Make a directory inside one of our own file systems."""

    target: str
    mode: int = 0o755
    reason: str = ""

    def describe(self) -> str:
        return f"mkdir {self.target} ({self.mode:04o})"


class Node(Struct, frozen=True, tag=True):
    """Make a device node; `mode` holds type and permission bits (st_mode)."""

    target: str
    mode: int
    major: int
    minor: int
    uid: int = 0
    gid: int = 0
    reason: str = ""

    def describe(self) -> str:
        return f"mknod {self.target} {self.major}:{self.minor}"


class GettyTerminal(Struct, frozen=True, tag=True):
    """Show a new terminal of the container's own devpts at `target`; the monitor holds its other end and reads nothing.

    What is written there goes nowhere, and whoever reads waits.
    """

    target: str
    reason: str = ""

    def describe(self) -> str:
        return f"terminal {self.target}"


class Link(Struct, frozen=True, tag=True):
    """Make a symbolic link inside one of our own file systems."""

    target: str
    points_to: str
    reason: str = ""

    def describe(self) -> str:
        return f"link {self.target} -> {self.points_to}"


class File(Struct, frozen=True, tag=True):
    """Write a small file inside one of our own file systems, making the folders above it."""

    target: str
    content: str
    mode: int = 0o644
    reason: str = ""

    def describe(self) -> str:
        return f"write {self.target} ({len(self.content)} bytes)"


class Mask(Struct, frozen=True, tag=True):
    """Hide a file behind an empty one, a directory behind an empty read-only tmpfs; a missing one is passed over."""

    target: str
    reason: str = ""

    def describe(self) -> str:
        return f"mask {self.target}"


class ReadOnly(Struct, frozen=True, tag=True):
    """Make what is at `target` read-only by a bind of itself; `writable` makes such a bind that stays writable.

    A missing target is passed over.
    """

    target: str
    writable: bool = False
    reason: str = ""

    def describe(self) -> str:
        return f"{'keep writable' if self.writable else 'read-only'} {self.target}"


class NetworkGroups(Struct, frozen=True, tag=True):
    """Add Android's network groups to the rootfs's own group file `target` where they are missing.

    In the passwd file beside it, apt's own user gets the one that opens sockets.
    """

    target: str
    reason: str = ""

    def describe(self) -> str:
        return f"add Android's groups 3001 to 3006 to {self.target}; _apt gets 3003"


class Resolvers(Struct, frozen=True, tag=True):
    """Bind a resolv.conf with `servers`, kept in the run folder so that it can be updated in place, over `target`."""

    target: str
    servers: tuple[str, ...]
    reason: str = ""

    def describe(self) -> str:
        return f"resolvers {', '.join(self.servers)} at {self.target}"


Step = Mount | BindMount | Directory | Node | GettyTerminal | Link | File | Mask | ReadOnly | NetworkGroups | Resolvers


class Cgroup(Struct, frozen=True):
    """One hierarchy in which the container gets `berth/NAME` (limits) and `berth/NAME/payload` (processes).

    `mount` is where the host has the hierarchy; None means that the engine mounts it for itself, because the host has
    not.  `switch_on` lists the v2 controllers to be enabled from the root down to the payload; `inherit` the
    v1 cpuset files that each new group copies from its parent first; `limits` what is written to `berth/NAME`.
    `group` stands there instead of NAME where the container is of another state folder than the device's own: NAME@TAG.
    """

    mount: str | None
    version: Literal[1, 2]
    controllers: tuple[str, ...] = ()
    switch_on: tuple[str, ...] = ()
    inherit: tuple[str, ...] = ()
    limits: tuple[tuple[str, str], ...] = ()
    reason: str = ""
    group: str = ""


class DeviceRule(Struct, frozen=True):
    """Allow `access` (a subset of "rwm") to devices of `kind`; None for `major` or `minor` means any."""

    kind: Literal["b", "c", "a"]
    major: int | None
    minor: int | None
    access: str
    reason: str = ""


class DevicePolicy(Struct, frozen=True):
    """Who keeps the container off the host's devices, and what it may use.  `keeper` "none": nobody can."""

    keeper: Literal["bpf", "v1", "none"]
    rules: tuple[DeviceRule, ...] = ()
    reason: str = ""


class SysctlPolicy(Struct, frozen=True):
    """Whether a BPF program keeps the container from writing sysctls, but for net/ where `net` is set."""

    kept: bool = False
    net: bool = False
    reason: str = ""


class ArgumentTest(Struct, frozen=True):
    """True where `argument[index] & mask` equals `value`, or differs from it when `negate` is set (64-bit numbers)."""

    index: int
    mask: int
    value: int
    negate: bool = False


class SyscallRule(Struct, frozen=True):
    """Answer the system calls `names` with `errno` (its name) when all `when` tests hold; never a kill.

    With `asks` the monitor is asked for the answer, and `errno` is what the kernel answers when there is none.
    """

    names: tuple[str, ...]
    errno: str
    when: tuple[ArgumentTest, ...] = ()
    asks: bool = False
    reason: str = ""


class MountPolicy(Struct, frozen=True):
    """What the monitor mounts for a container that has to ask: `filesystems` without a device, the others never.

    Those with a device it mounts as far as the container may open that.
    """

    filesystems: tuple[str, ...] = ()
    reason: str = ""


class Wakelock(Struct, frozen=True):
    """Keep the device awake by the kernel's wakelock `name`: while the container runs, or only while there is power."""

    name: str
    policy: Literal["running", "charging"]
    reason: str = ""


class Plan(Struct, frozen=True, kw_only=True):
    """Everything a start will do, decided.

    `steps` are carried out in order by PID 1 before `pivot_root`; `namespaces` are new ones, by the kernel's words
    (mount, pid, uts, ipc, cgroup, network); `capabilities` is the bounding set that stays; `volatile_size` is in bytes;
    with `console` PID 1 has a terminal of its own on /dev/console; `oom_score_adj` is that of all its processes; with
    `selinux_permissive` the whole device has SELinux permissive.
    """

    name: str
    hostname: str
    argv: tuple[str, ...]
    environment: dict[str, str]
    namespaces: tuple[str, ...]
    steps: tuple[Step, ...]
    cgroups: tuple[Cgroup, ...]
    devices: DevicePolicy
    capabilities: tuple[str, ...]
    syscall_rules: tuple[SyscallRule, ...]
    mounts: MountPolicy = MountPolicy()
    sysctls: SysctlPolicy = SysctlPolicy()
    init_kind: InitKind = "unknown"
    volatile: bool = False
    volatile_size: int = 0
    read_only_root: bool = False
    console: bool = True
    network: Network = "host"
    lease: Lease | None = None
    oom_score_adj: int = 0
    wakelock: Wakelock | None = None
    selinux_permissive: bool = False
    warnings: tuple[str, ...] = ()
