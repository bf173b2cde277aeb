"""Which new file systems a container may mount, where the monitor is asked about each.

From Linux 6.6 the kernel opens a block device only for a file system that is not mounted yet.  One that the host has
mounted is found by the device's number and mounted again, and whoever confines devices is not asked.
"""

from typing import Final, Literal

from berth.host import Host
from berth.plan.model import DevicePolicy, MountPolicy
from berth.spec import Spec

# Each mount of these is an instance of its own, or belongs to a namespace, or (proc, sysfs) can't be done without.
_HARMLESS: Final = (
    "tmpfs",
    "ramfs",
    "proc",
    "sysfs",
    "devpts",
    "mqueue",
    "hugetlbfs",
    "cgroup",
    "cgroup2",
    "cpuset",
    "overlay",
    "fuse",
    "autofs",
    "bpf",
    "binder",
    "nfs",
    "nfs4",
    "rpc_pipefs",
    "cifs",
    "smb3",
    "ceph",
    "ecryptfs",
)
# One instance for the host and all containers, or chosen by a name that no device policy knows.  What is in neither
# list is not mounted: a vendor's kernel may have anything.
ONE_WITH_THE_HOST: Final = {
    "devtmpfs": "the host's device nodes",
    "debugfs": "the kernel's insides, some of them writable",
    "tracefs": "tracing of the whole host",
    "binfmt_misc": "a program named there runs on the host, as root",
    "securityfs": "the host's security modules",
    "selinuxfs": "the host's SELinux policy",
    "configfs": "the host's USB gadget",
    "functionfs": "the host's USB functions, such as adb",
    "fusectl": "the host's FUSE connections, which can be cut off there",
    "pstore": "the host's crash logs",
    "efivarfs": "the firmware's variables",
    "nfsd": "the host's NFS server",
    "resctrl": "the host's caches",
    "ubifs": "the host's flash, by the name of a volume",
    "virtiofs": "a share of the machine around the host, by its tag",
    "9p": "a share of the machine around the host, by its tag",
}
_FIRST_KERNEL: Final = (6, 6)
_MACHINES: Final = ("x86_64", "aarch64")  # those for which kernel/errand.py has a program

_NAME_A_FILE: Final = frozenset({"device", "journal_path", "journal_dev", "logdev", "rtdev"})


def is_guarded(spec: Spec, host: Host, capabilities: tuple[str, ...]) -> bool:
    """Tell whether this container has to ask for new file systems.

    Not before 6.6, where the kernel opens the device each time, nor where it can't mount at all.
    """
    lifted = "noseccomp" in spec.privileged or "SYS_ADMIN" not in capabilities
    return host.kernel >= _FIRST_KERNEL and host.machine in _MACHINES and not lifted


def plan_mounts(spec: Spec, *, guarded: bool) -> MountPolicy:
    """Return what the monitor mounts for this container; `nomask` adds what is one with the host."""
    if not guarded:
        return MountPolicy(reason="every file system that the kernel has can be mounted")
    if "nomask" in spec.privileged:
        return MountPolicy(
            (*_HARMLESS, *ONE_WITH_THE_HOST), "--privileged=nomask: also those that are one with the host"
        )
    return MountPolicy(
        _HARMLESS, "file systems that are one with the host are refused: " + ", ".join(ONE_WITH_THE_HOST)
    )


Way = Literal["plain", "device", "refused", "unknown"]


def way_to_mount(policy: MountPolicy, filesystem: str, listed: dict[str, bool]) -> Way:
    """Return how `filesystem` is to be mounted, if at all.

    `listed` is /proc/filesystems: each name, and whether it needs a block device.  A subtype, as in "fuse.sshfs", is no
    part of the name.
    """
    name = filesystem.partition(".")[0]
    if name not in listed:
        return "unknown"
    if listed[name]:
        return "device"
    return "plain" if name in policy.filesystems else "refused"


def may_mount_device(policy: DevicePolicy, major: int, minor: int, *, read_only: bool) -> bool:
    """Tell whether a file system on this block device may be mounted: whether the device may be opened."""
    if policy.keeper == "none":
        return True
    wanted = set("r" if read_only else "rw")
    granted = {
        access
        for rule in policy.rules
        if rule.kind in ("a", "b") and rule.major in (None, major) and rule.minor in (None, minor)
        for access in rule.access
    }
    return wanted <= granted


def split_options(data: str) -> tuple[tuple[str, str | None], ...]:
    """Return the options of mount(2)'s `data`, each with its value, as the kernel takes them apart."""
    pairs = (word.partition("=") for word in data.split(",") if word)
    return tuple((key, value if equals else None) for key, equals, value in pairs if key)


def names_a_file(key: str, value: str | None) -> bool:
    """Tell whether an option of a file system on a device may name another file: that would be one of the host's."""
    return key in _NAME_A_FILE or (value is not None and "/" in value)
