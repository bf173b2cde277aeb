"""The kernels of old phones: newer calls answer ENOSYS, newer ioctls EINVAL, and all works without them."""

import errno
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import faults
from tests.program import Berth
from tests.refusing import refusing

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]
NAME = "old"

# By the kernel that brought them, newest first.
NEWER_CALLS = {
    "5.12": ("mount_setattr",),
    "5.9": ("close_range",),
    "5.8": ("faccessat2",),
    "5.6": ("openat2",),
    "5.3": ("clone3", "pidfd_open"),
    "5.2": ("open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick"),
    "5.1": ("pidfd_send_signal", "io_uring_setup"),
    "4.18": ("rseq",),
    "4.11": ("statx",),
}
LOOP_CONFIGURE, TIOCGPTPEER = 0x4C0A, 0x5441
NEWER_IOCTLS = (f"ioctl:1={LOOP_CONFIGURE:#x}", f"ioctl:1={TIOCGPTPEER:#x}")  # 5.8 and 4.13
ALL = tuple(call for calls in NEWER_CALLS.values() for call in calls)


def old(berth: Berth) -> Berth:
    """Return `berth` on a kernel of before 4.11, as far as calls go."""
    return refusing(refusing(berth, errno.ENOSYS, *ALL), errno.EINVAL, "bpf", *NEWER_IOCTLS)


@pytest.fixture
def root(rootfs: Factory) -> Path:
    return faults.write_init(rootfs("busybox"))


def try_everything(berth: Berth) -> None:
    """Do with the running container what one does with it, and stop it."""
    assert berth.succeed("run", NAME, "--", "echo", "here") == "here\n"
    assert berth("run", NAME, "--", "sh", "-c", "exit 7").returncode == 7
    assert berth.succeed("run", NAME, "-u", "user", "--", "id", "-u") == "1000\n"
    assert berth.succeed("enter", NAME, stdin="echo $HOME\n") == "/root\n"
    assert json.loads(berth.succeed("info", NAME, "--json"))["state"] == "running"
    berth.succeed("stop", NAME)
    assert faults.run_tree(berth) == {}


@pytest.mark.parametrize("calls", NEWER_CALLS.values(), ids=NEWER_CALLS)
def test_what_one_kernel_brought_is_not_needed(berth: Berth, root: Path, calls: tuple[str, ...]) -> None:
    without = refusing(berth, errno.ENOSYS, *calls)

    without.succeed("start", NAME, "--rootfs", root)

    assert without.succeed("run", NAME, "--", "echo", "here") == "here\n"
    without.succeed("stop", NAME)


def test_a_directory_boots(berth: Berth, root: Path) -> None:
    old(berth).succeed("start", NAME, "--rootfs", root, "--net=none", "--pids-limit", "200")
    try_everything(old(berth))


def test_an_image_boots(berth: Berth, image: Factory) -> None:
    path = image("busybox")
    old(berth).succeed("start", NAME, "--rootfs-img", path)
    try_everything(old(berth))
    assert subprocess.run(["e2fsck", "-fn", path], check=False, capture_output=True).returncode == 0


def test_a_volatile_container_forgets(berth: Berth, root: Path) -> None:
    files = faults.tree(root)
    old(berth).succeed("start", NAME, "--rootfs", root, "--volatile")
    old(berth).succeed("run", NAME, "--", "sh", "-c", "echo changed > /etc/hostname; rm /etc/passwd")
    old(berth).succeed("stop", NAME)
    assert faults.tree(root) == files


def test_a_read_only_bind_can_not_be_written(berth: Berth, root: Path, scratch: Path) -> None:
    shown = scratch / "shown"
    shown.mkdir()
    (shown / "file").write_text("as it was\n")
    old(berth).succeed("start", NAME, "--rootfs", root, "--bind-mount", f"{shown}:/mnt/shown:ro")

    result = old(berth)("run", NAME, "--", "sh", "-c", "cat /mnt/shown/file; echo changed > /mnt/shown/file")

    assert result.stdout == "as it was\n"
    assert "Read-only file system" in result.stderr
    old(berth).succeed("stop", NAME)


def test_an_init_that_reboots_comes_back(berth: Berth, root: Path) -> None:
    old(berth).succeed("start", NAME, "--rootfs", root)
    first = json.loads(berth.succeed("info", NAME, "--json"))["pid"]

    old(berth)("run", NAME, "--", "reboot", "-f")

    faults.wait_until(lambda: _pid(berth) not in (None, first), "the container has come back")
    old(berth).succeed("stop", NAME)


def _pid(berth: Berth) -> int | None:
    pid = json.loads(berth.succeed("info", NAME, "--json"))["pid"]
    assert pid is None or isinstance(pid, int)
    return pid


def test_one_off_programs_run(berth: Berth, root: Path, scratch: Path) -> None:
    (scratch / "file").write_text("mapped\n")
    run = ("run", "--rm", "--rootfs", root, "--map", str(scratch), "/mnt")
    assert old(berth).succeed(*run, "--", "cat", "/mnt/file") == "mapped\n"
    assert old(berth)(*run, "--", "sh", "-c", "echo > /mnt/file").returncode == 1
    assert old(berth)(*run, "--init", "--", "sh", "-c", "kill -9 $$").returncode == 137


def test_a_lost_monitor_is_replaced(berth: Berth, root: Path) -> None:
    old(berth).succeed("start", NAME, "--rootfs", root)
    monitor = json.loads(berth.succeed("info", NAME, "--json"))["monitor_pid"]
    faults.kill(monitor)

    assert "has a monitor again" in old(berth).succeed("recover")

    old(berth).succeed("stop", NAME)
    assert faults.run_tree(berth) == {}
