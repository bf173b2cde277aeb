"""A small SELinux policy with Android's names, which treats a root container program as a rooted phone's does.

- A root manager's domain may do everything and is permissive (Magisk's and KernelSU's own rules).
- The kernel, which is also who reads a loop-mounted image, may read and write files of few types (AOSP's kernel.te).
- A shell and an app are confined.

What the policy has no class or permission for is allowed.  Written as CIL, compiled by secilc(8).
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

FILE = (
    "ioctl read write create getattr setattr lock relabelfrom relabelto append map unlink link rename execute quotaon"
    " mounton audit_access open execmod watch watch_mount watch_sb watch_with_perm watch_reads"
)
SOCKET = (
    "ioctl read write create getattr setattr lock relabelfrom relabelto append map bind connect listen accept getopt"
    " setopt shutdown recvfrom sendto name_bind"
)
CAPABILITY = (
    "chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service"
    " net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin"
    " sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap"
)
CAPABILITY2 = "mac_override mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore"

CLASSES = {
    "security": "compute_av compute_create compute_member check_context load_policy compute_relabel compute_user"
    " setenforce setbool setsecparam setcheckreqprot read_policy validate_trans",
    "process": "fork transition sigchld sigkill sigstop signull signal ptrace getsched setsched getsession getpgid"
    " setpgid getcap setcap share getattr setexec setfscreate noatsecure siginh setrlimit rlimitinh dyntransition"
    " setcurrent execmem execstack execheap setkeycreate setsockcreate getrlimit",
    "process2": "nnp_transition nosuid_transition",
    "system": "ipc_info syslog_read syslog_mod syslog_console module_request module_load",
    "capability": CAPABILITY,
    "capability2": CAPABILITY2,
    "cap_userns": CAPABILITY,
    "cap2_userns": CAPABILITY2,
    "filesystem": "mount remount unmount getattr relabelfrom relabelto associate quotamod quotaget watch",
    "file": f"{FILE} execute_no_trans entrypoint",
    "dir": f"{FILE} add_name remove_name reparent search rmdir",
    "fd": "use",
    **dict.fromkeys(("lnk_file", "chr_file", "blk_file", "sock_file", "fifo_file", "anon_inode"), FILE),
    "socket": SOCKET,
    "tcp_socket": f"{SOCKET} node_bind name_connect",
    "udp_socket": f"{SOCKET} node_bind",
    "rawip_socket": f"{SOCKET} node_bind",
    "unix_stream_socket": f"{SOCKET} connectto",
    "netlink_route_socket": f"{SOCKET} nlmsg_read nlmsg_write",
    **dict.fromkeys(
        (
            "unix_dgram_socket",
            "netlink_socket",
            "packet_socket",
            "key_socket",
            "netlink_tcpdiag_socket",
            "netlink_audit_socket",
            "netlink_netfilter_socket",
            "netlink_generic_socket",
            "netlink_kobject_uevent_socket",
            "tun_socket",
        ),
        SOCKET,
    ),
    "bpf": "map_create map_read map_write prog_load prog_run",
    "user_namespace": "create",
}

# The kernel numbers the initial labels in this order (security/selinux/include/initial_sid_to_string.h).
INITIAL = (
    "kernel security unlabeled fs file file_labels init any_socket port netif netmsg node igmp_packet icmp_socket"
    " tcp_socket sysctl_modprobe sysctl sysctl_fs sysctl_kernel sysctl_net sysctl_net_unix sysctl_vm sysctl_dev kmod"
    " policy scmp_packet devnull"
)
INITIAL_TYPES = {
    "kernel": "kernel",
    "init": "kernel",
    "kmod": "kernel",
    "security": "kernel",
    "fs": "labeledfs",
    "devnull": "null_device",
}

DOMAINS = ("kernel", "init", "shell", "magisk", "ksu", "untrusted_app")
ROOT_DOMAINS = ("magisk", "ksu")
KERNEL_MAY_USE = ("vold_data_file", "apex_data_file", "media_rw_data_file")
DATA_FILES = (
    *KERNEL_MAY_USE,
    "adb_data_file",
    "system_data_file",
    "system_data_root_file",
    "shell_data_file",
    "app_data_file",
    "magisk_file",
    "unlabeled",
)
SYSTEM_FILES = ("system_file", "shell_exec", "toolbox_exec", "init_exec")
DEVICES = ("device", "block_device", "loop_device", "console_device", "null_device")

BY_ATTRIBUTE = {"ext4": "labeledfs", "f2fs": "labeledfs", "overlay": "overlayfs"}
BY_TRANSITION = {"tmpfs": "tmpfs", "devtmpfs": "device", "devpts": "devpts", "mqueue": "mqueue"}
BY_TASK = {"pipefs": "pipefs", "sockfs": "sockfs"}
WHOLE = {
    "rootfs": "rootfs",
    "proc": "proc",
    "sysfs": "sysfs",
    "selinuxfs": "selinuxfs",
    "cgroup": "cgroup",
    "cgroup2": "cgroup_v2",
    "bpf": "bpffs",
    "debugfs": "debugfs",
    "tracefs": "debugfs",
    "binfmt_misc": "proc",
    "fuse": "fuse",
    "nsfs": "nsfs",
}
FILE_SYSTEMS = tuple(
    dict.fromkeys((*BY_ATTRIBUTE.values(), *BY_TRANSITION.values(), *BY_TASK.values(), *WHOLE.values()))
)
TYPES = tuple(dict.fromkeys((*DOMAINS, *DATA_FILES, *SYSTEM_FILES, *DEVICES, *FILE_SYSTEMS)))


def compile_policy(work: Path) -> Path:
    """Write the policy as the kernel loads it into the folder `work`, and return its path."""
    source, compiled = work / "android.cil", work / "policy"
    source.write_text("\n".join(_statements()) + "\n", encoding="utf-8")
    command: list[str | Path] = [
        "secilc",
        "-M",
        "true",
        "-U",
        "allow",
        "-c",
        "33",
        "-o",
        compiled,
        "-f",
        "/dev/null",
        source,
    ]
    subprocess.run(command, check=True)
    return compiled


def _statements() -> Iterator[str]:
    yield "(handleunknown allow) (mls true)"
    yield "(policycap open_perms) (policycap extended_socket_class) (policycap nnp_nosuid_transition)"
    yield from (f"(class {name} ({permissions}))" for name, permissions in CLASSES.items())
    yield f"(classorder ({' '.join(CLASSES)}))"
    yield from (f"(sid {name})" for name in INITIAL.split())
    yield f"(sidorder ({INITIAL}))"
    yield "(sensitivity s0) (sensitivityorder (s0)) (category c0) (categoryorder (c0)) (sensitivitycategory s0 (c0))"
    yield "(level low (s0)) (levelrange all (low low))"
    yield "(user u) (role r) (role object_r) (userrole u r) (userrole u object_r) (userlevel u low) (userrange u all)"
    yield from _types()
    yield from _labels()
    yield from _rules()


def _types() -> Iterator[str]:
    yield from (f"(type {name}) (roletype object_r {name})" for name in TYPES)
    yield from (f"(roletype r {name})" for name in DOMAINS)
    groups = {"everything": TYPES, "domain": DOMAINS, "data_file": DATA_FILES, "filesystems": FILE_SYSTEMS}
    for group, members in groups.items():
        yield f"(typeattribute {group}) (typeattributeset {group} ({' '.join(members)}))"
    kept_from_kernel = f"(and everything (not ({' '.join(DATA_FILES)})))"
    yield f"(typeattribute kernels_own) (typeattributeset kernels_own {kept_from_kernel})"


def _labels() -> Iterator[str]:
    for name in INITIAL.split():
        kind = INITIAL_TYPES.get(name, "unlabeled")
        yield f"(sidcontext {name} {_context(kind, 'r' if kind in DOMAINS else 'object_r')})"
    for how, file_systems in (("xattr", BY_ATTRIBUTE), ("trans", BY_TRANSITION), ("task", BY_TASK)):
        yield from (f"(fsuse {how} {name} {_context(kind)})" for name, kind in file_systems.items())
    yield from (f'(genfscon {name} "/" {_context(kind)})' for name, kind in WHOLE.items())


def _context(kind: str, role: str = "object_r") -> str:
    return f"(u {role} {kind} (low low))"


def _rules() -> Iterator[str]:
    yield "(allow everything filesystems (filesystem (associate)))"
    yield "(allow everything device (filesystem (associate)))"
    for name in ROOT_DOMAINS:
        yield from _all("everything", name)
        yield f"(typepermissive {name})"
        yield f"(allow domain {name} (fd (use))) (allow domain {name} (process (sigchld)))"
        yield f"(allow domain {name} (fifo_file (read write open getattr)))"
    yield from _all("everything", "init")
    yield from _all("kernels_own", "kernel")
    yield "(allow kernel data_file (dir (all)))"
    yield from (f"(allow kernel {name} (file (read write)))" for name in KERNEL_MAY_USE)
    yield "(typetransition kernel init_exec process init)"
    yield "(allow domain everything (process2 (nnp_transition nosuid_transition)))"
    yield from _confined()


def _all(target: str, domain: str) -> Iterator[str]:
    yield from (f"(allow {domain} {target} ({name} (all)))" for name in CLASSES)


def _confined() -> Iterator[str]:
    yield from (
        f"(allow domain self ({name} (all)))"
        for name in ("process", "fd", "fifo_file", "unix_stream_socket", "file", "dir", "lnk_file")
    )
    yield "(allow domain init (fd (use))) (allow domain init (process (sigchld)))"
    yield "(allow domain null_device (chr_file (all)))"
    for name in ("shell", "untrusted_app"):
        for kind in (*SYSTEM_FILES, "labeledfs", "system_data_root_file", "proc", "rootfs"):
            yield f"(allow {name} {kind} (file (read open getattr map execute execute_no_trans entrypoint)))"
            yield f"(allow {name} {kind} (dir (read open getattr search)))"
            yield f"(allow {name} {kind} (lnk_file (read getattr)))"
        yield f"(allow {name} tmpfs (dir (all))) (allow {name} tmpfs (file (all)))"
        yield f"(allow {name} device (dir (search getattr)))"
