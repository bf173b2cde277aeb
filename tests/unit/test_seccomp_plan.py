"""Which system calls a container is refused: decided from made-up specs and hosts."""

from itertools import product

import pytest

from berth.host import Host
from berth.kernel.syscalls import NAMES
from berth.plan.model import SyscallRule
from berth.plan.seccomp import plan_syscall_rules
from berth.spec import Spec

BASELINE = {
    "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "settimeofday", "clock_settime",
    "clock_settime64", "stime", "open_by_handle_at", "quotactl", "quotactl_fd", "perf_event_open",
    "swapon", "swapoff", "syslog",
}  # fmt: skip
KEYRING = {"keyctl", "add_key", "request_key"}
SHIELD = {"unshare", "clone", "clone3"}


def plan(
    kernel: tuple[int, int] = (6, 1), block_nested_namespaces: bool = False, keyring_filter: bool = False
) -> tuple[SyscallRule, ...]:
    spec = Spec(name="web", block_nested_namespaces=block_nested_namespaces, keyring_filter=keyring_filter)
    return plan_syscall_rules(spec, Host(kernel=kernel, machine="aarch64"))


def errnos(rules: tuple[SyscallRule, ...]) -> dict[str, str]:
    return {name: rule.errno for rule in rules for name in rule.names}


def holds(rule: SyscallRule, *arguments: int) -> bool:
    return all(((arguments[test.index] & test.mask) == test.value) is not test.negate for test in rule.when)


def refuses(rules: tuple[SyscallRule, ...], name: str, *arguments: int) -> bool:
    return any(name in rule.names and holds(rule, *arguments) for rule in rules)


def test_the_baseline_is_refused_with_eperm_whatever_the_arguments() -> None:
    unconditional = {name: rule.errno for rule in plan() if not rule.when for name in rule.names}
    hidden = dict.fromkeys(("fspick", "io_uring_setup", "listmount", "statmount"), "ENOSYS")
    assert unconditional == dict.fromkeys(BASELINE, "EPERM") | hidden


def test_a_remount_of_a_whole_file_system_is_refused_if_read_only_or_with_options() -> None:
    read_only, remount, bind, noexec, options = 1, 32, 4096, 8, 0x7F00_0000_0000
    assert refuses(plan(), "mount", 0, 0, 0, remount, options)
    assert not refuses(plan(), "mount", 0, 0, 0, 0, options)
    assert not refuses(plan(), "mount", 0, 0, 0, remount | bind, options)
    assert refuses(plan(), "mount", 0, 0, 0, remount | read_only, 0)
    assert refuses(plan(), "mount", 0, 0, 0, remount | read_only | noexec, 0)
    assert not refuses(plan(), "mount", 0, 0, 0, remount | bind | read_only, 0)
    assert not refuses(plan(), "mount", 0, 0, 0, remount, 0)
    assert not refuses(plan(), "mount", 0, 0, 0, read_only, 0)
    assert refuses(plan(), "fsconfig", 3, 7, 0, 0)
    assert not any(refuses(plan(), "fsconfig", 3, command, 0, 0) for command in (*range(7), 8))


@pytest.mark.parametrize("number", [0xC0045877, 0xC0045878, 0x8004587D, 0x40086610, 0x4008F510, 0xFFFFFFFF_C0045877])
def test_what_halts_a_whole_file_system_is_refused(number: int) -> None:
    assert refuses(plan(), "ioctl", 3, number)


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(0x41009432, id="FS_IOC_SETFSLABEL"),
        pytest.param(0x4008662C, id="EXT4_IOC_SETFSUUID"),
        pytest.param(0x40E8662E, id="EXT4_IOC_SET_TUNE_SB_PARAM"),
        pytest.param(0x40046607, id="EXT4_IOC_GROUP_EXTEND of 32 bits"),
        pytest.param(0xC0506617, id="FS_IOC_ADD_ENCRYPTION_KEY"),
        pytest.param(0xC0406618, id="FS_IOC_REMOVE_ENCRYPTION_KEY"),
        pytest.param(0xC0406619, id="FS_IOC_REMOVE_ENCRYPTION_KEY_ALL_USERS"),
        pytest.param(0xC038586B, id="XFS_IOC_OPEN_BY_HANDLE"),
        pytest.param(0x4010586E, id="XFS_IOC_FSGROWFSDATA"),
        pytest.param(0x5000943F, id="BTRFS_IOC_SNAP_DESTROY_V2"),
        pytest.param(0x541D, id="TIOCCONS"),
        pytest.param(0x894C, id="SIOCGSKNS"),
    ],
)
def test_what_changes_the_hosts_file_system_or_reaches_its_console_or_network_is_refused(number: int) -> None:
    assert refuses(plan(), "ioctl", 3, number)
    assert refuses(plan(), "ioctl", 3, 1 << 32 | number)


@pytest.mark.parametrize(
    "number",
    [
        *(0, 0x5401, 0x5413, 0x540E),
        pytest.param(0xC0185879, id="FITRIM"),
        pytest.param(0x40086602, id="FS_IOC_SETFLAGS"),
        pytest.param(0xC020660B, id="FS_IOC_FIEMAP"),
        pytest.param(0x8008662C, id="EXT4_IOC_GETFSUUID"),
        pytest.param(0x81009431, id="FS_IOC_GETFSLABEL"),
        pytest.param(0x40049409, id="FICLONE"),
        pytest.param(0xC0189436, id="FIDEDUPERANGE"),
        pytest.param(0x5000940F, id="BTRFS_IOC_SNAP_DESTROY"),
        pytest.param(0x401C5820, id="FS_IOC_FSSETXATTR"),
    ],
)
def test_other_ioctls_are_not_refused(number: int) -> None:
    assert not refuses(plan(), "ioctl", 0, number)


def test_a_fanotify_mark_on_a_whole_file_system_is_refused() -> None:
    assert refuses(plan(), "fanotify_mark", 3, 0x101)
    assert not any(refuses(plan(), "fanotify_mark", 3, flags) for flags in (0x1, 0x11, 0x80))


def test_a_fanotify_group_is_had_only_where_it_tells_names_instead_of_handing_files_over() -> None:
    content, nonblocking, fid, folder_and_name = 0x4, 0x2, 0x200, 0xC00
    assert all(refuses(plan(), "fanotify_init", flags, 0) for flags in (0, content, nonblocking, 1 << 32))
    assert not any(refuses(plan(), "fanotify_init", flags, 0) for flags in (fid, folder_and_name, fid | nonblocking))


def rules_for(spec: Spec, *capabilities: str) -> tuple[SyscallRule, ...]:
    return plan_syscall_rules(spec, Host(kernel=(6, 1), machine="aarch64"), capabilities)


INET, INET6, NETLINK, PACKET = 2, 10, 16, 17
STREAM, DATAGRAM, RAW, OLD_PACKET, CLOEXEC = 1, 2, 3, 10, 0x80000
HEARING = [(PACKET, RAW, 0x300), (PACKET, DATAGRAM | CLOEXEC, 0), (INET, OLD_PACKET, 0), (INET, RAW | CLOEXEC, 6)]
HEARING += [(INET, RAW, 255), (INET6, RAW, 17), (1 << 32 | INET, 1 << 32 | RAW, 6), (INET6, RAW, 1)]


def test_on_the_hosts_network_nobody_hears_or_forges_what_others_send() -> None:
    rules = rules_for(Spec(name="web"), "NET_RAW")
    assert all(refuses(rules, "socket", *arguments) for arguments in HEARING)
    harmless = [(INET, STREAM, 0), (INET6, DATAGRAM, 17), (NETLINK, RAW, 0), (1, STREAM, 0), (INET, RAW, 1)]
    assert not any(refuses(rules, "socket", *arguments) for arguments in (*harmless, (INET6, RAW, 58)))


@pytest.mark.parametrize(
    ("spec", "capabilities"),
    [
        (Spec(name="web", net="nat"), ("NET_ADMIN", "NET_RAW")),
        (Spec(name="web", net="none"), ("NET_RAW",)),
        (Spec(name="web", hw_access=True), ("NET_ADMIN", "NET_RAW")),
        (Spec(name="web", cap_add=("cap_net_raw",)), ("NET_RAW",)),
    ],
    ids=["nat", "none", "it may change the network", "asked for"],
)
def test_elsewhere_it_is_its_own_affair(spec: Spec, capabilities: tuple[str, ...]) -> None:
    assert not any(refuses(rules_for(spec, *capabilities), "socket", *arguments) for arguments in HEARING)


def test_the_kernel_log_is_there_for_who_has_the_capability() -> None:
    assert refuses(rules_for(Spec(name="web")), "syslog", 3, 0, 0)
    assert not refuses(rules_for(Spec(name="web", cap_add=("SYSLOG",)), "SYSLOG"), "syslog", 3, 0, 0)


def test_bpf_serves_a_cgroup_and_nothing_beyond() -> None:
    assert {command for command in range(40) if refuses(plan(), "bpf", command)} == {10, 14, 17, 28, 30, 33, 36}


def test_the_monitor_is_asked_about_programs_where_there_is_one_to_ask() -> None:
    def asked(*, guarded: bool) -> set[int]:
        rules = plan_syscall_rules(Spec(name="web"), Host(kernel=(6, 6), machine="aarch64"), guarded=guarded)
        return {
            number for number in range(40) for rule in rules if rule.asks and "bpf" in rule.names if holds(rule, number)
        }

    assert asked(guarded=True) == {5, 8, 9}
    assert asked(guarded=False) == set()


def test_no_handle_of_a_process_outside_comes_through_a_socket() -> None:
    sol_socket, passes, peer, credentials = 1, 76, 77, 17
    assert refuses(plan(), "getsockopt", 3, sol_socket, peer)
    assert refuses(plan(), "getsockopt", 3, 1 << 32 | sol_socket, 1 << 32 | peer)
    assert refuses(plan(), "setsockopt", 3, sol_socket, passes)
    assert not refuses(plan(), "getsockopt", 3, sol_socket, credentials)
    assert not refuses(plan(), "getsockopt", 3, 6, peer)
    assert not refuses(plan(), "setsockopt", 3, 6, passes)


@pytest.mark.parametrize("number", [0x8010B70B, 0x8010B70C, 0x8014B70C])
def test_the_mount_namespaces_of_others_are_not_handed_out(number: int) -> None:
    assert refuses(plan(), "ioctl", 3, number)
    assert not refuses(plan(), "ioctl", 3, number & ~0xFF | 0x0A), "one may look at one's own"


def test_setns_into_a_mount_namespace_is_refused_where_the_hosts_root_is_a_ramfs() -> None:
    newns, newnet = 0x00020000, 0x40000000
    guarded = plan_syscall_rules(Spec(name="web"), Host(kernel=(6, 1), machine="aarch64", root_is_ramfs=True))
    assert all(refuses(guarded, "setns", 3, kind) for kind in (0, newns, newns | newnet, 1 << 32, 1 << 32 | newns))
    assert not refuses(guarded, "setns", 3, newnet)
    assert not any(refuses(plan(), "setns", 3, kind) for kind in (0, newns, newnet))


@pytest.mark.parametrize("magic2", [672274793, 85072278, 369367448, 537993216])
def test_the_kernels_own_reboot_magic_works(magic2: int) -> None:
    assert not refuses(plan(), "reboot", 0xFEE1DEAD, magic2)
    assert not refuses(plan(), "reboot", 0xFFFFFFFF_FEE1DEAD, magic2), "an int, sign-extended by libc"


@pytest.mark.parametrize(
    ("magic1", "magic2"),
    [
        pytest.param(0xDEADBEEF, 0xCAFEBABE, id="KernelSU"),
        pytest.param(0xFFFFFFFF_DEADBEEF, 0xFFFFFFFF_CAFEBABE, id="sign-extended"),
        pytest.param(0x1_DEADBEEF, 0xCAFEBABE, id="a high bit that the int drops"),
        pytest.param(0xDEADBEEF, 0xFAFAFAFA, id="SUSFS"),
        pytest.param(0xDEADBEEF, 10006, id="manager uid"),
        pytest.param(0xDEADBEEF, 672274793, id="half of each"),
        pytest.param(0xFEE1DEAD, 0xFAFAFAFA, id="a fork that looks at the second only"),
        pytest.param(0xFEE1DEAD, 0xCAFEBABE, id="the kernel's first, KernelSU's second"),
    ],
)
def test_kernelsus_reboot_magic_is_refused(magic1: int, magic2: int) -> None:
    assert refuses(plan(), "reboot", magic1, magic2)


def test_only_kernelsus_option_of_prctl_is_refused() -> None:
    assert refuses(plan(), "prctl", 0xDEADBEEF)
    assert refuses(plan(), "prctl", 0xFFFFFFFF_DEADBEEF)
    assert not any(refuses(plan(), "prctl", option) for option in (*range(80), 0x59616D61, 0x53564D41))


@pytest.mark.parametrize("kernel", [(3, 18), (4, 4), (4, 9), (4, 14), (4, 19), (4, 20)])
def test_below_5_0_the_keyring_calls_do_not_exist(kernel: tuple[int, int]) -> None:
    answers = errnos(plan(kernel))
    assert {name: answers.get(name) for name in KEYRING} == dict.fromkeys(KEYRING, "ENOSYS")
    reason = next(rule.reason for rule in plan(kernel) if "keyctl" in rule.names)
    assert reason.startswith(
        f"kernel {kernel[0]}.{kernel[1]} is below 5.0: keyctl, add_key and request_key answer ENOSYS"
    )


@pytest.mark.parametrize("kernel", [(5, 0), (5, 4), (5, 10), (6, 6), (6, 18)])
def test_from_5_0_the_keyring_filter_is_there_only_when_asked_for(kernel: tuple[int, int]) -> None:
    assert not KEYRING & errnos(plan(kernel)).keys()
    asked = plan(kernel, keyring_filter=True)
    assert {name: errnos(asked).get(name) for name in KEYRING} == dict.fromkeys(KEYRING, "ENOSYS")
    assert "asked for" in next(rule.reason for rule in asked if "keyctl" in rule.names)


def test_without_the_shield_namespaces_are_free() -> None:
    assert not SHIELD & errnos(plan((4, 14))).keys()


@pytest.mark.parametrize("flag", [0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000])
def test_the_shield_refuses_every_new_namespace(flag: int) -> None:
    rules = plan(block_nested_namespaces=True)
    assert refuses(rules, "unshare", flag)
    assert refuses(rules, "clone", flag | 17), "with SIGCHLD"
    assert errnos(rules)["unshare"] == errnos(rules)["clone"] == "EPERM"


def test_the_shield_takes_0x80_for_a_time_namespace_in_unshare_only() -> None:
    rules = plan(block_nested_namespaces=True)
    assert refuses(rules, "unshare", 0x80)
    assert not refuses(rules, "clone", 0x80), "there it belongs to the exit signal"


def test_the_shield_lets_fork_and_threads_through() -> None:
    rules = plan(block_nested_namespaces=True)
    assert not refuses(rules, "clone", 0x01200011), "fork: CHILD_SETTID | CHILD_CLEARTID | SIGCHLD"
    assert not refuses(rules, "clone", 0x003D0F00), "pthread_create"
    assert not refuses(rules, "clone", 0x00004111), "vfork: VM | VFORK | SIGCHLD"
    assert not refuses(rules, "unshare", 0x00000600), "FS | FILES"


def test_the_shield_hides_clone3_so_that_libc_falls_back_on_clone() -> None:
    rules = plan(block_nested_namespaces=True)
    assert [(rule.errno, rule.when) for rule in rules if "clone3" in rule.names] == [("ENOSYS", ())]


def test_joining_a_namespace_is_never_refused() -> None:
    assert "setns" not in errnos(plan((4, 14), block_nested_namespaces=True, keyring_filter=True))


@pytest.mark.parametrize("kernel", [(4, 14), (6, 1)])
def test_noseccomp_means_no_filter_at_all(kernel: tuple[int, int]) -> None:
    spec = Spec(name="web", privileged=("noseccomp",), keyring_filter=True, block_nested_namespaces=True)
    assert plan_syscall_rules(spec, Host(kernel=kernel, machine="aarch64")) == ()


def test_other_privileges_keep_the_filter() -> None:
    spec = Spec(name="web", privileged=("nomask", "nocaps", "unfiltered-dev"))
    assert plan_syscall_rules(spec, Host(kernel=(6, 1), machine="aarch64")) == plan()


def test_every_rule_says_why_and_names_calls_the_assembler_knows() -> None:
    for kernel, shield, keyring in product([(4, 14), (6, 1)], [False, True], [False, True]):
        for rule in plan(kernel, shield, keyring):
            assert rule.reason
            assert set(rule.names) <= NAMES
            assert rule.errno in ("EPERM", "ENOSYS", "ENOPROTOOPT", "ENOTTY")
