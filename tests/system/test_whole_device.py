"""What a container asks of the whole device: its place when memory runs out, and a device that stays awake."""

import json
import os
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import faults
from tests.conftest import Factory
from tests.faults import wait_until
from tests.program import Berth

pytestmark = pytest.mark.system

NAME = "whole"
LOCK = f"berth-{NAME}"
_SHOW = 'mount --bind "$1/power" /sys/power; mount --bind "$1/supplies" /sys/class/power_supply; echo ready; read -r _'


class Wakeful:
    """A machine that has wakelocks and a charger, as far as `berth` sees it: files in the place of the kernel's.

    No kernel of Debian's has wakelocks, so no virtual machine here could have them either.
    """

    def __init__(self, folder: Path, berth: Berth) -> None:
        self.lock, self.unlock = folder / "power" / "wake_lock", folder / "power" / "wake_unlock"
        self.online = folder / "supplies" / "usb" / "online"
        self.online.parent.mkdir(parents=True)
        self.lock.parent.mkdir()
        for path in (self.lock, self.unlock):
            path.write_text("")
        (self.online.parent / "type").write_text("USB_PD\n")
        battery = folder / "supplies" / "battery"
        battery.mkdir()
        (battery / "type").write_text("Battery\n")
        (battery / "online").write_text("1\n")
        self.plug(connected=False)
        words = ["unshare", "--mount", "--propagation=slave", "sh", "-c", _SHOW, "sh", str(folder)]
        self.holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout is not None
        assert self.holder.stdout.readline() == "ready\n"
        self.berth = Berth(berth.home)
        self.berth.command = ["nsenter", f"--target={self.holder.pid}", "--mount", "--", *berth.command]

    def plug(self, *, connected: bool) -> None:
        """Plug the charger in, or pull it out."""
        self.online.write_text(f"{connected:d}\n")

    def say_so(self) -> None:
        """Have the kernel tell everybody that something about the power has changed (Linux 4.18)."""
        text = b"change@/devices/platform/usb/power_supply/usb\0ACTION=change\0SUBSYSTEM=power_supply\0"
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15) as sender:
            sender.send(struct.pack("=IHHII", 16 + len(text), 16, 5, 1, 0) + text)
            assert struct.unpack_from("=i", sender.recv(4096), 16)[0] == 0

    @property
    def held(self) -> bool:
        return self.lock.read_text() == LOCK

    @property
    def let_go(self) -> bool:
        """Whether it was let go of since this was asked the last time; the kernel's list would be empty now."""
        if self.unlock.read_text() != LOCK:
            return False
        self.lock.write_text("")
        self.unlock.write_text("")
        return True

    def info(self) -> dict[str, object]:
        found: dict[str, object] = json.loads(self.berth.succeed("info", NAME, "--json"))
        return found


@pytest.fixture
def wakeful(scratch: Path, berth: Berth) -> Iterator[Wakeful]:
    wakeful = Wakeful(scratch / "sys", berth)
    with wakeful.holder as holder:
        yield wakeful
        wakeful.berth("stop", NAME, "--timeout", "0")
        holder.communicate("\n")


@pytest.fixture
def root(rootfs: Factory) -> Path:
    return faults.write_init(rootfs("busybox"))


def kill(pid: object) -> None:
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not faults.is_alive(pid), "it is gone")


def test_every_process_of_a_container_has_its_oom_score_and_its_monitor_has_none(berth: Berth, root: Path) -> None:
    berth.succeed("start", NAME, "--rootfs", root, "--oom-score-adj", "300")

    told = json.loads(berth.succeed("info", NAME, "--json"))
    assert told["oom_score_adj"] == 300
    assert Path(f"/proc/{told['pid']}/oom_score_adj").read_text() == "300\n"
    assert Path(f"/proc/{told['monitor_pid']}/oom_score_adj").read_text() == "0\n"
    assert berth.succeed("run", NAME, "--", "cat", "/proc/self/oom_score_adj") == "300\n"
    berth.succeed("stop", NAME)


def test_a_device_stays_awake_while_the_container_runs(wakeful: Wakeful, root: Path) -> None:
    wakeful.berth.succeed("start", NAME, "--rootfs", root, "--wakelock=running")

    wait_until(lambda: wakeful.held, "the wakelock is held")
    assert (wakeful.info()["wakelock"], wakeful.info()["awake"]) == ("running", True)
    wakeful.berth.succeed("stop", NAME)
    assert wakeful.let_go


def test_a_device_stays_awake_only_while_it_has_power(wakeful: Wakeful, root: Path) -> None:
    wakeful.berth.succeed("start", NAME, "--rootfs", root, "--wakelock=charging")
    assert not wakeful.held

    wakeful.plug(connected=True)
    wakeful.say_so()
    wait_until(lambda: wakeful.held, "the wakelock is held")

    wakeful.plug(connected=False)
    wakeful.say_so()
    wait_until(lambda: wakeful.let_go, "the wakelock is let go of")
    assert (wakeful.info()["wakelock"], wakeful.info()["awake"]) == ("charging", False)


def test_a_wakelock_that_was_left_by_a_crash_is_let_go_of(wakeful: Wakeful, root: Path) -> None:
    wakeful.berth.succeed("start", NAME, "--rootfs", root, "--wakelock=running")
    told = wakeful.info()
    wait_until(lambda: wakeful.held, "the wakelock is held")

    kill(told["monitor_pid"])
    kill(told["pid"])
    assert wakeful.held
    wakeful.berth.succeed("recover")

    assert wakeful.let_go


def test_a_new_monitor_goes_on_following_the_power(wakeful: Wakeful, root: Path) -> None:
    wakeful.berth.succeed("start", NAME, "--rootfs", root, "--wakelock=charging")
    kill(wakeful.info()["monitor_pid"])
    wakeful.berth.succeed("recover")

    wakeful.plug(connected=True)
    wakeful.say_so()

    wait_until(lambda: wakeful.held, "the wakelock is held")


def test_a_kernel_without_wakelocks_is_told_of_and_the_container_runs(berth: Berth, root: Path) -> None:
    started = berth("start", NAME, "--rootfs", root, "--wakelock=running")

    assert started.returncode == 0
    assert "--wakelock=running has no effect, because this kernel has no /sys/power/wake_lock" in started.stderr
    assert "--wakelock=running has no effect" in berth.succeed("info", NAME)
    berth.succeed("stop", NAME)


def test_a_permissive_selinux_is_asked_about_once(berth: Berth, root: Path) -> None:
    words = ("start", NAME, "--rootfs", root, "--selinux-permissive")

    refused = berth(*words, stdin="no\n")
    agreed = berth(*words, stdin=f"{NAME}\n")
    berth.succeed("stop", NAME)
    again = berth("start", NAME)
    berth.succeed("stop", NAME)

    assert (refused.returncode, agreed.returncode, again.returncode) == (1, 0, 0)
    assert f"While {NAME} runs, SELinux is permissive: then nothing keeps apps from the system" in refused.stderr
    assert refused.stderr.endswith(
        f"container {NAME}: nothing was done, because its name was not typed; type it, or give --yes\n"
    )
    assert "Type its name" not in again.stderr
    assert berth("start", "--name", "other", "--rootfs", root, "--selinux-permissive", "--yes").returncode == 0
    berth.succeed("stop", "other")
