"""A host with the cgroups of Android 9: each v1 controller in a place of its own, cpuset without prefix, no cgroup2."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.device.machine import CROWD, Machine, booted

pytestmark = [pytest.mark.device, pytest.mark.timeout(600)]

# system/core/rootdir/init.rc of Android 9
HIERARCHIES = {
    "/acct": "cpuacct",
    "/dev/cpuctl": "cpu",
    "/dev/cpuset": "cpuset,noprefix",
    "/dev/memcg": "memory",
    "/dev/blkio": "blkio",
}
COMOUNTED = "/dev/net_cls"  # two controllers in one hierarchy, as distributions have them
GROUPS = ("/acct/uid_0", "/dev/cpuctl/bg_non_interactive", "/dev/cpuset/background", "/dev/memcg/apps")
SETTINGS = ("/dev/cpuset/cpus", "/dev/cpuset/background/cpus", "/dev/memcg/apps/memory.limit_in_bytes")
LIMITS = ("--memory", "64M", "--cpus", "0.4", "--pids-limit", "30")

# As an app's shell does it: it is in groups that ActivityManager kills and freezes, on the slow processors.
START = """
echo $$ > /dev/cpuset/background/cgroup.procs
echo $$ > /dev/memcg/apps/cgroup.procs
exec berth start --name box --rootfs /srv/busybox "$@"
"""


class Container(NamedTuple):
    name: str
    before: dict[str, Any]
    settings: list[str]


@pytest.fixture(scope="module")
def vm() -> Iterator[Machine]:
    with booted("berth.root=tmpfs") as machine:
        for path, options in HIERARCHIES.items():
            machine.output("mkdir", path)
            machine.output("mount", "-t", "cgroup", "-o", options, "none", path)
        machine.output("mkdir", *GROUPS, COMOUNTED)
        machine.output("mount", "-t", "cgroup", "-o", "net_cls,net_prio", "none", COMOUNTED)
        machine.output("sh", "-e", "-c", "cd /dev/cpuset/background; echo 0 > cpus; echo 0 > mems")
        machine.output("sh", "-c", "echo 200M > /dev/memcg/apps/memory.limit_in_bytes")
        yield machine


@pytest.fixture(scope="module")
def box(vm: Machine) -> Container:
    before, settings = vm.traces(), list(map(vm.read, SETTINGS))
    vm.output("sh", "-e", "-c", START, "start", *LIMITS)
    return Container("box", before, settings)


def test_the_container_has_a_group_in_each_hierarchy_and_in_cgroup2(vm: Machine, box: Container) -> None:
    pid = json.loads(vm.berth("info", box.name, "--json"))["pid"]
    groups = dict(line.split(":", 2)[1:] for line in vm.read(f"/proc/{pid}/cgroup").splitlines())
    controllers = [options.split(",")[0] for options in HIERARCHIES.values()]
    assert {key: groups[key] for key in controllers} == dict.fromkeys(controllers, "/berth/box/payload")
    assert groups[""] == "/berth/box/payload"


def test_the_monitor_has_left_the_groups_of_its_caller(vm: Machine, box: Container) -> None:
    pid = json.loads(vm.berth("info", box.name, "--json"))["monitor_pid"]
    groups = dict(line.split(":", 2)[1:] for line in vm.read(f"/proc/{pid}/cgroup").splitlines())
    assert (groups["cpuset"], groups["memory"]) == ("/", "/")


def test_run_joins_the_container_in_every_hierarchy(vm: Machine, box: Container) -> None:
    groups = vm.inside(box.name, "cat", "/proc/self/cgroup").out.splitlines()
    assert {line.split(":")[2] for line in groups if line.split(":")[1] in ("", "cpu", "cpuset", "memory")} == {"/"}


def test_a_cpuset_without_prefix_is_filled_before_it_is_used(vm: Machine, box: Container) -> None:
    assert vm.read("/dev/cpuset/berth/box/payload/cpus") == vm.read("/dev/cpuset/cpus")
    assert vm.read("/dev/cpuset/berth/box/payload/mems") == vm.read("/dev/cpuset/mems")


def test_too_much_memory_is_answered_by_the_oom_killer(vm: Machine, box: Container) -> None:
    assert vm.read("/dev/memcg/berth/box/memory.limit_in_bytes") == str(64 << 20)
    assert vm.eat(box.name, 16).code == 0
    assert vm.eat(box.name, 100).code == 137


def test_root_inside_finds_no_v1_limit_to_lift(vm: Machine, box: Container) -> None:
    tried = "mount -t cgroup -o memory none /mnt && echo -1 > /mnt/memory.limit_in_bytes; umount /mnt"
    vm.inside(box.name, "sh", "-c", tried)
    assert vm.read("/dev/memcg/berth/box/memory.limit_in_bytes") == str(64 << 20)
    assert vm.eat(box.name, 100).code == 137


def test_processor_time_is_held_back(vm: Machine, box: Container) -> None:
    assert vm.read("/dev/cpuctl/berth/box/cpu.cfs_quota_us") == "40000"
    vm.inside(box.name, "sh", "-c", "timeout 2 sh -c 'while :; do :; done'")
    stat = dict(line.split() for line in vm.read("/dev/cpuctl/berth/box/cpu.stat").splitlines())
    assert int(stat["nr_throttled"]) > 0


def test_too_many_processes_are_refused_by_cgroup2(vm: Machine, box: Container) -> None:
    done = vm.inside(box.name, "sh", "-c", CROWD)
    assert "can't fork: Resource temporarily unavailable" in done.err


def test_a_disk_of_the_host_can_not_be_opened(vm: Machine, box: Container) -> None:
    done = vm.inside(box.name, "sh", "-c", "mknod /tmp/disk b 7 0 && dd if=/tmp/disk of=/dev/null count=1")
    assert "can't open '/tmp/disk': Operation not permitted" in done.err


def test_stop_leaves_the_layout_of_the_host_as_it_was(vm: Machine, box: Container) -> None:
    vm.berth("stop", box.name)
    vm.expect_traces(box.before)
    assert list(map(vm.read, SETTINGS)) == box.settings


def test_v1_inside_has_a_link_for_each_of_two_controllers_in_one_hierarchy(vm: Machine, box: Container) -> None:
    """And what has no prefix on the host has none inside."""
    with vm.unchanged():
        vm.berth("start", "--name", "both", "--rootfs", "/srv/busybox", "--force-cgroupv1", "--cpus", "0.4")
        top = "/sys/fs/cgroup"
        for name in ("net_cls", "net_prio"):
            assert vm.inside("both", "readlink", f"{top}/{name}").out == "net_cls,net_prio\n"
        files = (f"{top}/net_prio/net_cls.classid", f"{top}/cpu/cpu.cfs_quota_us", f"{top}/cpuset/cpus")
        assert vm.inside("both", "cat", *files).out.split() == ["0", "-1", vm.read("/dev/cpuset/cpus")]
        assert vm.read("/dev/cpuctl/berth/both/cpu.cfs_quota_us") == "40000", "the limit is held above"
        vm.berth("stop", "both")
