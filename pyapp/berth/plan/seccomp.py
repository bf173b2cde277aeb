"""Which system calls a container is refused, and why.

Three filters, all answering with an errno and never with a kill: the baseline (what belongs to the phone and not to
a container), the FBE keyring filter and the deadlock shield.  From 6.6 on the monitor is asked about new mounts
(`plan/mounts.py`) and BPF programs (`plan/programs.py`).  `setns` stays allowed in all of them: it joins a
namespace that exists and creates none, and under the shield nothing inside can have made one to join.  A host whose
root is a ramfs is the exception.
"""

from berth.host import Host
from berth.plan.capabilities import hears_the_network
from berth.plan.ioctls import refused_ioctls
from berth.plan.model import ArgumentTest, SyscallRule
from berth.plan.programs import ASKED_ABOUT
from berth.spec import Spec

# sched.h.  In clone's flags 0x80 is part of the exit signal (CSIGNAL, 0xff); only unshare and clone3 read it as
# CLONE_NEWTIME (5.6).
CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_NAMESPACES = (
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET
)

_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_MOVE = 1, 32, 4096, 8192  # mount(2)
_MS_CHANGES_PROPAGATION = 1 << 17 | 1 << 18 | 1 << 19 | 1 << 20  # MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED
_MS_MGC_MSK, _MS_MGC_VAL = 0xFFFF0000, 0xC0ED0000
_FSCONFIG_CMD_RECONFIGURE = 7
_FAN_MARK_FILESYSTEM = 0x100
_FAN_REPORT_ANY_FID = 0x200 | 0x400 | 0x800  # FAN_REPORT_FID (5.1), FAN_REPORT_DIR_FID and FAN_REPORT_NAME (5.9)
_AF_INET, _AF_INET6, _AF_PACKET, _SOCK_RAW, _SOCK_PACKET, _SOCK_TYPE = 2, 10, 17, 3, 10, 0xF
_IPPROTO_ICMP, _IPPROTO_ICMPV6 = 1, 58
_SOL_SOCKET, _SO_PASSPIDFD, _SO_PEERPIDFD = 1, 76, 77  # 6.5

# bpf(2): the ways to have a program run on what happens outside the container; attaching to a cgroup is another one.
_BPF_OUT_OF_ITS_CGROUP = {
    10: "PROG_TEST_RUN",
    17: "RAW_TRACEPOINT_OPEN",
    28: "LINK_CREATE",
    33: "ITER_CREATE",
    36: "TOKEN_CREATE",  # 6.9: in a user namespace it stands for PERFMON and the like
}
# bpf(2): the ways to get hold of what others have made.  A program by itself (13) only says what it does; runc asks.
_BPF_OF_OTHERS = {14: "MAP_GET_FD_BY_ID", 30: "LINK_GET_FD_BY_ID"}

LINUX_REBOOT_MAGIC1 = 0xFEE1DEAD
LINUX_REBOOT_MAGIC2 = (672274793, 85072278, 369367448, 537993216)  # MAGIC2, 2A, 2B, 2C of reboot(2)
KERNEL_SU_OPTION = 0xDEADBEEF

# The kernel and KernelSU read these arguments as `int`.  A test of all 64 bits could be passed by setting a high one.
_INT = 0xFFFFFFFF
_POINTER = 0xFFFFFFFFFFFFFFFF


def plan_syscall_rules(
    spec: Spec, host: Host, capabilities: tuple[str, ...] = (), *, guarded: bool = False
) -> tuple[SyscallRule, ...]:
    """Return the rules of this container's filter; where several fit a call, the first one answers.

    `capabilities` are those that stay in its bounding set.  When `guarded` the monitor is asked about every new file
    system and every BPF program.  With `noseccomp` there are no rules, and no filter is to be installed.
    """
    if "noseccomp" in spec.privileged:
        return ()
    shield = _DEADLOCK_SHIELD if spec.block_nested_namespaces else ()
    new_file_systems = _GUARD if guarded else _NO_RECONFIGURATION
    ramfs = _RAMFS_GUARD if host.root_is_ramfs else ()
    log = () if "SYSLOG" in capabilities else _NO_KERNEL_LOG
    listening = () if hears_the_network(spec, capabilities) else _NO_LISTENING
    return _BASELINE + log + listening + new_file_systems + _keyring_filter(spec, host) + ramfs + shield


def _keyring_filter(spec: Spec, host: Host) -> tuple[SyscallRule, ...]:
    """Old FBE finds its keys through the caller's session keyring; services that get a new one fail with ENOKEY."""
    major, minor = host.kernel
    if host.kernel < (5, 0):
        why = f"kernel {major}.{minor} is below 5.0"
    elif spec.keyring_filter:
        why = "the keyring filter was asked for"
    else:
        return ()
    return (
        SyscallRule(
            names=("keyctl", "add_key", "request_key"),
            errno="ENOSYS",
            reason=f"{why}: keyctl, add_key and request_key answer ENOSYS, so that systemd keeps the session keyring "
            "with the keys of file-based encryption",
        ),
    )


_BASELINE = (
    SyscallRule(
        names=("init_module", "finit_module", "delete_module"),
        errno="EPERM",
        reason="the kernel's modules belong to the host",
    ),
    SyscallRule(
        names=("kexec_load", "kexec_file_load"),
        errno="EPERM",
        reason="the running kernel belongs to the host",
    ),
    SyscallRule(
        names=("settimeofday", "clock_settime", "clock_settime64", "stime"),
        errno="EPERM",
        reason="there is one clock for the host and all containers",
    ),
    SyscallRule(
        names=("open_by_handle_at",),
        errno="EPERM",
        reason="a file handle reaches every file of the file system the container lies on, also outside its root",
    ),
    # sysfs, and the file system that a folder lies on, have one superblock for the host and all containers, and
    # shutdown scripts such as sysvinit's remount / read-only.  A bind that is remounted changes that one mount only.
    SyscallRule(
        names=("mount",),
        errno="EPERM",
        when=(ArgumentTest(index=3, mask=_MS_REMOUNT | _MS_BIND | _MS_RDONLY, value=_MS_REMOUNT | _MS_RDONLY),),
        reason="a read-only remount inside would turn the host's own file systems read-only",
    ),
    # "abort" and "errors=panic" are options of ext4 and f2fs.  Without options a remount can do no more than "rw".
    SyscallRule(
        names=("mount",),
        errno="EPERM",
        when=(
            ArgumentTest(index=3, mask=_MS_REMOUNT | _MS_BIND, value=_MS_REMOUNT),
            ArgumentTest(index=4, mask=_POINTER, value=0, negate=True),
        ),
        reason="a remount with options of the file system's own can abort the host's, or have it panic at an error",
    ),
    SyscallRule(
        names=("fspick",),
        errno="ENOSYS",
        reason="it remounts without saying what in its arguments; mount(8) falls back on mount, which says it",
    ),
    *refused_ioctls(),
    SyscallRule(
        names=("quotactl", "quotactl_fd"),
        errno="EPERM",
        reason="quotas belong to the host's file system, and the call asks nobody who may open the device",
    ),
    SyscallRule(
        names=("fanotify_mark",),
        errno="EPERM",
        when=(ArgumentTest(index=1, mask=_FAN_MARK_FILESYSTEM, value=_FAN_MARK_FILESYSTEM),),
        reason="with a mark on a file system the kernel hands over every file that the host opens there, also to write",
    ),
    SyscallRule(
        names=("fanotify_init",),
        errno="EPERM",
        when=(ArgumentTest(index=0, mask=_FAN_REPORT_ANY_FID, value=0),),
        reason="what the host opens of a shared folder would be handed over as the host has it: with a folder, the way "
        "up to the host's root",
    ),
    SyscallRule(
        names=("perf_event_open",),
        errno="EPERM",
        reason="SYS_ADMIN sees every process of the host through it, and hangs BPF programs on the host's kernel",
    ),
    *(
        SyscallRule(
            names=("bpf",),
            errno="EPERM",
            when=(ArgumentTest(index=0, mask=_INT, value=number),),
            reason=f"by BPF_{name} a program runs on what the host does, and may write to its processes' memory",
        )
        for number, name in _BPF_OUT_OF_ITS_CGROUP.items()
    ),
    *(
        SyscallRule(
            names=("bpf",),
            errno="EPERM",
            when=(ArgumentTest(index=0, mask=_INT, value=number),),
            reason=f"by BPF_{name} the maps and links of the host are had, such as Android's firewall, and changed",
        )
        for number, name in _BPF_OF_OTHERS.items()
    ),
    # With a pidfd of a process outside, SYS_PTRACE is enough to enter its mount namespace or to take its files.  The
    # host's abstract sockets have such a peer, and so has a socket that is a caller's standard stream.
    *(
        SyscallRule(
            names=(name,),
            errno="ENOPROTOOPT",
            when=(
                ArgumentTest(index=1, mask=_INT, value=_SOL_SOCKET),
                ArgumentTest(index=2, mask=_INT, value=option),
            ),
            reason=f"{word} gives a handle of a process of the host, and that is a way into its namespaces",
        )
        for name, option, word in (
            ("getsockopt", _SO_PEERPIDFD, "SO_PEERPIDFD"),
            ("setsockopt", _SO_PASSPIDFD, "SO_PASSPIDFD"),
        )
    ),
    SyscallRule(
        names=("listmount", "statmount"),
        errno="ENOSYS",
        reason="SYS_ADMIN sees the mounts of every namespace of the host by them; mountinfo in /proc tells one's own",
    ),
    SyscallRule(
        names=("io_uring_setup",),
        errno="ENOSYS",
        reason="calls made through io_uring, getsockopt among them, pass by this filter; programs do without it",
    ),
    SyscallRule(
        names=("swapon", "swapoff"),
        errno="EPERM",
        reason="the host's memory would be written to a file inside, where root can read it, and outlive the container",
    ),
    # KernelSU from 2.0 hands its driver to whoever calls reboot(0xdeadbeef, 0xcafebabe), before any capability is
    # looked at; its forks have more such numbers, some under another first or second magic.  Hence the reverse: only
    # what reboot(2) itself accepts gets through, and inside a PID namespace that ends the container's init.
    SyscallRule(
        names=("reboot",),
        errno="EPERM",
        when=(ArgumentTest(index=0, mask=_INT, value=LINUX_REBOOT_MAGIC1, negate=True),),
        reason="KernelSU gives root on the host for a magic number in reboot; the kernel's own magic still works",
    ),
    SyscallRule(
        names=("reboot",),
        errno="EPERM",
        when=tuple(ArgumentTest(index=1, mask=_INT, value=magic, negate=True) for magic in LINUX_REBOOT_MAGIC2),
        reason="forks of KernelSU look at the second magic number of reboot; the kernel's own four still work",
    ),
    SyscallRule(
        names=("prctl",),
        errno="EPERM",
        when=(ArgumentTest(index=0, mask=_INT, value=KERNEL_SU_OPTION),),
        reason="KernelSU before 2.0 takes its commands through a prctl option that the kernel does not have",
    ),
)

# Who may read is a setting of the host's (dmesg_restrict), and kernels of old take SYS_ADMIN for SYSLOG.
_NO_KERNEL_LOG = (SyscallRule(names=("syslog",), errno="EPERM", reason="the kernel log is the phone's"),)

# NET_RAW hears all that is sent on a network, on the phone's own localhost too: the dashboard's tokens for one.
_HEARS = "would hear and forge what everybody sends on the host's network; ping is left (--cap-add NET_RAW gives all)"
_NO_LISTENING = (
    SyscallRule(
        names=("socket",),
        errno="EPERM",
        when=(ArgumentTest(index=0, mask=_INT, value=_AF_PACKET),),
        reason=f"a packet socket {_HEARS}",
    ),
    SyscallRule(
        names=("socket",),
        errno="EPERM",
        when=(ArgumentTest(index=1, mask=_SOCK_TYPE, value=_SOCK_PACKET),),
        reason=f"a packet socket of the old kind {_HEARS}",
    ),
    *(
        SyscallRule(
            names=("socket",),
            errno="EPERM",
            when=(
                ArgumentTest(index=0, mask=_INT, value=family),
                ArgumentTest(index=1, mask=_SOCK_TYPE, value=_SOCK_RAW),
                ArgumentTest(index=2, mask=_INT, value=of_ping, negate=True),
            ),
            reason=f"a raw socket {_HEARS}",
        )
        for family, of_ping in ((_AF_INET, _IPPROTO_ICMP), (_AF_INET6, _IPPROTO_ICMPV6))
    ),
)

_NO_RECONFIGURATION = (
    SyscallRule(
        names=("fsconfig",),
        errno="EPERM",
        when=(ArgumentTest(index=1, mask=_INT, value=_FSCONFIG_CMD_RECONFIGURE),),
        reason="it remounts as well, and the options were given before",
    ),
)

# The kernel takes the old magic number for no flags at all, and its bits look like MS_PRIVATE and MS_SLAVE.
_ASKED = "the kernel mounts a disk that the host has mounted without asking who may open it: the monitor decides"
_OLD_MOUNT = _MS_REMOUNT | _MS_BIND | _MS_MOVE
_GUARD = (
    SyscallRule(
        names=("mount",),
        errno="ENOSYS",
        when=(ArgumentTest(index=3, mask=_MS_MGC_MSK | _OLD_MOUNT, value=_MS_MGC_VAL),),
        asks=True,
        reason=_ASKED,
    ),
    SyscallRule(
        names=("mount",),
        errno="ENOSYS",
        when=(ArgumentTest(index=3, mask=_OLD_MOUNT | _MS_CHANGES_PROPAGATION, value=0),),
        asks=True,
        reason=_ASKED,
    ),
    SyscallRule(
        names=("fsopen",),
        errno="ENOSYS",
        asks=True,
        reason="the new way to mount: the monitor gives a tmpfs or ramfs, for the others programs fall back on mount",
    ),
    *(
        SyscallRule(
            names=("bpf",),
            errno="ENOSYS",
            when=(ArgumentTest(index=0, mask=_INT, value=number),),
            asks=True,
            reason=f"BPF_{name} with SYS_ADMIN reaches all memory and the network: the monitor does it with less",
        )
        for number, name in ASKED_ABOUT.items()
    ),
)

# A mount namespace begins at the ramfs, which can't be unmounted.  setns to one's own puts the caller there and then
# follows what is mounted on top, and root inside may have unmounted that (mntns_install in fs/namespace.c).
_RAMFS_WAY = (
    "the host's root is a ramfs, and joining a mount namespace leads there once the container's root is unmounted"
)
_RAMFS_GUARD = (
    SyscallRule(
        names=("setns",),
        errno="EPERM",
        when=(ArgumentTest(index=1, mask=_INT, value=0),),
        reason=f"{_RAMFS_WAY}; 0 stands for a namespace of any type",
    ),
    SyscallRule(
        names=("setns",),
        errno="EPERM",
        when=(ArgumentTest(index=1, mask=CLONE_NEWNS, value=0, negate=True),),
        reason=_RAMFS_WAY,
    ),
)

# clone3's flags lie in memory, which a filter can't read; ENOSYS makes libc fall back on clone (glibc 2.34, musl never
# calls it).  Flags are argument 0 of clone on all our architectures; only s390 and cris have the stack first.
_DEADLOCK_SHIELD = (
    SyscallRule(
        names=("unshare",),
        errno="EPERM",
        when=(ArgumentTest(index=0, mask=CLONE_NAMESPACES | CLONE_NEWTIME, value=0, negate=True),),
        reason="the deadlock shield was asked for: no new namespaces by unshare (grab_super() hangs on 4.14)",
    ),
    SyscallRule(
        names=("clone",),
        errno="EPERM",
        when=(ArgumentTest(index=0, mask=CLONE_NAMESPACES, value=0, negate=True),),
        reason="the deadlock shield was asked for: no new namespaces by clone",
    ),
    SyscallRule(
        names=("clone3",),
        errno="ENOSYS",
        reason="the deadlock shield was asked for: clone3 hides its flags from the filter, libc falls back on clone",
    ),
)
