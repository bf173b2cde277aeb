"""Whole plans for many made-up phones: what a start decides, without a phone."""

import stat
from typing import Any

import pytest
from msgspec.structs import replace

from berth.errors import BerthError
from berth.host import CgroupMount, Host, ResolvConf, Rootfs
from berth.plan import plan
from berth.plan.model import BindMount, File, Link, Mask, Mount, Node, Plan, ReadOnly, Resolvers
from berth.spec import Bind, Port, Spec, StartOptions

V2 = ("cpuset", "cpu", "io", "memory", "pids")
LAYOUTS = {
    "android-9": (
        CgroupMount("/acct", 1, ("cpuacct",)),
        CgroupMount("/dev/cpuctl", 1, ("cpu",)),
        CgroupMount("/dev/cpuset", 1, ("cpuset",), noprefix=True),
        CgroupMount("/dev/memcg", 1, ("memory",)),
        CgroupMount("/dev/blkio", 1, ("blkio",)),
    ),
    "android-11": (
        CgroupMount("/acct", 1, ("cpuacct",)),
        CgroupMount("/dev/cpuset", 1, ("cpuset",), noprefix=True),
        CgroupMount("/dev/memcg", 1, ("memory",)),
        CgroupMount("/sys/fs/cgroup", 2, ()),
    ),
    "android-12": (
        CgroupMount("/dev/blkio", 1, ("blkio",)),
        CgroupMount("/dev/cpuctl", 1, ("cpu",)),
        CgroupMount("/dev/cpuset", 1, ("cpuset",)),
        CgroupMount("/dev/memcg", 1, ("memory",)),
        CgroupMount("/sys/fs/cgroup", 2, ()),
    ),
    "android-15": (CgroupMount("/sys/fs/cgroup", 2, V2),),
    "none": (),
}
PHONES = {
    "3.18 android-9": Host(
        kernel=(3, 18),
        machine="aarch64",
        android=True,
        selinux="enforcing",
        memory=4 << 30,
        cgroups=LAYOUTS["android-9"],
        cgroup_namespace=False,
        device_bpf=False,
        filesystems=frozenset({"proc", "sysfs", "tmpfs", "devpts", "cgroup", "overlay"}),
    ),
    "4.9 android-9": Host(
        kernel=(4, 9),
        machine="aarch64",
        android=True,
        selinux="enforcing",
        memory=4 << 30,
        cgroups=LAYOUTS["android-9"],
        device_bpf=False,
        filesystems=frozenset({"cgroup", "cgroup2", "overlay"}),
    ),
    "4.14 android-11": Host(
        kernel=(4, 14),
        machine="armv8l",
        android=True,
        selinux="permissive",
        memory=3 << 30,
        cgroups=LAYOUTS["android-11"],
        device_bpf=False,
        filesystems=frozenset({"cgroup", "cgroup2", "overlay"}),
    ),
    "4.19 android-12": Host(
        kernel=(4, 19),
        machine="aarch64",
        android=True,
        selinux="enforcing",
        memory=6 << 30,
        cgroups=LAYOUTS["android-12"],
        filesystems=frozenset({"cgroup", "cgroup2", "overlay"}),
    ),
    "5.10 android-12": Host(
        kernel=(5, 10),
        machine="aarch64",
        android=True,
        selinux="enforcing",
        memory=8 << 30,
        cgroups=LAYOUTS["android-12"],
        filesystems=frozenset({"cgroup", "cgroup2", "overlay"}),
    ),
    "6.1 android-15": Host(
        kernel=(6, 1),
        machine="aarch64",
        android=True,
        selinux="enforcing",
        memory=12 << 30,
        cgroups=LAYOUTS["android-15"],
        filesystems=frozenset({"cgroup2", "overlay"}),
    ),
    "6.12 bare": Host(
        kernel=(6, 12),
        machine="x86_64",
        memory=8 << 30,
        cgroups=LAYOUTS["none"],
        filesystems=frozenset({"cgroup2", "overlay"}),
    ),
}
MASKED = {
    "/proc/kcore",
    "/proc/keys",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/sysrq-trigger",
    "/proc/latency_stats",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/fs/fuse",
    "/sys/kernel/debug",
    "/sys/kernel/tracing",
}


def make(host: Host, rootfs: Rootfs | None = None, options: StartOptions | None = None, **wishes: object) -> Plan:
    spec = Spec(name="web", rootfs="/data/web", **wishes)  # type: ignore[arg-type]  # the fields of a Spec
    facts = rootfs or Rootfs(init="/usr/lib/systemd/systemd", init_kind="systemd", systemd=252)
    return plan(spec, options or StartOptions(), host, facts)


every_phone = pytest.mark.parametrize("host", PHONES.values(), ids=PHONES.keys())


@every_phone
def test_every_phone_gets_the_same_inside(host: Host) -> None:
    mounted = [step.target for step in make(host).steps if isinstance(step, Mount)]

    wanted = ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/proc", "/sys", "/run"]
    assert [target for target in mounted if target in wanted] == wanted


@every_phone
def test_what_the_phone_must_hide_is_masked(host: Host) -> None:
    assert {step.target for step in make(host).steps if isinstance(step, Mask)} == MASKED
    assert not any(isinstance(step, Mask) for step in make(host, privileged=("nomask",)).steps)


@every_phone
def test_the_phones_settings_are_read_only(host: Host) -> None:
    sealed = {step.target for step in make(host).steps if isinstance(step, ReadOnly) and not step.writable}

    assert sealed >= {"/proc/sys", "/proc/irq", "/proc/bus", "/proc/asound"}


@every_phone
def test_every_step_that_protects_or_mounts_says_why(host: Host) -> None:
    made = make(host, hw_access=True, net="none")

    unexplained = [
        step.describe() for step in made.steps if isinstance(step, (Mount, Mask, ReadOnly)) and not step.reason
    ]
    assert unexplained == []
    assert all(rule.reason for rule in made.syscall_rules)
    assert made.devices.reason


@every_phone
def test_a_cgroup_namespace_is_asked_for_only_where_the_kernel_has_one(host: Host) -> None:
    assert ("cgroup" in make(host).namespaces) == host.cgroup_namespace


@every_phone
def test_the_keyring_is_hidden_below_5_0_and_where_asked_for(host: Host) -> None:
    def hidden(made: Plan) -> bool:
        return any("keyctl" in rule.names and rule.errno == "ENOSYS" for rule in made.syscall_rules)

    assert hidden(make(host)) == (host.kernel < (5, 0))
    assert hidden(make(host, keyring_filter=True))


@every_phone
def test_a_memory_limit_goes_to_the_hierarchy_that_has_the_controller(host: Host) -> None:
    has_memory = any("memory" in mount.controllers for mount in host.cgroups)
    if not has_memory and host.cgroups:
        with pytest.raises(BerthError, match="memory"):
            make(host, memory=1 << 30)
        return

    limited = [cgroup for cgroup in make(host, memory=1 << 30).cgroups if cgroup.limits]

    assert len(limited) == 1
    assert any(value == str(1 << 30) for _, value in limited[0].limits)


def test_a_network_of_its_own_has_its_own_settings() -> None:
    made = make(PHONES["6.1 android-15"], net="none")

    assert "network" in made.namespaces
    sealed = [step.target for step in made.steps if isinstance(step, ReadOnly)]
    assert sealed.index("/proc/sys/net") > sealed.index("/proc/sys")
    assert next(step for step in made.steps if step.target == "/proc/sys/net").writable  # type: ignore[union-attr]


def test_hardware_access_opens_single_subsystems_of_a_read_only_sys() -> None:
    made = make(PHONES["6.1 android-15"], hw_access=True)
    steps = [step for step in made.steps if isinstance(step, ReadOnly) and step.target.startswith("/sys")]

    assert steps[0] == ReadOnly("/sys", reason=steps[0].reason)
    assert all(step.writable for step in steps[1:])
    assert {"/sys/class", "/sys/devices"} <= {step.target for step in steps}
    assert not {"/sys/power", "/sys/kernel", "/sys/module"} & {step.target for step in steps}


def test_hardware_access_replaces_the_udev_trigger_of_systemd_only() -> None:
    links = {step.target for step in make(PHONES["5.10 android-12"], hw_access=True).steps if isinstance(step, Link)}
    assert "/run/systemd/system/systemd-udev-trigger.service" in links

    busybox = Rootfs(init="/bin/busybox", init_kind="busybox")
    made = make(PHONES["5.10 android-12"], busybox, hw_access=True)
    assert not any(step.target.startswith("/run/systemd/system") for step in made.steps)


def test_without_hardware_access_no_node_of_the_phone_is_made() -> None:
    made = make(PHONES["5.10 android-12"])

    nodes = [step for step in made.steps if isinstance(step, Node)]
    assert all(stat.S_ISCHR(node.mode) for node in nodes)
    assert {node.target for node in nodes} <= {
        f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty", "fuse", "net/tun")
    }


@pytest.mark.parametrize(
    ("kind", "dns", "expected"),
    [
        ("file", (), None),
        ("file", ("1.1.1.1",), Resolvers),
        ("missing", ("1.1.1.1",), Resolvers),
        ("link-to-run", ("1.1.1.1",), File),
        ("link", ("1.1.1.1",), None),
    ],
)
def test_resolv_conf_is_changed_only_where_it_may_be(
    kind: ResolvConf, dns: tuple[str, ...], expected: type | None
) -> None:
    rootfs = Rootfs(init="/sbin/init", resolv_conf=kind, resolv_conf_target="/run/resolvconf/resolv.conf")
    made = make(PHONES["6.1 android-15"], rootfs, dns=dns)

    found = [step for step in made.steps if "resolv.conf" in step.target]
    assert [type(step) for step in found] == ([expected] if expected else [])
    if kind == "link":
        assert any("--dns" in warning for warning in made.warnings)


def test_the_users_binds_come_last_and_in_order() -> None:
    binds = (Bind("/sdcard", "/media/sdcard"), Bind("/data/x", "/x", read_only=True))
    made = make(PHONES["6.1 android-15"], binds=binds)

    assert [step for step in made.steps if isinstance(step, BindMount)][-2:] == [
        BindMount("/sdcard", "/media/sdcard", False, "--bind-mount"),
        BindMount("/data/x", "/x", True, "--bind-mount"),
    ]
    assert isinstance(made.steps[-1], BindMount)


def test_an_overlay_is_refused_where_the_file_system_folds_case() -> None:
    casefold = Rootfs(init="/sbin/init", filesystem="f2fs", casefold=True)
    with pytest.raises(BerthError, match="image"):
        make(PHONES["5.10 android-12"], casefold, StartOptions(volatile=True))


def test_a_volatile_start_takes_half_of_the_memory_unless_told() -> None:
    host = PHONES["5.10 android-12"]
    assert make(host, options=StartOptions(volatile=True)).volatile_size == host.memory // 2
    assert make(host, options=StartOptions(volatile=True, volatile_size=1 << 20)).volatile_size == 1 << 20


def test_the_phones_time_zone_is_handed_in_unless_the_user_chose_one() -> None:
    phone = replace(PHONES["6.1 android-15"], time_zone="Europe/Berlin")

    assert make(phone).environment["TZ"] == "Europe/Berlin"
    assert make(phone, env={"TZ": "UTC"}).environment["TZ"] == "UTC"
    assert "TZ" not in make(PHONES["6.12 bare"]).environment


def test_the_users_environment_wins_but_the_container_says_what_it_is() -> None:
    environment = make(PHONES["6.12 bare"], env={"TERM": "linux", "LANG": "de_DE.UTF-8"}).environment

    assert environment["TERM"] == "linux"
    assert environment["container"] == "berth"


@pytest.mark.parametrize("unused", [{"ports": (Port(8080, 80),)}, {"ip": "10.0.0.9"}], ids=["port", "ip"])
def test_what_only_a_network_of_its_own_has_is_said_not_to_be_used_without_one(unused: dict[str, Any]) -> None:
    phone = PHONES["6.12 bare"]

    for net in ("host", "none"):
        assert any("are not used" in warning for warning in make(phone, net=net, **unused).warnings)
        assert not any("are not used" in warning for warning in make(phone, net=net).warnings)
    assert not any("are not used" in warning for warning in make(phone, net="nat", **unused).warnings)


def test_a_ramfs_root_is_warned_of() -> None:
    host = Host(kernel=(6, 1), machine="x86_64", root_is_ramfs=True, filesystems=frozenset({"cgroup2"}))

    assert any("ramfs" in warning for warning in make(host).warnings)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "armv7l", "armv8l", "i686", "riscv64"])
def test_every_machine_can_be_planned_for(machine: str) -> None:
    assert make(Host(kernel=(6, 1), machine=machine, filesystems=frozenset({"cgroup2"}))).argv == ("/sbin/init",)
