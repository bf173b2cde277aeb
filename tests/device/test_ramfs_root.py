"""A host whose root is the kernel's ramfs, as on phones without system-as-root, and that has mounted no cgroups."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.device.machine import CROWD, Machine, booted

pytestmark = [pytest.mark.device, pytest.mark.timeout(600)]

SECRET = "/secret-of-the-host"
WARNING = "the root is a ramfs, so pivot_root is not possible; the host's mounts were detached instead"
OWN_FOLDERS = ("/proc", "/sys", "/dev", "/run")
LIMITS = ("--memory", "64M", "--cpus", "0.4", "--pids-limit", "30")

# A root file system with BusyBox' init and the machine's own Python, by links: it is all one ramfs.
MAKE_BOX = """
cp -a /srv/busybox /srv/box
cp -al /usr/lib /srv/box/usr/
cp -al /lib /lib64 /srv/box/
cp -al /usr/bin/python3* /srv/box/usr/bin/
cp /opt/berth/escape.py /srv/box/
"""

# Burns a second of processor time and prints how much of one processor it got.
BURN = """
import time
began, used = time.monotonic(), time.process_time()
while time.process_time() - used < 1:
    pass
print(1 / (time.monotonic() - began))
"""


@pytest.fixture(scope="module")
def vm() -> Iterator[Machine]:
    with booted() as machine:
        machine.output("sh", "-e", "-c", MAKE_BOX)
        machine.output("touch", SECRET)
        yield machine


@pytest.fixture(scope="module")
def box(vm: Machine) -> Iterator[str]:
    with vm.unchanged():
        vm.berth("start", "--name", "box", "--rootfs", "/srv/box", *LIMITS)
        yield "box"
        vm.berth("stop", "box")


@pytest.fixture(scope="module")
def unfiltered(vm: Machine) -> Iterator[str]:
    """A container without a seccomp filter, and a mount that the host has made since it was started."""
    with vm.unchanged():
        vm.berth("start", "--name", "unfiltered", "--rootfs", "/srv/box", "--privileged=noseccomp")
        vm.output("mount", "-t", "tmpfs", "none", "/mnt")
        vm.output("touch", "/mnt/later")
        yield "unfiltered"
        vm.output("umount", "/mnt")
        vm.berth("stop", "unfiltered")


@pytest.fixture(scope="module")
def escapes(vm: Machine, box: str) -> dict[str, Any]:
    return attempts(vm, box)


def attempts(vm: Machine, name: str) -> dict[str, Any]:
    """Return what each way out of container `name` has shown."""
    done = vm.inside(name, "python3", "-IS", "/escape.py")
    assert done.code == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_this_host_refuses_pivot_root(vm: Machine) -> None:
    tried = "mount -t tmpfs none /mnt && mkdir /mnt/old && pivot_root /mnt /mnt/old"
    assert "Invalid argument" in vm.run("unshare", "-m", "sh", "-c", tried).err


def test_info_warns_of_the_ramfs(vm: Machine, box: str) -> None:
    assert WARNING in json.loads(vm.berth("info", box, "--json"))["warnings"]


def test_the_container_sees_only_its_own_mounts(vm: Machine, box: str) -> None:
    lines = [line.split(" ") for line in vm.inside(box, "cat", "/proc/self/mountinfo").out.splitlines()]
    roots = [line[3] for line in lines if line[4] == "/"]
    assert roots == ["/srv/box"]
    assert [line[4] for line in lines if line[4] != "/" and not line[4].startswith(OWN_FOLDERS)] == []


@pytest.mark.parametrize("way", ["dots", "descriptor", "mounts"])
def test_climbing_out_of_a_chroot_ends_at_the_containers_root(escapes: dict[str, Any], way: str) -> None:
    assert escapes[way]["error"] is None
    assert "escape.py" in escapes[way]["seen"]["/"]
    assert SECRET[1:] not in escapes[way]["seen"]["/"]


def test_entering_the_own_mount_namespace_anew_is_refused(escapes: dict[str, Any]) -> None:
    assert "Operation not permitted" in escapes["namespace"]["error"]
    assert SECRET[1:] not in escapes["namespace"]["seen"]["/"]


def test_without_the_filter_that_way_leads_to_the_bare_ramfs_and_to_no_mount_of_the_host(
    vm: Machine, unfiltered: str
) -> None:
    """Else the test above would prove nothing; and what else was done for such a host has to hold by itself."""
    found = attempts(vm, unfiltered)["namespace"]
    assert found["error"] is None
    assert SECRET[1:] in found["seen"]["/"]
    assert (found["seen"]["/mnt"], found["seen"]["/run"], found["seen"]["/proc"]) == ([], [], [])


def test_run_does_not_land_on_the_host_in_a_container_that_has_lost_its_root(vm: Machine, unfiltered: str) -> None:
    assert vm.inside(unfiltered, "umount", "-l", "/").code == 0
    seen = vm.output("sh", "-c", f"echo | berth run {unfiltered} -- ls /").split()
    assert "escape.py" in seen
    assert SECRET[1:] not in seen


def test_run_joins_the_container_in_cgroups_that_the_host_has_not_mounted(vm: Machine, box: str) -> None:
    assert vm.inside(box, "cat", "/proc/self/cgroup").out == "0::/\n"


def test_too_much_memory_is_answered_by_the_oom_killer(vm: Machine, box: str) -> None:
    assert vm.eat(box, 16).code == 0
    assert vm.eat(box, 100).code == 137


def test_root_inside_can_not_lift_the_limit(vm: Machine, box: str) -> None:
    assert vm.inside(box, "sh", "-c", "echo max > /sys/fs/cgroup/memory.max").code == 0
    assert vm.eat(box, 100).code == 137


def test_too_many_processes_are_refused(vm: Machine, box: str) -> None:
    done = vm.inside(box, "sh", "-c", CROWD)
    assert "can't fork: Resource temporarily unavailable" in done.err


def test_processor_time_is_held_back(vm: Machine, box: str) -> None:
    assert float(vm.inside(box, "python3", "-IS", "-c", BURN).out) < 0.6


def test_a_disk_of_the_host_can_not_be_opened(vm: Machine, box: str) -> None:
    done = vm.inside(box, "sh", "-c", "mknod /tmp/disk b 7 0 && dd if=/tmp/disk of=/dev/null count=1")
    assert "can't open '/tmp/disk': Operation not permitted" in done.err


def test_an_image_boots_survives_its_monitor_and_leaves_nothing(vm: Machine) -> None:
    vm.output("mke2fs", "-q", "-t", "ext4", "-d", "/srv/busybox", "/srv/box.img", "32M")
    with vm.unchanged():
        vm.berth("start", "--name", "image", "--rootfs-img", "/srv/box.img", "--memory", "64M")
        assert vm.output("sh", "-c", "cat /sys/block/loop*/loop/backing_file") == "/srv/box.img"
        vm.output("kill", "-9", str(json.loads(vm.berth("info", "image", "--json"))["monitor_pid"]))
        assert vm.inside("image", "cat", "/proc/self/cgroup").out == "0::/\n"
        assert SECRET[1:] not in vm.inside("image", "ls", "/").out.split()
        vm.berth("stop", "image")


def test_a_one_off_keeps_its_limit_and_leaves_nothing(vm: Machine) -> None:
    hog = ("dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1")
    with vm.unchanged():
        assert vm.run("berth", "run", "--rm", "--memory", "64M", "--rootfs", "/srv/box", "--", *hog).code == 137


def test_after_a_restart_the_limit_holds_again(vm: Machine, box: str) -> None:
    vm.berth("restart", box)
    assert vm.inside(box, "cat", "/proc/self/cgroup").out == "0::/\n"
    assert vm.eat(box, 100).code == 137


MAKE_LAN = """
ip link add lan0 type veth
for link in /sys/class/net/veth*; do ip link set "${link##*/}" up; done
ip link set lan0 up
ip address add 10.9.0.1/24 dev lan0
"""


def test_a_kernel_without_macvlan_gives_places_on_the_lan_by_ipvlan(vm: Machine) -> None:
    vm.output("sh", "-ec", MAKE_LAN)
    for name, address in (("one", "10.9.0.2"), ("other", "10.9.0.3")):
        place = ("--lan", "--lan-iface=lan0", f"--ip={address}")
        vm.berth("start", "--name", name, "--rootfs", "/srv/busybox", "--volatile", *place)

    assert vm.berth("net").count("ipvlan on lan0") == 2
    answered = vm.inside("one", "ping", "-c", "1", "-W", "60", "10.9.0.3")
    vm.berth("stop", "one", "other", "--timeout", "1")
    vm.output("ip", "link", "del", "lan0")
    assert (answered.code, "1 packets received" in answered.out) == (0, True), answered.out
