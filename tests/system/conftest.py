"""The phone of `tests.phone` and the house on it, for each test that asks for one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house import Factory, House
from tests.phone import ANDROID, Phone, wait_for
from tests.program import Berth

PROGRAMS = "/usr/sbin/xtables-nft-multi"
LEGACY = "/usr/sbin/xtables-legacy-multi"


@pytest.fixture
def phone(berth: Berth, scratch: Path) -> Iterator[Phone]:
    """A phone on its Wi-Fi; fails the test that leaves anything in its network."""
    made = Phone(berth, scratch)
    made.use_wifi()
    before = made.state()
    yield made
    left = made.berth("stop", "--all", "--timeout", "2").stderr
    made.berth("recover")
    wait_for("the net process has ended", lambda: made.net_process() is None)
    different = made.changes(before)
    made.end()
    assert not different, "the phone is not as it was:\n" + "\n".join((*different, left))


@pytest.fixture
def house(phone: Phone, rootfs: Factory) -> House:
    return House(phone, rootfs)


@pytest.fixture
def on_android(rootfs: Factory, phone: Phone) -> Iterator[House]:
    """A house on a phone whose network is netd's; that part of it is the test's own, and put back."""
    phone.shell(ANDROID)
    yield House(phone, rootfs)
    phone.berth("stop", "--all", "--timeout", "2")
    phone.put_back()


@pytest.fixture(params=("iptables-legacy", "iptables-nft", "nftables"))
def walled(request: pytest.FixtureRequest, phone: Phone, rootfs: Factory) -> tuple[str, House]:
    """The firewall's name, and a house on a phone that has no other one."""
    kind: str = request.param
    if kind == "iptables-legacy":
        phone.succeed("mount", "--bind", LEGACY, PROGRAMS)
    elif kind == "nftables":
        phone.succeed("mount", "--bind", "/dev/null", PROGRAMS)
    return kind, House(phone, rootfs)


@pytest.fixture
def walled_on_android(walled: tuple[str, House]) -> Iterator[House]:
    """Such a house on a phone whose network is netd's."""
    _, house = walled
    house.phone.shell(ANDROID)
    yield house
    house.phone.berth("stop", "--all", "--timeout", "2")
    house.phone.put_back()
