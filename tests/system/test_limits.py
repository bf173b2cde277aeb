"""Limits hold, and root inside can't lift them: not by what it sees of cgroups, nor by what it mounts itself."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import quick
from tests.program import Berth

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]

# Mounts the hierarchy of a controller, finds the file and writes to it what would lift the limit.
LIFT = """
for kind in cgroup cgroup2; do
    mount -t $kind -o {controller} none /mnt 2>/dev/null || continue
    find /mnt /sys/fs/cgroup -name '{file}' | while read file; do echo {value} > "$file"; done
    umount /mnt
done
for file in $(find /sys/fs/cgroup -name '{file}'); do echo {value} > $file; done
true
"""


def lift(berth: Berth, controller: str, value: str, *files: str) -> None:
    for file in files:
        berth("run", "quay", "--", "/bin/sh", "-c", LIFT.format(controller=controller, file=file, value=value))


@pytest.fixture
def root(rootfs: Factory) -> Path:
    return rootfs("busybox")


def folder_of(berth: Berth, controller: str) -> Path:
    """The host's folder with the limits of container `quay`."""
    lines = Path(f"/proc/{quick.info(berth)['pid']}/cgroup").read_text().splitlines()
    path = next(line.split(":", 2)[2] for line in lines if controller in line.split(":")[1].split(","))
    for mount in Path("/proc/self/mountinfo").read_text().splitlines():
        about, _, filesystem = mount.partition(" - ")
        if filesystem.startswith("cgroup ") and controller in filesystem.split()[-1].split(","):
            return Path(about.split(" ")[4] + path).parent
    raise AssertionError(f"no hierarchy has {controller}")


def test_too_many_processes_are_refused_and_root_inside_can_not_lift_it(berth: Berth, root: Path) -> None:
    quick.start(berth, root, "--pids-limit", "20")
    many = "for i in $(seq 40); do sleep 1000 >/dev/null 2>&1 & done"

    for _ in range(2):
        refused = berth("run", "quay", "--", "/bin/sh", "-c", many)
        assert "can't fork" in refused.stderr
        assert (folder_of(berth, "pids") / "pids.max").read_text() == "20\n"
        end_sleepers(folder_of(berth, "pids"), "1000")
        quick.wait_for(lambda: berth("run", "quay", "--", "/bin/sh", "-c", "true | true").returncode == 0 or None)
        lift(berth, "pids", "max", "pids.max")

    berth.succeed("stop", "quay")


def end_sleepers(group: Path, seconds: str) -> None:
    """Kill what sleeps in a container for so many seconds, from outside: inside there is no room for one more."""
    for pid in map(int, " ".join(path.read_text() for path in group.rglob("cgroup.procs")).split()):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # what ran the shell may be about to end
            if Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1:2] == [seconds.encode()]:
                os.kill(pid, signal.SIGKILL)


def test_memory_is_limited_and_root_inside_can_not_lift_it(berth: Berth, root: Path) -> None:
    quick.start(berth, root, "--memory", "48M")
    hungry = "dd if=/dev/zero of=/dev/null bs=100M count=1"

    for _ in range(2):
        killed = berth("run", "quay", "--", "/bin/sh", "-c", hungry)
        assert killed.returncode in (137, 1)
        assert int((folder_of(berth, "memory") / "memory.limit_in_bytes").read_text()) == 48 << 20
        lift(berth, "memory", "-1", "memory.memsw.limit_in_bytes", "memory.limit_in_bytes")

    assert quick.inside(berth, "echo", "alive") == "alive"
    berth.succeed("stop", "quay")


def test_processor_time_is_limited_and_root_inside_can_not_lift_it(berth: Berth, root: Path) -> None:
    quick.start(berth, root, "--cpus", "0.25")
    lift(berth, "cpu", "-1", "cpu.cfs_quota_us")
    usage = folder_of(berth, "cpuacct") / "cpuacct.usage"
    before, began = int(usage.read_text()), time.monotonic()

    berth("run", "quay", "--", "/bin/sh", "-c", "while :; do :; done & while :; do :; done & sleep 2; kill $(jobs -p)")

    used, passed = (int(usage.read_text()) - before) / 1e9, time.monotonic() - began
    assert used < 0.25 * passed + 0.2
    berth.succeed("stop", "quay")


def test_whoever_finds_no_room_for_one_more_process_is_told_so(berth: Berth, root: Path) -> None:
    quick.start(berth, root, "--pids-limit", "16")
    berth("run", "quay", "--", "/bin/sh", "-c", "while sleep 1000 </dev/null >/dev/null 2>&1 & do :; done")

    refused = berth("run", "quay", "--", "true")

    assert refused.returncode == 1
    assert refused.stderr == (
        "berth: container quay: has as many processes as its limit allows; end some inside, or start it with a larger"
        " --pids-limit\n"
    )
    berth.succeed("stop", "quay")


def test_a_cgroup_that_is_mounted_inside_shows_the_container_only(berth: Berth, root: Path) -> None:
    """No way up: neither the group with the limits, nor release_agent, by which the host would run a program."""
    quick.start(berth, root, "--memory", "48M")

    seen = quick.shell(berth, "mount -t cgroup -o memory none /mnt && ls /mnt && umount /mnt").split()

    assert "memory.limit_in_bytes" in seen
    assert not [name for name in seen if name in ("release_agent", "payload", "berth", "quay")]
    berth.succeed("stop", "quay")


def test_limits_are_still_there_after_a_reboot_inside(berth: Berth, root: Path) -> None:
    quick.start(berth, root, "--pids-limit", "20", "--memory", "48M")
    pid = quick.info(berth)["pid"]

    berth("run", "quay", "--", "reboot", "-f")
    quick.wait_for(lambda: quick.info(berth)["pid"] not in (pid, None) or None)

    assert (folder_of(berth, "pids") / "pids.max").read_text() == "20\n"
    assert (folder_of(berth, "memory") / "memory.limit_in_bytes").read_text() == f"{48 << 20}\n"
    berth.succeed("stop", "quay")


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--memory", "10"), ("--memory", "lots"), ("--cpus", "0"), ("--cpus", "-1"), ("--pids-limit", "0")],
)
def test_a_limit_that_makes_no_sense_is_refused(berth: Berth, root: Path, flag: str, value: str) -> None:
    refused = berth("start", "quay", "--rootfs", root, f"{flag}={value}")

    assert refused.returncode == 2
    assert flag.removeprefix("--").partition("-")[0] in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
