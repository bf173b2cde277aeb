"""A phone with KernelSU and everything on cgroup2: flash, reboot, touch nothing."""

from collections.abc import Iterator

import pytest

from tests.device.phone.machine import HOME, Configuration, Phone
from tests.device.phone.scene import (
    IMAGE,
    REFUSED,
    calls_inside,
    description,
    flashed,
    info,
    label,
    serves,
    state,
)

pytestmark = [pytest.mark.device, pytest.mark.full, pytest.mark.timeout(900)]

LINK = "/data/adb/ksu/bin/berth"


@pytest.fixture(scope="module")
def phone() -> Iterator[Phone]:
    with flashed(Configuration("ksu", "v2")) as phone:
        yield phone


def test_the_service_and_the_container_are_up(phone: Phone) -> None:
    assert phone.read("/proc/self/attr/current").rstrip("\0") == "u:r:ksu:s0"
    assert serves(phone)
    assert state(phone, "box") == "running"
    assert label(phone, IMAGE) == "u:object_r:vold_data_file:s0"
    assert description(phone).startswith("Full Linux")


def test_the_container_has_its_place_in_the_only_cgroup_tree(phone: Phone) -> None:
    init = info(phone, "box")["pid"]

    assert phone.read(f"/proc/{init}/cgroup") == "0::/berth/box/payload"


def test_inside_the_keyring_is_hidden_and_the_shield_holds(phone: Phone) -> None:
    assert calls_inside(phone, "box") == REFUSED


def test_the_command_is_on_the_managers_path(phone: Phone) -> None:
    assert "box" in phone.output("berth", "list", "--names")
    assert phone.output("readlink", LINK) == "/data/adb/modules/berth/bin/berth"


def test_what_kernelsu_runs_without_a_umask_makes_nothing_for_everybody(phone: Phone) -> None:
    assert phone.output("find", HOME, "-perm", "-002", "!", "-type", "l") == ""


def test_uninstalling_takes_the_command_away(phone: Phone) -> None:
    phone.script("/data/adb/modules/berth/uninstall.sh")

    assert phone.run("ls", LINK).code != 0
    assert not serves(phone)
    assert phone.run("ls", f"{HOME}/containers/box/container.toml").code == 0
