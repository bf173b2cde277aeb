"""What `--force-cgroupv1` shows inside: each hierarchy of the host, of each its own part only, in a sealed folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from berth.engine.cgroup_mounts import read_cgroup_mounts
from tests import quick
from tests.program import Berth

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]
LABELS: Final = {
    ",".join(mount.controllers).removeprefix("name=")
    for mount in read_cgroup_mounts()
    if mount.version == 1 and "schedtune" not in mount.controllers
}


def test_each_hierarchy_is_there_with_the_containers_own_part(berth: Berth, rootfs: Factory) -> None:
    quick.start(berth, rootfs("busybox"), "--force-cgroupv1", "--memory", "64M", "--pids-limit", "40")

    mounted = [line.split(" ") for line in quick.inside(berth, "cat", "/proc/self/mountinfo").splitlines()]
    shown = {words[4].removeprefix("/sys/fs/cgroup/") for words in mounted if " - cgroup " in " ".join(words)}
    assert {"memory", "pids"} <= shown == LABELS
    *_, sealed = [words for words in mounted if words[4] == "/sys/fs/cgroup"]
    assert "ro" in sealed[5].split(",")
    assert "Read-only file system" in berth("run", "quay", "--", "mkdir", "/sys/fs/cgroup/mine").stderr
    assert {line.split(":")[2] for line in quick.inside(berth, "cat", "/proc/self/cgroup").splitlines()} == {"/"}
    assert "berth" not in quick.shell(berth, "ls /sys/fs/cgroup/*").split()

    made = "mkdir /sys/fs/cgroup/pids/mine; echo $$ > /sys/fs/cgroup/pids/mine/cgroup.procs; cat /proc/self/cgroup"
    assert ":pids:/mine" in quick.shell(berth, made)
    assert quick.inside(berth, "cat", "/sys/fs/cgroup/pids/pids.max") == "max", "the limit is held above"
    refused = berth("run", "quay", "--", "/bin/sh", "-c", "for i in $(seq 60); do sleep 1000 >/dev/null 2>&1 & done")
    assert "can't fork" in refused.stderr
    berth.succeed("stop", "quay")


def test_systemd_boots_on_cgroup_v1(berth: Berth, rootfs: Factory) -> None:
    berth.succeed("start", "quay", "--rootfs", rootfs("debian-systemd"), "--force-cgroupv1")

    assert quick.booted(berth) == "running"
    assert quick.inside(berth, "systemctl", "--failed", "--no-legend") == ""
    assert ":name=systemd:/init.scope" in quick.inside(berth, "cat", "/proc/1/cgroup")
    berth.succeed("stop", "quay")
