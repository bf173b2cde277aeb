"""What is seen and what can be done from inside a container, as its root.

Most tests only look, so they share a container that is started once.
"""

import errno
import os
import platform
import re
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from berth.kernel.syscalls import architectures
from berth.rules import CAPABILITIES
from tests import disks, faults, leftovers, quick
from tests import rootfs as root_file_systems
from tests.program import Berth

pytestmark = pytest.mark.system

MASKED: Final = (
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
)
READ_ONLY: Final = ("/proc/sys", "/proc/irq", "/proc/bus", "/proc/asound")
CONTAINERS: Final[dict[str, tuple[str, ...]]] = {
    "plain": ("--hostname", "harbour.example"),
    "alone": ("--net", "none"),
    "unmasked": ("--privileged=nomask",),
    "full": ("--privileged=full",),
}
HERE: Final = [path for path in (*MASKED, *READ_ONLY) if os.path.lexists(path)]
NUMBERS: Final = architectures(platform.machine())[0].numbers


@pytest.fixture(scope="module")
def running(berth_home: Path) -> Iterator[Berth]:
    """The command, with `plain`, `alone` and `unmasked` running."""
    berth = Berth(berth_home)
    folder = Path(tempfile.mkdtemp(dir=berth_home.parent))
    folder.chmod(0o755)
    root = root_file_systems.copy(root_file_systems.directory("busybox"), folder / "busybox")
    (root / "etc/hostname").write_text("as-it-was\n")
    for name, flags in CONTAINERS.items():
        quick.start(berth, root, *flags, name=name)
    yield berth
    leftovers.stop_containers(berth)
    assert (root / "etc/hostname").read_text() == "as-it-was\n"
    root_file_systems.remove(folder)


@pytest.fixture(scope="module")
def syscalls(berth_home: Path) -> Iterator[Berth]:
    """The command, with two Debians running, whose perl makes any system call: `plain` and `filtered`."""
    berth = Berth(berth_home)
    folder = Path(tempfile.mkdtemp(dir=berth_home.parent))
    folder.chmod(0o755)
    root = root_file_systems.copy(root_file_systems.directory("debian-s6"), folder / "debian")
    berth.succeed("start", "unfiltered", "--rootfs", root, "--privileged=noseccomp")
    berth.succeed("start", "filtered", "--rootfs", root, "--keyring-filter", "--block-nested-namespaces")
    yield berth
    leftovers.stop_containers(berth)
    root_file_systems.remove(folder)


def errno_of(berth: Berth, name: str, call: str, *arguments: int) -> str:
    """Make a system call inside by `berth run`; return its errno's name, "" for success."""
    words = ", ".join(map(str, (NUMBERS[call], *arguments)))
    said = quick.inside(berth, "perl", "-e", f"print syscall({words}) == -1 ? $!+0 : 0", name=name)
    return errno.errorcode.get(int(said), "")


def namespaces(pid: int) -> dict[str, str]:
    return {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("pid", "mnt", "uts", "ipc", "cgroup", "net")}


def test_this_kernel_has_something_to_mask_and_to_protect() -> None:
    assert len(set(HERE) & set(MASKED)) >= 3
    assert "/proc/sys" in HERE


@pytest.mark.parametrize("path", [path for path in MASKED if path in HERE])
def test_what_belongs_to_the_host_is_masked(running: Berth, path: str) -> None:
    shown = quick.shell(running, f"if [ -d {path} ]; then ls -A {path}; else cat {path}; fi", "plain")

    assert shown == ""
    written = "touch " + path + "/x" if os.path.isdir(path) else f"echo h > {path}; test ! -s {path}"
    assert running("run", "plain", "--", "/bin/sh", "-c", written).returncode == (1 if os.path.isdir(path) else 0)


def test_without_masks_all_of_it_is_there(running: Berth) -> None:
    mounted = quick.inside(running, "cat", "/proc/self/mountinfo", name="unmasked")

    assert not [path for path in (*MASKED, *READ_ONLY) if f" {path} " in mounted]
    assert quick.shell(running, "ls /sys/kernel/debug /proc/sys | wc -l", "unmasked") != "0"


@pytest.mark.parametrize("name", ["plain", "alone"])
@pytest.mark.parametrize("path", [path for path in READ_ONLY if path in HERE])
def test_what_the_kernel_is_set_by_is_read_only(running: Berth, name: str, path: str) -> None:
    options = quick.shell(running, f"grep ' {path} ' /proc/self/mountinfo | cut -d' ' -f6", name)

    assert options.split(",")[0] == "ro"


def test_a_kernel_setting_can_not_be_changed(running: Berth) -> None:
    before = Path("/proc/sys/kernel/printk").read_text()

    refused = running("run", "plain", "--", "/bin/sh", "-c", "echo 1 > /proc/sys/kernel/printk")

    assert "Read-only file system" in refused.stderr
    assert Path("/proc/sys/kernel/printk").read_text() == before


def test_sys_is_read_only(running: Berth) -> None:
    refused = running("run", "plain", "--", "/bin/sh", "-c", "mkdir /sys/x; echo 1 > /sys/power/state")

    assert refused.stderr.count("Read-only file system") + refused.stderr.count("nonexistent") == 2


def test_without_a_network_there_is_loopback_only_and_its_settings_are_the_containers(running: Berth) -> None:
    assert quick.shell(running, "ls /sys/class/net /proc/sys/net/ipv4/neigh", "alone").split() != []
    assert quick.shell(running, "ip -o link | cut -d: -f2", "alone").split() == ["lo"]
    assert "UP" in quick.inside(running, "ip", "link", "show", "lo", name="alone")
    assert quick.shell(running, "ping -c 1 -w 2 127.0.0.1 >/dev/null && echo answers", "alone") == "answers"
    before = Path("/proc/sys/net/ipv4/ip_forward").read_text()

    quick.shell(running, "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv4/ip_forward", "alone")

    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == before
    refused = running(
        "run", "plain", "--", "/bin/sh", "-c", "cat /proc/sys/net/ipv4/ip_forward > /proc/sys/net/ipv4/ip_forward"
    )
    assert "Read-only file system" in refused.stderr


def test_the_host_name_is_set_and_no_file_is(running: Berth) -> None:
    assert quick.shell(running, "hostname; cat /etc/hostname", "plain") == "harbour.example\nas-it-was"
    assert quick.inside(running, "hostname", name="alone") == "alone"
    assert os.uname().nodename not in ("harbour.example", "alone")


def test_programs_can_tell_that_they_are_in_a_container(running: Berth) -> None:
    pid = quick.info(running, "plain")["pid"]

    assert b"container=berth" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert quick.inside(running, "cat", "/run/systemd/container", name="plain") == "berth"
    assert quick.shell(running, "echo $container", "plain") == "berth"


def test_its_namespaces_are_its_own(running: Berth) -> None:
    host = namespaces(os.getpid())
    plain, alone = (namespaces(quick.info(running, name)["pid"]) for name in ("plain", "alone"))

    assert {kind for kind in host if plain[kind] == host[kind]} == {"net"}
    assert {kind for kind in host if alone[kind] == host[kind]} == set()
    assert {kind for kind in host if alone[kind] == plain[kind]} == set()
    assert quick.inside(running, "cat", "/proc/self/cgroup", name="plain").rstrip().endswith(":/")


def test_a_program_that_is_run_inside_is_in_all_of_them(running: Berth) -> None:
    listed = quick.shell(running, "for n in pid mnt uts ipc cgroup net; do readlink /proc/self/ns/$n; done", "alone")

    assert listed.split() == list(namespaces(quick.info(running, "alone")["pid"]).values())


def test_mounts_are_shared_inside_and_stay_inside(running: Berth) -> None:
    host = Path("/proc/self/mountinfo").read_text()
    monitor = Path(f"/proc/{quick.info(running, 'plain')['monitor_pid']}/mountinfo")
    of_monitor = monitor.read_text()

    assert " shared:" in quick.shell(
        running, "grep ' / / ' /proc/1/mountinfo || grep ' / rw' /proc/1/mountinfo", "plain"
    )
    script = "mount -t tmpfs inner /mnt && unshare -m --propagation shared mount -t tmpfs deep /home; "
    seen = quick.shell(running, script + "grep -c -e ' - tmpfs inner' -e ' - tmpfs deep' /proc/1/mountinfo", "plain")

    assert seen == "2"
    assert Path("/proc/self/mountinfo").read_text() == host
    assert monitor.read_text() == of_monitor
    quick.shell(running, "umount /home /mnt", "plain")


def test_nothing_of_the_hosts_mounts_is_left_inside(running: Berth) -> None:
    mounted = quick.inside(running, "cat", "/proc/1/mountinfo", name="plain").splitlines()

    targets = [line.split(" ")[4] for line in mounted]
    assert targets[0] == "/"
    of_ours = ("/proc", "/sys", "/dev", "/run", "/etc/resolv.conf")
    assert [path for path in targets if not path.startswith(of_ours)] == ["/"]


def test_the_bounding_set_of_init_is_the_planned_one(running: Berth) -> None:
    told = quick.info(running, "plain")
    status = Path(f"/proc/{told['pid']}/status").read_text()
    sets = {kind: int(value, 16) for kind, value in re.findall(r"^Cap(\w+):\s+(\w+)$", status, re.MULTILINE)}
    planned = sum(1 << CAPABILITIES.index(name.removeprefix("CAP_")) for name in told["capabilities"])

    assert sets["Bnd"] == sets["Prm"] == sets["Eff"] == planned
    assert sets["Inh"] == sets["Amb"] == 0
    assert not {"SYS_MODULE", "SYS_TIME", "SYSLOG", "NET_ADMIN"} & set(told["capabilities"])
    assert quick.shell(running, "grep CapBnd /proc/self/status", "plain").split()[1] == f"{planned:016x}"


def test_init_is_filtered_and_may_still_gain_privileges(running: Berth) -> None:
    status = Path(f"/proc/{quick.info(running, 'plain')['pid']}/status").read_text()

    assert re.search(r"^Seccomp:\t2$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\t0$", status, re.MULTILINE)  # or sudo would not work
    assert re.search(r"^Seccomp:\t2$", quick.inside(running, "cat", "/proc/self/status", name="plain"), re.MULTILINE)


def test_init_has_the_console_and_no_other_descriptor_of_the_hosts(running: Berth) -> None:
    pid = quick.info(running, "plain")["pid"]
    opened = faults.open_files(pid).values()

    assert {path for path in opened if "quick-init" not in path} == {"/dev/console"}
    # not the controlling terminal of init, or Ctrl-C on the console would reach it as a job
    assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[4] == "0"


def test_dev_has_what_programs_expect(running: Berth) -> None:
    nodes = ("null", "zero", "full", "random", "urandom", "tty", "console", "fuse", "net/tun")
    for node in nodes:
        assert quick.shell(running, f"test -c /dev/{node} && echo yes", "plain") == "yes"
    script = (
        "echo x > /dev/null; head -c 4 /dev/zero | wc -c; head -c 8 /dev/urandom | wc -c; ls /dev/fd /dev/mqueue >&2"
    )
    assert quick.shell(running, script, "plain").split() == ["4", "8"]
    drivers = [name for name in ("fuse", "net/tun") if has_driver(f"/dev/{name}")]
    allowed = " ".join(("null", "zero", "full", "random", "urandom", "ptmx", "console", *drivers))
    opened = f"for node in {allowed}; do exec 3<>/dev/$node || exit; done; echo all"
    assert quick.shell(running, opened, "plain") == "all"
    assert "No space left on device" in running("run", "plain", "--", "sh", "-c", "echo x > /dev/full").stderr
    assert quick.shell(running, "echo kept > /dev/shm/x; cat /dev/shm/x; rm /dev/shm/x", "plain") == "kept"
    assert quick.shell(running, "find /dev -type b | wc -l", "plain") == "0"
    assert not os.path.exists("/dev/shm/x")


def has_driver(path: str) -> bool:
    """Whether this machine's kernel can open the device: modules may be missing."""
    try:
        os.close(os.open(path, os.O_RDWR))
    except OSError:
        return False
    return True


def test_with_all_protections_lifted_nothing_is_kept_from_it(running: Berth) -> None:
    pid = quick.info(running, "full")["pid"]
    status = Path(f"/proc/{pid}/status").read_text()
    (ours,) = re.findall(r"^CapBnd:.*$", Path("/proc/self/status").read_text(), re.MULTILINE)

    assert ours in status.splitlines()
    assert re.search(r"^Seccomp:\t0$", status, re.MULTILINE)
    control = "mknod /root/loops c 10 237; (exec 3</root/loops && echo opened); rm /root/loops"
    assert quick.shell(running, control, "full") == "opened"
    assert quick.shell(running, control, "plain") == ""
    setting = "/proc/sys/kernel/domainname"
    assert quick.shell(running, f"echo x > {setting} && cat {setting}", "full") == "x"
    warned = running.succeed("info", "full")
    assert "NOT confined" in warned


def disk() -> tuple[int, int]:
    """The numbers of a disk of the host's."""
    lines = Path("/proc/partitions").read_text().splitlines()[2:]
    major, minor, _, name = next(line.split() for line in lines if "loop" not in line and "ram" not in line)
    assert stat.S_ISBLK(os.stat(f"/dev/{name}").st_mode)
    return int(major), int(minor)


def test_the_hosts_disk_can_be_made_but_not_opened(running: Berth) -> None:
    major, minor = disk()

    script = f"mknod /root/disk b {major} {minor} && ls -l /root/disk >&2; dd if=/root/disk of=/dev/null count=1"
    refused = running("run", "plain", "--", "/bin/sh", "-c", script)

    assert "Operation not permitted" in refused.stderr
    assert f"{major}," in refused.stderr
    assert quick.shell(running, "mknod /root/null c 1 3 && echo x > /root/null && echo opened", "plain") == "opened"
    quick.shell(running, "rm /root/disk /root/null", "plain")


def test_the_hosts_disk_can_not_be_opened_for_writing_nor_a_devtmpfs_mounted(running: Berth) -> None:
    major, minor = disk()

    script = f"mknod /root/disk b {major} {minor}; dd if=/dev/null of=/root/disk conv=notrunc count=0"
    refused = running("run", "plain", "--", "/bin/sh", "-c", script)
    assert "Operation not permitted" in refused.stderr
    refused = running("run", "plain", "--", "mount", "-t", "devtmpfs", "dev", "/mnt")
    assert "permission denied" in refused.stderr
    quick.shell(running, "rm /root/disk", "plain")


def test_a_disk_of_the_hosts_that_nobody_has_mounted_can_not_be_mounted(running: Berth, scratch: Path) -> None:
    image = root_file_systems.copy(root_file_systems.image("busybox"), scratch / "busybox.img")
    attached = subprocess.run(["losetup", "--find", "--show", image], check=True, capture_output=True, text=True)
    loop = attached.stdout.strip()
    try:
        number = os.stat(loop).st_rdev
        node = f"mknod /root/d b {os.major(number)} {os.minor(number)}"
        script = f"{node}; mount -t ext4 /root/d /mnt; e=$?; rm /root/d; exit $e"
        refused = running("run", "plain", "--", "/bin/sh", "-c", script)
    finally:
        subprocess.run(["losetup", "--detach", loop], check=True)
        assert disks.gone(image, scratch)

    assert refused.returncode != 0
    assert "denied" in refused.stderr or "not permitted" in refused.stderr


def test_memory_can_not_be_opened(running: Berth) -> None:
    refused = running(
        "run",
        "plain",
        "--",
        "/bin/sh",
        "-c",
        "mknod /root/mem c 1 1; dd if=/root/mem count=1; e=$?; rm /root/mem; exit $e",
    )

    assert refused.returncode != 0
    assert "Operation not permitted" in refused.stderr


@pytest.mark.parametrize(
    ("call", "arguments", "filtered"),
    [
        ("keyctl", (0, -3, 0, 0, 0), "ENOSYS"),
        ("add_key", (0, 0, 0, 0, 0), "ENOSYS"),
        ("request_key", (0, 0, 0, 0), "ENOSYS"),
        ("unshare", (0x04000000,), "EPERM"),
        ("clone3", (0, 0), "ENOSYS"),
        ("reboot", (0xDEADBEEF, 0xCAFEBABE, 0, 0), "EPERM"),
    ],
)
def test_a_filtered_call_answers_with_its_errno_in_a_program_that_is_run_inside(
    syscalls: Berth, call: str, arguments: tuple[int, ...], filtered: str
) -> None:
    assert errno_of(syscalls, "filtered", call, *arguments) == filtered
    assert errno_of(syscalls, "unfiltered", call, *arguments) != filtered


@pytest.mark.parametrize(
    ("call", "arguments"), [("settimeofday", (0, 0)), ("init_module", (0, 0, 0)), ("open_by_handle_at", (-1, 0, 0))]
)
def test_the_baseline_holds_inside(syscalls: Berth, call: str, arguments: tuple[int, ...]) -> None:
    assert errno_of(syscalls, "filtered", call, *arguments) == "EPERM"


def test_the_clock_can_not_be_set(syscalls: Berth) -> None:
    refused = syscalls("run", "filtered", "--", "date", "-s", "2001-01-01")

    assert "Operation not permitted" in refused.stderr
    assert int(subprocess.run(["date", "+%Y"], check=True, capture_output=True, text=True).stdout) > 2020


def test_threads_and_programs_start_under_the_shield(syscalls: Berth) -> None:
    """clone3 answers ENOSYS there, and libc falls back on clone."""
    assert quick.shell(syscalls, "apt-get --version | head -1; sudo -n true && echo sudo works", "filtered").endswith(
        "works"
    )
    refused = syscalls("run", "filtered", "--", "unshare", "-U", "true")
    assert "Operation not permitted" in refused.stderr
