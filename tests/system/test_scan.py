"""`berth scan` finds the running containers whose records were lost, by looking at processes, and adopts them."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import faults, quick
from tests.house import House
from tests.phone import INTERNET, WIFI, wait_for
from tests.program import Berth

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]
NAME = "lost"
NOTHING = "no running container is without its record\n"


def lose(berth: Berth) -> int:
    """Kill the container's monitor and remove its record; return the pid of its init."""
    told = quick.info(berth, NAME)
    faults.kill(told["monitor_pid"])
    shutil.rmtree(berth.home / "run" / "containers" / NAME)
    assert quick.info(berth, NAME)["state"] == "stopped"
    pid: int = told["pid"]
    return pid


def test_a_container_whose_record_is_lost_is_adopted(berth: Berth, rootfs: Factory) -> None:
    quick.start(berth, rootfs("busybox"), "--memory", "64M", name=NAME)
    init = lose(berth)
    assert berth.succeed("scan") == f"container {NAME}: found and adopted, init is {init}\n"
    told = quick.info(berth, NAME)
    assert (told["state"], told["pid"]) == ("running", init)
    assert quick.shell(berth, "echo here; test -e /proc/1", name=NAME) == "here"
    assert berth.succeed("scan") == NOTHING
    assert berth.succeed("stop", NAME) == f"{NAME}: stopped\n"
    assert not faults.is_alive(init)


def test_an_image_whose_record_is_lost_is_adopted_and_given_back(berth: Berth, image: Factory) -> None:
    berth.succeed("start", NAME, "--rootfs-img", image("busybox"))
    lose(berth)
    assert "found and adopted" in berth.succeed("scan")
    berth.succeed("stop", NAME)
    assert not Path("/mnt/berth", NAME).exists()
    berth.succeed("start", NAME)
    berth.succeed("stop", NAME)


def test_a_container_whose_record_is_lost_keeps_its_network_and_leaves_nothing_of_it(house: House) -> None:
    berth, before = house.phone.berth, house.phone.state()
    address = house.start(NAME)
    lose(berth)

    assert "found and adopted" in berth.succeed("scan")

    told = quick.info(berth, NAME)
    assert (told["network"], told["address"]) == ("nat", address)
    assert house.fetch(NAME, INTERNET) == f"wifi {WIFI}"
    berth.succeed("stop", NAME)
    wait_for("the net process has ended", lambda: house.phone.net_process() is None)
    assert house.phone.state() == before


def test_one_that_can_not_be_adopted_holds_up_no_other(berth: Berth, rootfs: Factory) -> None:
    """Its settings have been changed meanwhile to an init that it has not."""
    for name in ("alike", NAME):
        quick.start(berth, rootfs("busybox"), name=name)
    faults.kill(quick.info(berth, "alike")["monitor_pid"])
    shutil.rmtree(berth.home / "run" / "containers" / "alike")
    settings = berth.home / "containers" / "alike" / "container.toml"
    kept = settings.read_text()
    settings.write_text(kept.replace(quick.INIT, "/sbin/gone"))
    lose(berth)

    said = berth.succeed("scan").splitlines()

    assert said[0].startswith("container alike: runs (init is ")
    assert said[1].startswith(f"container {NAME}: found and adopted")
    settings.write_text(kept)
    assert "container alike: found and adopted" in berth.succeed("scan")
    berth.succeed("stop", f"alike,{NAME}")


def test_a_container_whose_settings_are_lost_as_well_is_named(berth: Berth, rootfs: Factory) -> None:
    quick.start(berth, rootfs("busybox"), name=NAME)
    init = lose(berth)
    settings = berth.home / "containers" / NAME / "container.toml"
    kept = settings.read_bytes()
    settings.unlink()
    assert f"container {NAME}: runs (init is {init}), but" in berth.succeed("scan")
    settings.write_bytes(kept)
    assert "found and adopted" in berth.succeed("scan")
    berth.succeed("stop", NAME)


def test_neither_what_has_its_record_nor_a_stranger_is_adopted(berth: Berth, rootfs: Factory, scratch: Path) -> None:
    quick.start(berth, rootfs("busybox"), name=NAME)
    other = Berth(scratch / "other")
    other.home.mkdir()
    assert [one.succeed("scan") for one in (berth, other)] == [NOTHING] * 2
    lose(berth)
    assert other.succeed("scan") == NOTHING, "it is another home's"
    assert "found and adopted" in berth.succeed("scan")
    berth.succeed("stop", NAME)
    assert os.listdir(other.home) in ([], ["run"])
