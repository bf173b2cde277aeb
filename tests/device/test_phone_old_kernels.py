"""Phones whose kernel is 5.10: with Android 11's cgroups, and with those of Android 9, which knows no cgroup2."""

import re
from collections.abc import Iterator

import pytest

from tests.device.packages import NotThere
from tests.device.phone.machine import Configuration, Phone
from tests.device.phone.nat import serves_on_nat, without_iptables
from tests.device.phone.scene import IMAGE, REFUSED, calls_inside, description, flashed, info, label, serves, state

pytestmark = [pytest.mark.device, pytest.mark.full, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", params=["a11", "a9"])
def phone(request: pytest.FixtureRequest) -> Iterator[Phone]:
    try:
        with flashed(Configuration("magisk", request.param, "5.10")) as phone:
            yield phone
    except NotThere as error:
        pytest.skip(str(error))


def test_the_service_and_the_container_are_up(phone: Phone) -> None:
    assert phone.output("uname", "-r").startswith("5.10.")
    assert serves(phone)
    assert state(phone, "box") == "running"
    assert label(phone, IMAGE) == "u:object_r:vold_data_file:s0"
    assert description(phone).startswith("Full Linux")


def test_inside_the_keyring_is_hidden_and_the_shield_holds(phone: Phone) -> None:
    assert calls_inside(phone, "box") == REFUSED


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


def test_where_iptables_does_not_work_nftables_keeps_the_rules(phone: Phone) -> None:
    without_iptables(phone)

    serves_on_nat(phone)

    assert '"firewall":"nftables"' in phone.berth("net", "--json").replace(" ", "")
