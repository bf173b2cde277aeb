"""What a plan says about cgroups, on phones and machines made of plain values."""

import re
from typing import Any

import pytest
from msgspec.structs import replace

from berth.errors import BerthError, UsageError
from berth.home import Home
from berth.host import CgroupMount, Host
from berth.plan.cgroups import OWN_MOUNTS, group_path, inside_cgroups, own_path, plan_cgroups
from berth.plan.model import BindMount, Cgroup, Directory, Link, Mount, ReadOnly
from berth.spec import Spec

BOTH = frozenset({"cgroup", "cgroup2"})
V1 = (
    CgroupMount("/acct", 1, ("cpuacct",)),
    CgroupMount("/dev/cpuctl", 1, ("cpu",)),
    CgroupMount("/dev/cpuset", 1, ("cpuset",), noprefix=True),
    CgroupMount("/dev/memcg", 1, ("memory",)),
    CgroupMount("/dev/stune", 1, ("schedtune",)),
)
EMPTY_V2 = CgroupMount("/sys/fs/cgroup", 2)
FULL_V2 = CgroupMount("/sys/fs/cgroup", 2, ("cpuset", "cpu", "io", "memory", "pids"))

ANDROID_9 = Host(kernel=(4, 9), machine="aarch64", android=True, cgroups=V1, filesystems=BOTH)
ANDROID_11 = Host(
    kernel=(4, 14),
    machine="aarch64",
    android=True,
    cgroups=(*V1, CgroupMount("/dev/cg2_bpf", 2), EMPTY_V2),
    filesystems=BOTH,
)
ANDROID_14 = Host(kernel=(5, 10), machine="aarch64", android=True, cgroups=(*V1[1:4], EMPTY_V2), filesystems=BOTH)
PURE_V2 = Host(kernel=(6, 1), machine="x86_64", cgroups=(FULL_V2,), filesystems=BOTH)
WITHOUT_NAMESPACES = Host(
    kernel=(3, 18),
    machine="aarch64",
    cgroups=(CgroupMount("/dev/cpuctl", 1, ("cpu", "cpuacct")),),
    cgroup_namespace=False,
    filesystems=frozenset({"cgroup"}),
)
HYBRID = Host(
    kernel=(6, 18),
    machine="x86_64",
    cgroups=(
        CgroupMount("/sys/fs/cgroup/cpu", 1, ("cpu", "cpuacct")),
        CgroupMount("/sys/fs/cgroup/cpuset", 1, ("cpuset",)),
        CgroupMount("/sys/fs/cgroup/memory", 1, ("memory",)),
        CgroupMount("/sys/fs/cgroup/pids", 1, ("pids",)),
        CgroupMount("/sys/fs/cgroup/systemd", 1, ("name=systemd",)),
        CgroupMount("/sys/fs/cgroup/unified", 2, ("hugetlb",)),
    ),
    filesystems=BOTH,
)
HOSTS = (ANDROID_9, ANDROID_11, ANDROID_14, PURE_V2, WITHOUT_NAMESPACES, HYBRID)


def spec(**wanted: Any) -> Spec:
    return Spec(name="web", **wanted)


def where(cgroups: tuple[Cgroup, ...], file: str) -> tuple[str | None, str]:
    ((mount, value),) = [(cgroup.mount, dict(cgroup.limits)[file]) for cgroup in cgroups if file in dict(cgroup.limits)]
    return mount, value


@pytest.mark.parametrize("host", HOSTS)
def test_every_hierarchy_gets_its_groups_once(host: Host) -> None:
    cgroups = plan_cgroups(spec(), host, systemd=None)
    expected = {mount.path for mount in host.cgroups if "schedtune" not in mount.controllers} - {"/sys/fs/cgroup"}
    assert {cgroup.mount for cgroup in cgroups} - {None, "/sys/fs/cgroup"} == expected
    assert len(cgroups) == len({(cgroup.version, cgroup.controllers) for cgroup in cgroups})
    assert sum(cgroup.version == 2 for cgroup in cgroups) == (0 if host is WITHOUT_NAMESPACES else 1)


def test_schedtune_is_left_alone_because_its_groups_are_all_taken() -> None:
    assert "/dev/stune" not in {cgroup.mount for cgroup in plan_cgroups(spec(), ANDROID_9, systemd=None)}


def test_a_cgroup2_that_the_host_has_not_mounted_is_mounted_by_the_engine() -> None:
    own = plan_cgroups(spec(), ANDROID_9, systemd=None)[-1]
    assert (own.mount, own.version) == (None, 2)
    assert own_path(own) == f"{OWN_MOUNTS}/cgroup2"


def test_a_hybrid_machine_keeps_every_limit_in_the_hierarchy_that_has_the_controller() -> None:
    cgroups = plan_cgroups(spec(memory=1 << 30, cpus=1.5, pids_limit=100), HYBRID, systemd=252)
    assert where(cgroups, "memory.limit_in_bytes") == ("/sys/fs/cgroup/memory", str(1 << 30))
    assert where(cgroups, "memory.memsw.limit_in_bytes") == ("/sys/fs/cgroup/memory", str(2 << 30))
    assert where(cgroups, "cpu.cfs_quota_us") == ("/sys/fs/cgroup/cpu", "150000")
    assert where(cgroups, "cpu.cfs_period_us") == ("/sys/fs/cgroup/cpu", "100000")
    assert where(cgroups, "pids.max") == ("/sys/fs/cgroup/pids", "100")
    unified = next(cgroup for cgroup in cgroups if cgroup.version == 2)
    assert (unified.limits, unified.switch_on) == ((), ())


def test_a_v1_memory_limit_counts_what_is_below_and_comes_before_that_with_swap() -> None:
    """The kernel refuses memsw below memory, and use_hierarchy once something is charged or made below."""
    cgroups = plan_cgroups(spec(memory=4096), HYBRID, systemd=None)
    (limits,) = [cgroup.limits for cgroup in cgroups if cgroup.limits]
    files = [file for file, _ in limits]
    assert files == ["memory.use_hierarchy", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]


def test_cgroup2_keeps_limits_and_passes_on_what_systemd_inside_may_use() -> None:
    (unified,) = plan_cgroups(spec(memory=1 << 20, cpus=0.5, pids_limit=7), PURE_V2, systemd=252)
    assert dict(unified.limits) == {
        "memory.max": "1048576",
        "memory.swap.max": "1048576",
        "cpu.max": "50000 100000",
        "pids.max": "7",
    }
    assert unified.switch_on == ("cpu", "memory", "pids", "io")


@pytest.mark.parametrize(
    ("host", "wanted", "controller"),
    [
        (ANDROID_14, {"pids_limit": 5}, "pids"),
        (ANDROID_11, {"pids_limit": 5}, "pids"),
        (WITHOUT_NAMESPACES, {"memory": 1 << 30}, "memory"),
        (Host(kernel=(5, 4), machine="aarch64"), {"cpus": 1.0}, "cpu"),
    ],
)
def test_a_limit_without_its_controller_is_refused_by_name(host: Host, wanted: dict[str, Any], controller: str) -> None:
    with pytest.raises(BerthError, match=f"the {controller} controller; start without --"):
        plan_cgroups(spec(**wanted), host, systemd=None)


def test_a_limit_goes_to_the_unmounted_cgroup2_where_no_v1_hierarchy_has_the_controller() -> None:
    cgroups = plan_cgroups(spec(pids_limit=5), ANDROID_9, systemd=None)
    assert cgroups[-1].mount is None
    assert cgroups[-1].switch_on == ("pids",)
    assert cgroups[-1].limits == (("pids.max", "5"),)


def test_a_kernel_older_than_the_cgroup2_controller_can_t_keep_the_limit_there() -> None:
    host = Host(kernel=(4, 14), machine="aarch64", filesystems=BOTH)
    with pytest.raises(BerthError, match="--cpus"):
        plan_cgroups(spec(cpus=1.0), host, systemd=None)


def test_a_share_of_the_cpu_that_the_kernel_can_t_give_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=r"0\.01"):
        plan_cgroups(spec(cpus=0.001), HYBRID, systemd=None)


@pytest.mark.parametrize(("host", "files"), [(ANDROID_9, ("cpus", "mems")), (HYBRID, ("cpuset.cpus", "cpuset.mems"))])
def test_v1_cpusets_inherit_under_the_names_that_the_mount_gives_them(host: Host, files: tuple[str, str]) -> None:
    inherited = {cgroup.controllers: cgroup.inherit for cgroup in plan_cgroups(spec(), host, systemd=None)}
    assert inherited.pop(("cpuset",)) == files
    assert set(inherited.values()) == {()}


@pytest.mark.parametrize("host", [ANDROID_9, ANDROID_11, ANDROID_14, PURE_V2, HYBRID])
def test_a_container_sees_one_cgroup2_by_default(host: Host) -> None:
    (step,) = inside_cgroups(spec(), host, systemd=257)
    assert isinstance(step, Mount)
    assert (step.target, step.filesystem) == ("/sys/fs/cgroup", "cgroup2")
    assert step.options == ("nosuid", "nodev", "noexec")


def test_cgroup_v1_inside_is_a_sealed_tmpfs_with_links_for_comounted_controllers() -> None:
    steps = inside_cgroups(spec(force_cgroupv1=True), HYBRID, systemd=252)
    assert isinstance(steps[0], Mount)
    assert steps[0].filesystem == "tmpfs"
    links = {step.target: step.points_to for step in steps if isinstance(step, Link)}
    assert links == {"/sys/fs/cgroup/cpu": "cpu,cpuacct", "/sys/fs/cgroup/cpuacct": "cpu,cpuacct"}
    mounts = {step.target: step.data for step in steps if isinstance(step, Mount) and step.filesystem == "cgroup"}
    assert mounts["/sys/fs/cgroup/cpu,cpuacct"] == "cpu,cpuacct"
    assert mounts["/sys/fs/cgroup/systemd"] == "none,name=systemd"
    sealed = next(index for index, step in enumerate(steps) if isinstance(step, ReadOnly))
    assert {type(step) for step in steps[sealed + 1 :]} == {Mount}
    made = {step.target for step in steps[:sealed] if isinstance(step, Directory)}
    assert made == set(mounts)


def test_a_noprefix_cpuset_is_mounted_as_the_host_has_it() -> None:
    steps = inside_cgroups(spec(force_cgroupv1=True), ANDROID_9, systemd=None)
    assert "cpuset,noprefix" in {step.data for step in steps if isinstance(step, Mount)}


def test_systemd_on_v1_gets_the_hierarchy_that_android_lacks() -> None:
    cgroups = plan_cgroups(spec(force_cgroupv1=True), ANDROID_14, systemd=247)
    own = next(cgroup for cgroup in cgroups if cgroup.controllers == ("name=systemd",))
    assert own.mount is None
    assert own_path(own) == f"{OWN_MOUNTS}/systemd"
    shown = inside_cgroups(spec(force_cgroupv1=True), ANDROID_14, systemd=247)
    assert "/sys/fs/cgroup/systemd" in {step.target for step in shown if isinstance(step, Mount)}
    assert all(cgroup.mount for cgroup in plan_cgroups(spec(), ANDROID_14, systemd=247))


def test_without_cgroup_namespaces_only_the_own_subtree_is_bound_where_proc_says_it_is() -> None:
    steps = inside_cgroups(spec(), WITHOUT_NAMESPACES, systemd=None)
    (bind,) = [step for step in steps if isinstance(step, BindMount)]
    assert bind.source == "/dev/cpuctl/berth/web/payload"
    assert bind.target == "/sys/fs/cgroup/cpu,cpuacct/berth/web/payload"
    assert "3.18" in bind.reason
    assert [step for step in steps if isinstance(step, Mount) and step.filesystem == "cgroup"] == []
    made = [step.target for step in steps if isinstance(step, Directory)]
    assert made == [bind.target.rsplit("/", depth)[0] for depth in (3, 2, 1)] + [bind.target]


def test_of_another_home_the_cgroups_are_others_and_where_the_plan_binds_them() -> None:
    host = replace(WITHOUT_NAMESPACES, home="0123abcd")
    (cgroup, *_) = plan_cgroups(spec(), host, systemd=None)
    (bind,) = [step for step in inside_cgroups(spec(), host, systemd=None) if isinstance(step, BindMount)]
    assert group_path(cgroup, "web") == "/dev/cpuctl/berth/web@0123abcd"
    assert bind.source == "/dev/cpuctl/berth/web@0123abcd/payload"
    assert bind.target == "/sys/fs/cgroup/cpu,cpuacct/berth/web@0123abcd/payload"


def test_the_device_s_own_home_has_plain_names() -> None:
    assert [Home(state, f"{state}/run").tag for state in ("/data/adb/berth", "/var/lib/berth")] == ["", ""]
    assert re.fullmatch("[0-9a-f]{8}", Home("/srv/berth", "/srv/berth/run").tag)


def test_cgroup2_without_cgroup_namespaces_is_bound_where_there_is_no_v1() -> None:
    host = Host(
        kernel=(4, 5),
        machine="aarch64",
        cgroups=(EMPTY_V2,),
        cgroup_namespace=False,
        filesystems=frozenset({"cgroup2"}),
    )
    (step,) = inside_cgroups(spec(), host, systemd=None)
    assert isinstance(step, BindMount)
    assert (step.source, step.target) == ("/sys/fs/cgroup/berth/web/payload", "/sys/fs/cgroup")


@pytest.mark.parametrize(
    ("host", "wanted", "systemd", "way_out"),
    [
        (HYBRID, {"force_cgroupv1": True}, 256, "start without it"),
        (WITHOUT_NAMESPACES, {}, 257, "systemd 255 or older"),
        (WITHOUT_NAMESPACES, {"force_cgroupv1": True}, 258, "systemd 255 or older"),
    ],
)
def test_a_systemd_that_refuses_v1_is_refused_in_the_plan(
    host: Host, wanted: dict[str, Any], systemd: int, way_out: str
) -> None:
    for decide in (plan_cgroups, inside_cgroups):
        with pytest.raises(BerthError, match=f"systemd {systemd} refuses cgroup v1; .*{way_out}"):
            decide(spec(**wanted), host, systemd=systemd)


def test_the_last_systemd_that_takes_v1_is_let_through() -> None:
    assert inside_cgroups(spec(force_cgroupv1=True), HYBRID, systemd=255)


@pytest.mark.parametrize(("systemd", "filesystem"), [(225, "tmpfs"), (226, "cgroup2")])
def test_a_systemd_older_than_226_sees_v1(systemd: int, filesystem: str) -> None:
    first = inside_cgroups(spec(), HYBRID, systemd=systemd)[0]
    assert isinstance(first, Mount)
    assert first.filesystem == filesystem


def test_a_kernel_without_v1_refuses_to_force_it() -> None:
    host = Host(kernel=(6, 12), machine="x86_64", cgroups=(FULL_V2,), filesystems=frozenset({"cgroup2"}))
    with pytest.raises(BerthError, match="no cgroup v1; start without it"):
        plan_cgroups(spec(force_cgroupv1=True), host, systemd=None)


def test_a_kernel_without_any_cgroups_starts_what_needs_none() -> None:
    host = Host(kernel=(4, 4), machine="aarch64", cgroup_namespace=False)
    assert plan_cgroups(spec(), host, systemd=None) == ()
    assert inside_cgroups(spec(), host, systemd=None) == ()
    with pytest.raises(BerthError, match="another init"):
        inside_cgroups(spec(), host, systemd=240)


@pytest.mark.parametrize("host", HOSTS)
def test_every_cgroup_says_why(host: Host) -> None:
    assert all(cgroup.reason for cgroup in plan_cgroups(spec(), host, systemd=None))
