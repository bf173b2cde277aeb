"""A PID 1 that the kernel holds: that is said, and nobody waits for it.

Here it writes to a file system that is frozen, which no signal ends: the image of its own, and no other.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.kernel.processes import status_field
from tests import callers, faults, quick
from tests.conftest import Factory
from tests.program import Berth

pytestmark = pytest.mark.system

NAME = "stuck-one"
INIT = """\
#!/bin/sh
trap 'echo heard > /root/heard; exit 0' TERM
while :; do sleep 1000 & wait $!; done
"""
# Freezes the file system of the descriptor that it is given until whoever asked for it has gone, by whatever end.
FREEZER = """\
import fcntl, sys
fcntl.ioctl(int(sys.argv[1]), 0xC0045877, 0)
print("frozen", flush=True)
sys.stdin.read()
fcntl.ioctl(int(sys.argv[1]), 0xC0045878, 0)
"""


@pytest.fixture
def frozen(berth: Berth, image: Factory) -> Iterator[int]:
    """A container whose image is frozen; yields the pid of its init, which tries to write there."""
    path = image("busybox")
    berth.succeed("start", NAME, "--rootfs-img", path, "--init", inject(path))
    told = quick.info(berth, NAME)
    place = os.open(f"/proc/{told['monitor_pid']}/root/mnt/berth/{NAME}", os.O_RDONLY | os.O_DIRECTORY)
    try:
        loop = Path("/sys/block", Path(told["image"]["device"]).name, "dev").read_text().strip()
        found = os.fstat(place).st_dev
        assert f"{os.major(found)}:{os.minor(found)}" == loop, "it must be the image's own"
        command = [sys.executable, "-ISc", FREEZER, str(place)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, pass_fds=[place]) as freezer:
            assert freezer.stdout is not None
            assert freezer.stdout.readline() == "frozen\n"
            faults.await_catching(told["pid"], signal.SIGTERM)
            os.kill(told["pid"], signal.SIGTERM)
            callers.await_state(told["pid"], "D")
            yield told["pid"]
    finally:
        os.close(place)
    faults.wait_until(lambda: faults.condition(berth, NAME) == "stopped", "it has ended, and its monitor has undone it")


def inject(image: Path) -> str:
    """Put the init into the image and return its path inside."""
    script = image.with_name("stuck-init")
    script.write_text(INIT)
    requests = f"write {script} /sbin/stuck-init\nset_inode_field /sbin/stuck-init mode 0100755\n"
    subprocess.run(["debugfs", "-w", "-f", "-", image], input=requests, check=True, capture_output=True, text=True)
    return "/sbin/stuck-init"


def test_a_pid_1_that_is_stuck_in_the_kernel_is_reported_and_not_waited_for(berth: Berth, frozen: int) -> None:
    began = time.monotonic()

    refused = berth("stop", NAME, "--timeout", "1")

    assert time.monotonic() - began < 25  # it takes six: a second to end by itself, five to be killed
    assert (status_field(frozen, "State") or "").startswith("D")
    assert refused.returncode == 1
    assert refused.stderr == (
        f"berth: container {NAME}: PID 1 ({frozen}) is stuck in the kernel and can't be killed; it goes with the next"
        " reboot\n"
    )
    assert faults.is_alive(frozen)
