"""A container with hardware access has the host's devices, also those that come and go while it runs.

The device that is plugged in here is a macvtap: the kernel makes /dev/tapN with its network interface, N being the
interface's number, which can be chosen.
"""

import fcntl
import os
import stat
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from berth.engine import cgroups
from berth.engine.hotplug import _show, _take_away
from berth.engine.journal import Journal, read_record
from berth.host import DeviceNode, Host
from berth.kernel import bpf
from berth.kernel.call import KernelError
from berth.plan.cgroups import own_path, plan_cgroups
from berth.plan.model import DevicePolicy, DeviceRule
from berth.spec import Spec
from tests import faults, quick
from tests.forked import in_child
from tests.program import Berth
from tests.uevents import a_device_came, await_listener, say

pytestmark = pytest.mark.system

SECONDS = faults.SECONDS
VT_DISALLOCATE = 0x5608  # linux/vt.h
NUMBER = 9_000_000 + os.getpid()  # of a network interface that nobody else has
TAP = f"tap{NUMBER}"
NULL = DeviceRule("c", 1, 3, "rw")
ZERO = DeviceRule("c", 1, 5, "rw")
MKNOD = DeviceRule("a", None, None, "m")


class Container:
    """A running container with hardware access, looked at from within."""

    def __init__(self, berth: Berth, name: str) -> None:
        self.berth = berth
        self.name = name

    def run(self, *command: str) -> str:
        return self.berth.succeed("run", self.name, "--", *command)

    def may(self, *command: str) -> bool:
        return self.berth("run", self.name, "--", *command).returncode == 0

    def node(self, path: str) -> tuple[str, str]:
        """Return "mode uid gid" and "major:minor" of a node, both in stat's hexadecimal and octal; "" if not there."""
        found = self.berth("run", self.name, "--", "stat", "-c", "%f %u %g|%t:%T", f"/dev/{path}").stdout.strip()
        about, _, number = found.partition("|")
        return about, number

    def started(self) -> str:
        """When its init started, in clock ticks; "" while there is none."""
        fields = self.berth("run", self.name, "--", "cat", "/proc/1/stat").stdout.split()
        return fields[21] if fields else ""

    def has(self, path: str) -> bool:
        return self.may("test", "-e", f"/dev/{path}") or self.may("test", "-L", f"/dev/{path}")


@pytest.fixture
def container(berth: Berth, rootfs: Callable[[str], Path]) -> Iterator[Container]:
    name = f"hw-{uuid.uuid4().hex[:8]}"
    berth.succeed("start", "--name", name, "--rootfs", rootfs("busybox"), "--hw-access")
    await_listener(quick.info(berth, name)["monitor_pid"])
    yield Container(berth, name)
    berth.succeed("stop", name, "--timeout", "0")  # what BusyBox' init does in its two seconds is tested elsewhere


@pytest.fixture
def parent() -> Iterator[str]:
    """A network interface on which macvtaps can be made; they go with it."""
    link = f"b{os.getpid()}a"
    ip("link", "add", link, "type", "veth", "peer", "name", f"b{os.getpid()}b")
    yield link
    ip("link", "del", link)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def plug_in(parent: str) -> None:
    ip("link", "add", "link", parent, "name", f"m{os.getpid()}", "index", str(NUMBER), "type", "macvtap")


def pull_out() -> None:
    ip("link", "del", f"m{os.getpid()}")


def until(happened: Callable[[], bool]) -> bool:
    """Wait for something that the kernel announces to the container's monitor, not to us."""
    end = time.monotonic() + SECONDS
    while not happened():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def as_on_host(path: str) -> tuple[str, str]:
    found = os.stat(f"/dev/{path}")
    number = f"{os.major(found.st_rdev):x}:{os.minor(found.st_rdev):x}"
    return f"{found.st_mode:x} {found.st_uid} {found.st_gid}", number


def test_the_host_s_harmless_nodes_are_there_with_their_owner_and_mode(container: Container) -> None:
    shown = {"cpu_dma_latency", "hwrng", "kvm", "vga_arbiter", "vsock", "userfaultfd"} & set(os.listdir("/dev"))
    assert shown
    for name in sorted(shown):
        assert container.node(name) == as_on_host(name)


def test_disks_terminals_and_the_host_s_own_controls_are_not_there(container: Container) -> None:
    inside = set(container.run("ls", "/dev").split())
    blocks = {name for name in os.listdir("/dev") if stat.S_ISBLK(os.lstat(f"/dev/{name}").st_mode)}
    assert blocks
    assert not inside & (blocks | {"tty0", "tty1", "vcs", "vcs1", "loop-control", "btrfs-control", "autofs", "mem"})
    container.run("mknod", "/tmp/disk", "b", "7", "0")
    assert not container.may("dd", "if=/tmp/disk", "of=/dev/null", "count=0")


def test_sys_is_read_only_at_the_top_and_writable_where_the_hardware_is(container: Container) -> None:
    options = {}
    for line in container.run("cat", "/proc/self/mountinfo").splitlines():
        words = line.split()
        options[words[4]] = words[5].split(",")
    assert "ro" in options["/sys"]
    for name in ("block", "bus", "class", "dev", "devices"):
        assert "rw" in options[f"/sys/{name}"]
    assert not {"/sys/power", "/sys/module", "/sys/kernel"} & options.keys()


def test_a_device_that_is_plugged_in_appears_can_be_opened_and_goes_again(container: Container, parent: str) -> None:
    plug_in(parent)
    assert until(lambda: container.node(TAP) == as_on_host(TAP))
    container.run("dd", f"if=/dev/{TAP}", "of=/dev/null", "count=0")

    os.chown(f"/dev/{TAP}", 0, 1004)
    os.chmod(f"/dev/{TAP}", 0o664)
    assert until(lambda: container.node(TAP)[0] == f"{stat.S_IFCHR | 0o664:x} 0 1004")

    _, number = container.node(TAP)
    pull_out()
    assert until(lambda: not container.has(TAP))
    major, minor = (str(int(part, 16)) for part in number.split(":"))
    container.run("mknod", "/tmp/tap", "c", major, minor)
    assert not container.may("dd", "if=/tmp/tap", "of=/dev/null", "count=0")


def test_a_device_of_before_the_start_goes_while_it_runs(
    berth: Berth, rootfs: Callable[[str], Path], parent: str
) -> None:
    plug_in(parent)
    name = f"hw-{uuid.uuid4().hex[:8]}"
    berth.succeed("start", "--name", name, "--rootfs", rootfs("busybox"), "--hw-access")
    container = Container(berth, name)
    assert container.has(TAP)
    pull_out()
    assert until(lambda: not container.has(TAP))
    berth.succeed("stop", name, "--timeout", "0")


def test_a_reboot_from_inside_keeps_following(container: Container, parent: str) -> None:
    before = container.started()
    container.berth("run", container.name, "--", "reboot")
    assert until(lambda: container.started() not in ("", before))
    plug_in(parent)
    assert until(lambda: container.has(TAP))


def test_a_link_that_the_container_planted_is_not_followed(container: Container, parent: str) -> None:
    container.run("ln", "-s", "/tmp/planted", f"/dev/{TAP}")
    plug_in(parent)
    marker(container)
    assert container.run("readlink", f"/dev/{TAP}").strip() == "/tmp/planted"
    assert not container.may("test", "-e", "/tmp/planted")


def test_no_link_inside_dev_leads_out_of_it(tmp_path: Path) -> None:
    """The monitor works from the host, where a link's target is the host's."""
    inside, outside = tmp_path / "dev", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    os.mknod(outside / "node", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    (inside / "folder").symlink_to(outside)
    (inside / "node").symlink_to(outside / "node")
    dev = os.open(inside, os.O_PATH)
    _show(dev, DeviceNode("node", stat.S_IFCHR | 0o666, 1, 3, gid=4))
    _take_away(dev, DeviceNode("node", stat.S_IFCHR | 0o666, 1, 3))
    with pytest.raises(KernelError):
        _show(dev, DeviceNode("folder/new", stat.S_IFCHR | 0o666, 1, 3))
    _take_away(dev, DeviceNode("folder/node", stat.S_IFCHR | 0o600, 1, 3))
    os.close(dev)
    assert os.listdir(outside) == ["node"]
    found = (outside / "node").stat()
    assert (found.st_mode, found.st_gid) == (stat.S_IFCHR | 0o600, 0)
    assert (inside / "node").is_symlink()


def test_what_the_container_made_is_not_taken_away(container: Container, parent: str) -> None:
    plug_in(parent)
    assert until(lambda: container.has(TAP))
    container.run("rm", f"/dev/{TAP}")
    container.run("mknod", f"/dev/{TAP}", "c", "1", "3")
    pull_out()
    marker(container)
    assert container.node(TAP)[1] == "1:3"


def test_a_node_that_was_removed_inside_comes_back_with_the_next_uevent(container: Container) -> None:
    marker(container)


def test_a_forged_uevent_gives_nothing_that_the_host_does_not_have(container: Container) -> None:
    disk = next(name for name in sorted(os.listdir("/dev")) if stat.S_ISBLK(os.lstat(f"/dev/{name}").st_mode))
    say(a_device_came("forged", "MAJOR=7", "MINOR=0"))
    say(a_device_came(disk, "MAJOR=10", "MINOR=1"))
    say(a_device_came("kmsg", "MAJOR=1", "MINOR=11"))
    marker(container)
    assert not set(container.run("ls", "/dev").split()) & {"forged", disk, "kmsg"}


def marker(container: Container) -> None:
    """Return when the monitor has dealt with all that came before: it puts back a node that a uevent names."""
    container.run("rm", "/dev/cpu_dma_latency")
    say(a_device_came("cpu_dma_latency"))
    assert until(lambda: container.node("cpu_dma_latency") == as_on_host("cpu_dma_latency"))


@pytest.fixture
def virtual_terminal() -> Iterator[int]:
    """A virtual terminal opened for the first time, upon which the kernel makes what shows its screen."""
    unused = next(number for number in range(40, 63) if not os.path.exists(f"/dev/vcs{number}"))
    os.close(os.open(f"/dev/tty{unused}", os.O_RDWR | os.O_NOCTTY))
    yield unused
    with open("/dev/tty0", "rb") as terminals:
        fcntl.ioctl(terminals, VT_DISALLOCATE, unused)


def test_a_terminal_of_the_host_that_appears_stays_hidden(container: Container, virtual_terminal: int) -> None:
    assert os.path.exists(f"/dev/vcs{virtual_terminal}")
    marker(container)
    assert not any(name.startswith("vcs") for name in container.run("ls", "/dev").split())


def test_without_hardware_access_nobody_listens(berth: Berth, rootfs: Callable[[str], Path]) -> None:
    name = f"hw-{uuid.uuid4().hex[:8]}"
    berth.succeed("start", "--name", name, "--rootfs", rootfs("busybox"))
    monitor = quick.info(berth, name)["monitor_pid"]
    open_files = [os.readlink(entry) for entry in Path(f"/proc/{monitor}/fd").iterdir()]
    assert "anon_inode:inotify" not in open_files
    berth.succeed("stop", name, "--timeout", "0")


def test_systemd_boots_with_hardware_access_and_leaves_the_host_s_terminals(
    berth: Berth, rootfs: Callable[[str], Path]
) -> None:
    name = f"hw-{uuid.uuid4().hex[:8]}"
    berth.succeed("start", "--name", name, "--rootfs", rootfs("debian-systemd"), "--hw-access", "--volatile")
    state = quick.booted(berth, name)
    failed = berth.succeed("run", name, "--", "systemctl", "--failed", "--no-legend", "--plain")
    assert (state, failed) == ("running", "")
    show = ("systemctl", "show", "--value", "--property=LoadState")
    assert berth.succeed("run", name, "--", *show, "systemd-udev-trigger.service").strip() == "masked"
    assert berth.succeed("run", name, "--", *show, "berth-udev-trigger.service").strip() == "loaded"
    gettys = berth.succeed("run", name, "--", "systemctl", "list-units", "--no-legend", "--plain", "*getty@*")
    assert gettys == ""
    berth.succeed("stop", name)


@pytest.fixture
def group() -> Iterator[Path]:
    root = next(mount.path for mount in cgroups.read_cgroup_mounts() if mount.version == 2)
    folder = Path(root, f"berth-test-{uuid.uuid4().hex}")
    folder.mkdir()
    yield folder
    folder.rmdir()


def opens(group: Path, *devices: str) -> list[bool]:
    """Tell which of `devices` a process in `group` can open."""

    def inside() -> list[bool]:
        (group / "cgroup.procs").write_text("0")
        return [_opens(device) for device in devices]

    return in_child(inside)


def _opens(device: str) -> bool:
    try:
        os.close(os.open(device, os.O_RDONLY))
    except OSError:
        return False
    return True


def put(group: Path, change: Callable[[int, int], None], *rules: DeviceRule) -> None:
    fields = [bpf.Rule(rule.kind, rule.major, rule.minor, rule.access) for rule in rules]
    program = bpf.load(bpf.assemble_device_program(fields))
    directory = os.open(group, os.O_RDONLY)
    change(directory, program)
    os.close(directory)
    os.close(program)


def attached(group: Path) -> int:
    directory = os.open(group, os.O_RDONLY)
    programs = bpf._attached(directory)
    for fd in (directory, *programs):
        os.close(fd)
    return len(programs)


@pytest.mark.parametrize("replace_flag", [4, 1 << 30], ids=["since-5.6", "before-5.6"])
def test_a_device_program_is_replaced_by_one_that_allows_something_else(
    group: Path, monkeypatch: pytest.MonkeyPatch, replace_flag: int
) -> None:
    monkeypatch.setattr(bpf, "_BPF_F_REPLACE", replace_flag)  # to an old kernel the flag is as unknown as bit 30
    put(group, bpf.attach, MKNOD, NULL)
    assert opens(group, "/dev/null", "/dev/zero") == [True, False]
    put(group, bpf.replace, MKNOD, NULL, ZERO)
    assert opens(group, "/dev/null", "/dev/zero") == [True, True]
    put(group, bpf.replace, MKNOD, ZERO)
    assert opens(group, "/dev/null", "/dev/zero") == [False, True]
    assert attached(group) == 1


def test_what_a_crash_between_two_programs_left_is_replaced_too(group: Path) -> None:
    put(group, bpf.attach, MKNOD, NULL)
    put(group, bpf.attach, MKNOD, NULL, ZERO)
    put(group, bpf.replace, MKNOD, ZERO)
    assert opens(group, "/dev/null", "/dev/zero") == [False, True]
    assert attached(group) == 1


def test_v1_rules_are_changed_for_the_groups_that_had_all_of_them(scratch: Path) -> None:
    name = f"test-{uuid.uuid4().hex[:12]}"
    mounts = tuple(mount for mount in cgroups.read_cgroup_mounts() if "devices" in mount.controllers)
    plan = plan_cgroups(Spec(name=name), Host(kernel=(4, 9), machine="x86_64", cgroups=mounts), systemd=None)
    journal = Journal.create(str(scratch / "journal"))
    cgroups.create(plan, DevicePolicy("v1", (MKNOD, NULL)), name, journal)
    payload = Path(own_path(plan[0]), "berth", name, "payload")
    narrow = payload / "narrow"
    try:
        narrow.mkdir()
        (narrow / "devices.deny").write_text("c *:* m")
        cgroups.redefine_devices(plan, DevicePolicy("v1", (MKNOD, NULL, ZERO)), name)
        assert opens(payload, "/dev/null", "/dev/zero") == [True, True]
        assert opens(narrow, "/dev/null", "/dev/zero") == [True, False]
        cgroups.redefine_devices(plan, DevicePolicy("v1", (MKNOD, ZERO)), name)
        assert opens(payload, "/dev/null", "/dev/zero") == [False, True]
        assert opens(narrow, "/dev/null", "/dev/zero") == [False, False]
    finally:
        for effect in reversed(read_record(journal.path)[1]):
            cgroups.undo(effect.kind, effect.target, effect.identity)
        os.close(journal.fd)
