"""Kernel 5.10 with Android 11's cgroups, and with those of Android 9, which knows no cgroup2."""

import re

import pytest

from tests.device.phone.machine import Phone
from tests.device.phone.scene import info

pytestmark = [pytest.mark.device, pytest.mark.full, pytest.mark.timeout(900), pytest.mark.only(kernel="5.10")]


def test_the_container_has_its_place_in_every_hierarchy(phone: Phone) -> None:
    init = info(phone, "box")["pid"]
    groups = dict(line.split(":")[1:] for line in phone.read(f"/proc/{init}/cgroup").splitlines())

    assert {groups[name] for name in ("", "cpu", "cpuset", "memory", "cpuacct", "blkio")} == {"/berth/box/payload"}
    assert re.search(r" /sys/fs/cgroup rw.* - cgroup2 ", phone.inside("box", "cat", "/proc/self/mountinfo").out)


def test_a_limit_holds(phone: Phone) -> None:
    phone.berth("stop", "box")
    phone.berth("start", "box", "--memory", "64M")

    assert phone.eat("box", 16).code == 0
    assert phone.eat("box", 100).code == 137
