"""Which file systems the monitor mounts in a container's place: decided from made-up specs, hosts and questions."""

import pytest

from berth.host import Host, Rootfs
from berth.plan import plan
from berth.plan.model import DevicePolicy, DeviceRule, MountPolicy, Plan
from berth.plan.mounts import (
    ONE_WITH_THE_HOST,
    is_guarded,
    may_mount_device,
    names_a_file,
    plan_mounts,
    split_options,
    way_to_mount,
)
from berth.spec import Spec, StartOptions

LISTED = {
    **dict.fromkeys(("tmpfs", "proc", "sysfs", "overlay", "fuse", "vendorfs", *ONE_WITH_THE_HOST), False),
    **dict.fromkeys(("ext4", "fuseblk", "erofs"), True),
}
POLICY = plan_mounts(Spec(name="web"), guarded=True)


def make(kernel: tuple[int, int] = (6, 6), machine: str = "aarch64", **wishes: object) -> Plan:
    spec = Spec(name="web", rootfs="/data/web", **wishes)  # type: ignore[arg-type]  # the fields of a Spec
    return plan(spec, StartOptions(), Host(kernel=kernel, machine=machine), Rootfs(init="/sbin/init"))


def asks(made: Plan) -> set[str]:
    return {name for rule in made.syscall_rules if rule.asks for name in rule.names}


@pytest.mark.parametrize("kernel", [(6, 6), (6, 12), (7, 0)])
def test_from_6_6_new_mounts_and_programs_are_asked_about(kernel: tuple[int, int]) -> None:
    assert asks(make(kernel)) == {"mount", "fsopen", "bpf"}


@pytest.mark.parametrize("kernel", [(3, 18), (5, 10), (6, 1), (6, 5)])
def test_before_6_6_the_kernel_asks_itself(kernel: tuple[int, int]) -> None:
    assert asks(make(kernel)) == set()
    assert make(kernel).mounts.filesystems == ()


def test_nobody_is_asked_where_there_is_no_filter_or_nothing_can_be_mounted() -> None:
    assert asks(make(privileged=("noseccomp",))) == set()
    assert asks(make(cap_drop=("SYS_ADMIN",))) == set()
    assert asks(make(machine="riscv64")) == set()
    assert is_guarded(Spec(name="web"), Host(kernel=(6, 6), machine="aarch64"), ("SYS_ADMIN",))


def test_a_guarded_container_may_reconfigure_what_it_opened_and_no_other() -> None:
    rules = {name: rule for rule in make().syscall_rules for name in rule.names}
    assert "fsconfig" not in rules, "only the monitor opens, and only what is the container's own"
    assert rules["fspick"].errno == "ENOSYS"
    assert "fsconfig" in {name for rule in make((6, 1)).syscall_rules for name in rule.names}


@pytest.mark.parametrize("name", ["tmpfs", "proc", "sysfs", "overlay", "fuse", "fuse.sshfs"])
def test_what_is_the_containers_own_is_mounted_without_more_ado(name: str) -> None:
    assert way_to_mount(POLICY, name, LISTED) == "plain"


@pytest.mark.parametrize("name", [*ONE_WITH_THE_HOST, "vendorfs", "devtmpfs.x"])
def test_what_is_one_with_the_host_or_not_known_is_refused(name: str) -> None:
    assert way_to_mount(POLICY, name, LISTED) == "refused"


@pytest.mark.parametrize("name", ["ext4", "ext4.x", "fuseblk", "fuseblk.ntfs", "erofs"])
def test_what_needs_a_device_goes_by_the_device(name: str) -> None:
    assert way_to_mount(POLICY, name, LISTED) == "device"


@pytest.mark.parametrize("name", ["", ".", ".ext4", "btrfs", "EXT4"])
def test_what_the_kernel_does_not_list_is_unknown(name: str) -> None:
    assert way_to_mount(POLICY, name, LISTED) == "unknown"


def test_nomask_gives_back_what_is_one_with_the_host_but_no_stranger() -> None:
    lifted = plan_mounts(Spec(name="web", privileged=("nomask",)), guarded=True)
    assert way_to_mount(lifted, "debugfs", LISTED) == "plain"
    assert way_to_mount(lifted, "vendorfs", LISTED) == "refused"
    assert way_to_mount(lifted, "ext4", LISTED) == "device"


def test_a_device_is_mounted_as_far_as_it_may_be_opened() -> None:
    node, readable = DeviceRule("a", None, None, "m"), DeviceRule("b", 7, 3, "r")
    assert not may_mount_device(DevicePolicy("bpf", (node,)), 7, 3, read_only=True)
    assert may_mount_device(DevicePolicy("bpf", (node, readable)), 7, 3, read_only=True)
    assert not may_mount_device(DevicePolicy("bpf", (node, readable)), 7, 3, read_only=False)
    assert not may_mount_device(DevicePolicy("bpf", (readable,)), 7, 4, read_only=True)
    assert not may_mount_device(DevicePolicy("v1", (DeviceRule("c", 7, 3, "rw"),)), 7, 3, read_only=True)
    assert may_mount_device(DevicePolicy("v1", (DeviceRule("b", 7, None, "rw"),)), 7, 4, read_only=False)


def test_where_nobody_keeps_devices_every_one_is_mounted() -> None:
    assert may_mount_device(DevicePolicy("none"), 8, 0, read_only=False)


def test_no_container_may_mount_a_disk_of_the_host_by_default() -> None:
    host = Host(kernel=(6, 6), machine="aarch64", filesystems=frozenset({"cgroup2"}))
    made = plan(Spec(name="web", rootfs="/r", hw_access=True), StartOptions(), host, Rootfs(init="/sbin/init"))
    assert not may_mount_device(made.devices, 8, 0, read_only=True)


@pytest.mark.parametrize(
    ("data", "options"),
    [
        ("", ()),
        ("ro", (("ro", None),)),
        ("a=1,,b,=c,d=", (("a", "1"), ("b", None), ("d", ""))),
        ("context=x=y", (("context", "x=y"),)),
    ],
)
def test_options_are_taken_apart_as_the_kernel_does(data: str, options: tuple[tuple[str, str | None], ...]) -> None:
    assert split_options(data) == options


def test_an_option_that_leads_to_another_file_is_told() -> None:
    assert names_a_file("journal_path", "x")
    assert names_a_file("device", "loop1")
    assert names_a_file("fsdev", "/dev/sda")
    assert not names_a_file("errors", "remount-ro")
    assert not names_a_file("noload", None)


def test_without_a_guard_the_policy_mounts_nothing() -> None:
    assert way_to_mount(MountPolicy(), "tmpfs", LISTED) == "refused"
