"""What a plan says about devices and /dev."""

import stat
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.host import CgroupMount, DeviceNode, Host, InitKind, Rootfs
from berth.plan.devices import device_steps, hugepage_steps, plan_devices
from berth.plan.model import DevicePolicy, Directory, Link, Mount, Node
from berth.spec import Spec

V1_DEVICES = (CgroupMount("/sys/fs/cgroup/devices", 1, ("devices",)),)
WITH_BPF = Host(kernel=(5, 10), machine="aarch64", filesystems=frozenset({"cgroup2"}))
WITH_V1 = Host(kernel=(4, 9), machine="aarch64", cgroups=V1_DEVICES, device_bpf=False)
WITH_NEITHER = Host(kernel=(4, 9), machine="aarch64", device_bpf=False)


def char(path: str, major: int, minor: int, **more: Any) -> DeviceNode:
    return DeviceNode(path, stat.S_IFCHR | more.pop("permissions", 0o600), major, minor, **more)


def block(path: str, major: int, minor: int) -> DeviceNode:
    return DeviceNode(path, stat.S_IFBLK | 0o600, major, minor)


HARDWARE = (
    char("kgsl-3d0", 498, 0, permissions=0o666, uid=1000, gid=1003),
    char("dri/card0", 226, 0),
    char("dri/renderD128", 226, 128),
    char("input/event0", 13, 64, gid=1004),
    char("bus/usb/001/002", 189, 1),
    char("hwrng", 10, 183),
    char("mem", 1, 1),
    char("kmsg", 1, 11),
    char("null", 1, 3),
    char("tty", 5, 0),
    char("tty0", 4, 0),
    char("tty7", 4, 7),
    char("ttyS0", 4, 64),
    char("vcs1", 7, 1),
    char("console", 5, 1),
    char("ptmx", 5, 2),
    char("pts/3", 136, 3),
    char("tun", 10, 200),
    char("sg0", 21, 0),
    char("bsg/0:0:0:0", 240, 0),
    char("nvme0", 241, 0),
    char("mapper/control", 10, 236),
    char("watchdog", 10, 130),
    char("hwbinder", 10, 60),
    char("another-name-of-the-disk", 21, 0),
    block("sda", 8, 0),
    block("block/mmcblk0p1", 179, 1),
)
PHONE = Host(kernel=(5, 10), machine="aarch64", filesystems=frozenset({"cgroup2"}), devices=HARDWARE)


def spec(**wanted: Any) -> Spec:
    return Spec(name="web", **wanted)


def may(policy: DevicePolicy, kind: str, major: int, minor: int, access: str) -> bool:
    fits = [
        set(rule.access)
        for rule in policy.rules
        if rule.kind in ("a", kind) and rule.major in (None, major) and rule.minor in (None, minor)
    ]
    return set(access) <= set().union(*fits)


@pytest.mark.parametrize(
    ("host", "keeper"),
    [
        (WITH_BPF, "bpf"),
        (Host(kernel=(5, 4), machine="aarch64", cgroups=(CgroupMount("/sys/fs/cgroup", 2), *V1_DEVICES)), "bpf"),
        (WITH_V1, "v1"),
        (Host(kernel=(4, 9), machine="aarch64", cgroups=V1_DEVICES), "v1"),
        (WITH_NEITHER, "none"),
    ],
)
def test_the_keeper_is_the_best_that_the_host_has(host: Host, keeper: str) -> None:
    policy = plan_devices(spec(), host)
    assert policy.keeper == keeper
    assert policy.reason


def test_where_nobody_can_keep_the_container_off_the_disks_the_reason_says_so() -> None:
    assert "host's disks" in plan_devices(spec(), WITH_NEITHER).reason


@pytest.mark.parametrize("host", [WITH_BPF, WITH_V1])
def test_the_usual_devices_and_no_others_can_be_opened(host: Host) -> None:
    policy = plan_devices(spec(), host)
    for major, minor in (
        (1, 3),
        (1, 5),
        (1, 7),
        (1, 8),
        (1, 9),
        (5, 0),
        (5, 2),
        (136, 77),
        (10, 229),
        (10, 200),
    ):
        assert may(policy, "c", major, minor, "rw")
        assert not may(policy, "b", major, minor, "r")
    for major, minor in ((1, 1), (1, 11), (4, 0), (5, 1), (10, 232), (226, 0)):
        assert not may(policy, "c", major, minor, "r")


@given(kind=st.sampled_from("bc"), major=st.integers(0, 4095), minor=st.integers(0, 1 << 20))
def test_any_node_can_be_made(kind: str, major: int, minor: int) -> None:
    """Unpacking an archive with nodes works; opening them is another matter."""
    assert may(plan_devices(spec(), WITH_BPF), kind, major, minor, "m")


@given(major=st.integers(0, 4095), minor=st.integers(0, 1 << 20), access=st.sampled_from(["r", "w", "rw"]))
def test_no_block_device_can_be_opened_even_with_hardware_access(major: int, minor: int, access: str) -> None:
    assert not may(plan_devices(spec(hw_access=True), PHONE), "b", major, minor, access)


def test_hardware_access_opens_hardware_and_nothing_that_is_the_host_itself() -> None:
    policy = plan_devices(spec(hw_access=True), PHONE)
    assert "block devices" in policy.reason
    opened = {
        node.path for node in HARDWARE if stat.S_ISCHR(node.mode) and may(policy, "c", node.major, node.minor, "rw")
    }
    assert opened == {
        *("kgsl-3d0", "dri/renderD128", "input/event0", "bus/usb/001/002", "hwrng", "ttyS0"),
        *("null", "tty", "ptmx", "pts/3", "tun"),
    }


@pytest.mark.parametrize("major", [13, 81, 116, 166, 188, 189, 498])
def test_what_is_plugged_in_later_works_with_hardware_access(major: int) -> None:
    assert may(plan_devices(spec(hw_access=True), PHONE), "c", major, 201, "rw")


def test_a_display_that_appears_later_stays_closed() -> None:
    without_card = Host(
        kernel=(5, 10),
        machine="aarch64",
        filesystems=frozenset({"cgroup2"}),
        devices=(char("dri/renderD128", 226, 128),),
    )
    policy = plan_devices(spec(hw_access=True), without_card)
    assert may(policy, "c", 226, 128, "rw")
    assert not may(policy, "c", 226, 0, "rw")


def test_unfiltered_dev_lifts_everything_and_shows_the_disks() -> None:
    wanted = spec(hw_access=True, privileged=("unfiltered-dev",))
    policy = plan_devices(wanted, PHONE)
    assert (policy.keeper, policy.rules) == ("none", ())
    assert "unfiltered-dev" in policy.reason
    made = {step.target for step in device_steps(wanted, PHONE) if isinstance(step, Node)}
    assert {"/dev/sda", "/dev/mem"} <= made
    assert "/dev/dri/card0" not in made


@pytest.mark.parametrize("wanted", [{}, {"hw_access": True}])
def test_dev_is_made_in_an_order_that_works(wanted: dict[str, Any]) -> None:
    """A folder is there before what is in it, nothing is made twice, and everything lies in our own tmpfs."""
    steps = device_steps(spec(**wanted), PHONE)
    first, *rest = steps
    assert isinstance(first, Mount)
    assert (first.target, first.filesystem) == ("/dev", "tmpfs")
    folders = {"/dev"}
    made: set[str] = set()
    for step in rest:
        if isinstance(step, Mount):
            assert step.target in folders
            continue
        assert step.target.rpartition("/")[0] in folders
        assert step.target not in made
        made.add(step.target)
        if isinstance(step, Directory):
            folders.add(step.target)


def test_dev_has_what_every_system_expects() -> None:
    steps = device_steps(spec(), PHONE)
    nodes = {step.target: (step.major, step.minor) for step in steps if isinstance(step, Node)}
    assert nodes == {
        "/dev/null": (1, 3),
        "/dev/zero": (1, 5),
        "/dev/full": (1, 7),
        "/dev/random": (1, 8),
        "/dev/urandom": (1, 9),
        "/dev/tty": (5, 0),
        "/dev/fuse": (10, 229),
        "/dev/net/tun": (10, 200),
    }
    assert all(stat.S_ISCHR(step.mode) and step.mode & 0o777 == 0o666 for step in steps if isinstance(step, Node))
    links = {step.target: step.points_to for step in steps if isinstance(step, Link)}
    assert links["/dev/ptmx"] == "pts/ptmx"
    assert links["/dev/stderr"] == "/proc/self/fd/2"
    mounts = {step.target: step for step in steps if isinstance(step, Mount)}
    assert "newinstance" in mounts["/dev/pts"].data
    assert mounts["/dev/shm"].data == "mode=1777"
    assert mounts["/dev/mqueue"].optional


def test_hardware_nodes_keep_the_owner_and_mode_of_the_host() -> None:
    steps = device_steps(spec(hw_access=True), PHONE)
    nodes = {step.target: step for step in steps if isinstance(step, Node)}
    gpu = nodes["/dev/kgsl-3d0"]
    assert (gpu.mode, gpu.major, gpu.minor, gpu.uid, gpu.gid) == (stat.S_IFCHR | 0o666, 498, 0, 1000, 1003)
    assert "/dev/bus/usb/001/002" in nodes
    hidden = {"dri/card0", "sda", "block/mmcblk0p1", "mem", "tty0", "tty7", "vcs1", "sg0", "console", "watchdog", "tun"}
    assert not {f"/dev/{name}" for name in hidden} & nodes.keys()


def test_without_hardware_access_the_host_s_nodes_do_not_matter() -> None:
    assert device_steps(spec(), PHONE) == device_steps(spec(), WITH_NEITHER)
    assert plan_devices(spec(), PHONE).rules == plan_devices(spec(), WITH_BPF).rules


@pytest.mark.parametrize(
    ("kind", "filesystems", "made"),
    [
        ("systemd", {"tmpfs", "hugetlbfs"}, True),
        ("systemd", {"tmpfs"}, False),
        ("busybox", {"tmpfs", "hugetlbfs"}, False),
    ],
)
def test_systemd_finds_huge_pages_where_the_kernel_has_them(
    kind: InitKind, filesystems: set[str], *, made: bool
) -> None:
    host = Host(kernel=(6, 6), machine="aarch64", filesystems=frozenset(filesystems))

    steps = hugepage_steps(host, Rootfs(init="/sbin/init", init_kind=kind))

    mounts = [step.target for step in steps if isinstance(step, Mount)]
    assert mounts == (["/dev/hugepages"] if made else [])
