"""A host with nothing but cgroup2, all controllers on it, and Debian with systemd in a container from its disk."""

import json
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests import rootfs
from tests.device.machine import Machine, booted, patience

pytestmark = [pytest.mark.device, pytest.mark.timeout(900)]

ROOT = "/sys/fs/cgroup"
GROUP = f"{ROOT}/berth/debian"
LIMITS = ("--memory", "128M", "--cpus", "0.8", "--pids-limit", "200")
DISK = "/dev/vda"
BOOT_SECONDS = 120.0  # 5 to 10 on an idle machine
UNDER_WAY = ("", "offline", "unknown", "initializing", "starting")


class Container(NamedTuple):
    name: str
    state: str
    before: dict[str, Any]


@pytest.fixture(scope="module")
def vm() -> Iterator[Machine]:
    """The service is running: the other machines are without."""
    image = rootfs.image("debian-systemd")
    arguments = ("berth.root=tmpfs", "cgroup_no_v1=all")
    with booted(*arguments, disk=image) as machine:
        machine.output("mount", "-t", "cgroup2", "cgroup2", ROOT)
        machine.serve()
        yield machine


@pytest.fixture(scope="module")
def debian(vm: Machine) -> Container:
    before = vm.traces()
    vm.berth("start", "--name", "debian", "--rootfs-img", DISK, *LIMITS)
    return Container("debian", state_after_boot(vm, "debian"), before)


def state_after_boot(vm: Machine, name: str) -> str:
    """Return what systemd says of itself when it has booted; it can be asked only some time after its start."""
    began = time.monotonic()
    while (state := vm.inside(name, "systemctl", "is-system-running", "--wait").out.strip()) in UNDER_WAY:
        assert time.monotonic() - began < patience(BOOT_SECONDS), f"still {state or 'without an answer'}"
        time.sleep(0.5)
    return state


def test_systemd_boots_without_a_failed_unit(vm: Machine, debian: Container) -> None:
    assert debian.state == "running"
    assert vm.inside(debian.name, "systemctl", "--failed", "--no-legend").out == ""


def test_systemd_passes_the_controllers_on(vm: Machine, debian: Container) -> None:
    read = ("cat", f"{ROOT}/cgroup.controllers", f"{ROOT}/cgroup.subtree_control")
    offered, used = (set(line.split()) for line in vm.inside(debian.name, *read).out.splitlines())
    assert {"cpu", "io", "memory", "pids"} <= offered
    assert {"memory", "pids"} <= used
    shown = vm.inside(debian.name, "systemctl", "show", "--property=MemoryCurrent", "--value", "system.slice")
    assert int(shown.out) > 0


def test_run_joins_the_leaf_of_pid_1(vm: Machine, debian: Container) -> None:
    both = vm.inside(debian.name, "cat", "/proc/1/cgroup", "/proc/self/cgroup").out
    assert both.splitlines() == ["0::/init.scope"] * 2


def test_the_limits_are_on_the_group_above_the_containers_root(vm: Machine, debian: Container) -> None:
    files = ("memory.max", "memory.swap.max", "cpu.max", "pids.max")
    assert [vm.read(f"{GROUP}/{file}") for file in files] == [str(128 << 20), str(128 << 20), "80000 100000", "200"]
    assert vm.inside(debian.name, "cat", f"{ROOT}/memory.max").out == "max\n", "its own is below"


def test_too_much_memory_is_answered_by_the_oom_killer_whatever_root_inside_writes(
    vm: Machine, debian: Container
) -> None:
    assert vm.inside(debian.name, "sh", "-c", f"echo max > {ROOT}/memory.max").code == 0
    assert vm.eat(debian.name, 200).code == 137
    events = dict(line.split() for line in vm.read(f"{GROUP}/memory.events").splitlines())
    assert int(events["oom_kill"]) >= 1
    # The program was in the cgroup of PID 1, so systemd may, a moment later, note the kill there; nothing else failed.
    failed = vm.inside(debian.name, "systemctl", "--failed", "--no-legend", "--plain").out.splitlines()
    assert {line.split()[0] for line in failed} <= {"init.scope"}
    assert vm.inside(debian.name, "systemctl", "is-active", "systemd-journald", "systemd-logind").code == 0


def test_a_mount_of_its_own_shows_no_more_of_the_hierarchy(vm: Machine, debian: Container) -> None:
    tried = "mount -t cgroup2 none /mnt && cd /mnt && ls && umount -l /mnt"
    shown = vm.inside(debian.name, "sh", "-c", tried).out.split()
    assert "init.scope" in shown
    assert "berth" not in shown


def test_processor_time_is_held_back(vm: Machine, debian: Container) -> None:
    burn = "$end = time + 2; 1 while time < $end"
    burning = f"perl -e '{burn}' & perl -e '{burn}' & wait"
    assert vm.inside(debian.name, "sh", "-c", burning).code == 0
    stat = dict(line.split() for line in vm.read(f"{GROUP}/cpu.stat").splitlines())
    assert int(stat["nr_throttled"]) > 0


def test_too_many_processes_are_refused(vm: Machine, debian: Container) -> None:
    fork = "perl -e 'for (1..250) { my $p = fork; defined $p or die; $p or do { sleep 5; exit } }'"
    assert vm.inside(debian.name, "sh", "-c", fork).code == 11, "EAGAIN, as perl ends with errno"


def test_the_disk_of_the_host_can_not_be_opened(vm: Machine, debian: Container) -> None:
    major, minor = vm.read("/sys/block/vda/dev").split(":")
    tried = f"mknod /tmp/disk b {major} {minor} && dd if=/tmp/disk of=/dev/null count=1"
    assert "'/tmp/disk': Operation not permitted" in vm.inside(debian.name, "sh", "-c", tried).err


JUMPS = ("1970-01-02 00:00", "2037-12-31 00:00")


def test_a_clock_that_jumps_disturbs_neither_service_nor_containers(vm: Machine, debian: Container) -> None:
    """Back to where a phone's clock is after a dead battery, and far ahead; an image carries such times as well."""
    vm.output("mke2fs", "-q", "-t", "ext4", "-d", "/srv/busybox", "/tmp/small.img", "32M")
    began, now = time.monotonic(), int(vm.output("date", "+%s"))
    debian_before = told(vm, debian.name)
    try:
        vm.berth("start", "--name", "small", "--rootfs-img", "/tmp/small.img")
        for moment in JUMPS:
            before = told(vm, "small")
            vm.output("date", "-s", moment)
            after = told(vm, "small")
            assert [after[key] for key in ("state", "pid", "monitor_pid")] == [
                before[key] for key in ("state", "pid", "monitor_pid")
            ]
            assert 0 <= after["usage"]["uptime"] < time.monotonic() - began + 60
            assert vm.inside("small", "echo", "here").out == "here\n"
            vm.berth("restart", "small", "--timeout", "100")
            assert told(vm, "small")["last_end"] == "powered off", "it was not killed for a time that had not passed"
        vm.berth("stop", "small", "--timeout", "100")
    finally:
        vm.output("date", "-s", f"@{now + int(time.monotonic() - began)}")
    assert [told(vm, debian.name)[key] for key in ("state", "pid")] == [debian_before[key] for key in ("state", "pid")]
    vm.berth("rm", "small", "--yes")


def told(vm: Machine, name: str) -> dict[str, Any]:
    about: dict[str, Any] = json.loads(vm.berth("info", name, "--json"))
    return about


MIB = (
    20  # written to a disk that takes half a megabyte in a second, which is longer than a stop waits for what is stuck
)


@pytest.mark.full
def test_a_stop_waits_for_a_disk_that_is_only_slow(vm: Machine, debian: Container) -> None:
    """What was written to an image gets to its disk when that is let go."""
    vm.output("mke2fs", "-q", "-t", "ext4", "-d", "/srv/busybox", "/tmp/slow.img", "64M")
    vm.berth("start", "--name", "slow", "--rootfs-img", "/tmp/slow.img")
    disk = told(vm, "slow")["image"]["device"].removeprefix("/dev/")
    limit = f"{vm.read(f'/sys/block/{disk}/dev')} wbps=500000"
    vm.output("sh", "-c", f"echo '{limit}' > {ROOT}/berth/slow/io.max")
    vm.inside("slow", "dd", "if=/dev/zero", "of=/root/much", "bs=1M", f"count={MIB}")
    began = time.monotonic()

    vm.berth("stop", "slow", "--timeout", "0")

    assert time.monotonic() - began > 30
    assert told(vm, "slow")["state"] == "stopped"
    vm.berth("rm", "slow", "--yes")


def test_stop_leaves_nothing_and_switches_the_controllers_off_again(vm: Machine, debian: Container) -> None:
    assert set(vm.read(f"{ROOT}/cgroup.subtree_control").split()) >= {"cpu", "memory", "pids"}
    vm.berth("stop", debian.name)
    vm.expect_traces(debian.before)
    assert vm.read(f"{ROOT}/cgroup.subtree_control") == ""
    assert json.loads(vm.berth("info", debian.name, "--json"))["state"] == "stopped"
