"""What happens to a phone in the long run: other versions, crashes, a battery that dies, a large distribution."""

import os
import random
import re
import time

import pytest

from tests import rootfs
from tests.device.machine import patience
from tests.device.phone.doors import bridge
from tests.device.phone.machine import BERTH, HOME, Configuration, Phone
from tests.device.phone.module import NEWER
from tests.device.phone.scene import IMAGE, MODULE, body, crash, description, info, install, make_tree, serves, state

pytestmark = [pytest.mark.device, pytest.mark.timeout(900)]

MOMENTS = 10
LONGEST = 6.0  # seconds: an emulated start or stop takes two to four
BROKEN = re.compile(
    r"EXT4-fs error|EXT4-fs \(.*\): .*corrupt|I/O error|Structure needs cleaning|F2FS-fs .*: (?:Fix|Inconsistent)"
)
DEBIAN = "/data/local/debian.img"
DEBIAN_SECONDS = 240.0
NOT_YET = ("", "offline", "unknown", "initializing", "starting")
"""What systemd says until it is up: "offline" is that it has not mounted its own folders, "unknown" that it is deaf."""


@pytest.mark.full
def test_an_update_waits_for_the_reboot_while_its_container_runs_on(phone: Phone) -> None:
    init, before = info(phone, "box")["pid"], version(phone)

    said = phone.flash("/mnt/parcel/newer.zip")

    assert "what runs goes on until the reboot" in said
    assert info(phone, "box")["pid"] == init
    assert phone.inside("box", "true").code == 0
    assert serves(phone)
    assert phone.run("ls", f"{MODULE}/update").code == 0

    phone.reboot()

    phone.wait_until(lambda: state(phone, "box") == "running", "the container has started by itself", 120.0)
    assert (before, version(phone)) == (before, NEWER) != (before, before)
    assert phone.run("ls", f"{MODULE}/update").code != 0
    assert info(phone)["kept_back"] == {}
    assert "[" not in description(phone)


def version(phone: Phone) -> str:
    return phone.output("sed", "-n", "s/^version=//p", f"{MODULE}/module.prop")


@pytest.mark.full
def test_a_debian_image_boots_to_running(phone: Phone, capsys: pytest.CaptureFixture[str]) -> None:
    phone.berth("stop", "box")
    phone.output("cp", f"/mnt/parcel/{rootfs.image('debian-systemd').name}", DEBIAN, seconds=300.0)
    began = time.monotonic()

    phone.berth("start", "--name", "debian", "--rootfs-img", DEBIAN)

    waiting = ("systemctl", "is-system-running", "--wait")
    while (said := phone.inside("debian", *waiting).out.strip()) in NOT_YET:
        assert time.monotonic() - began < patience(DEBIAN_SECONDS), f"systemd is still {said or 'silent'}"
    with capsys.disabled():
        print(f"\nDebian with systemd is {said} {time.monotonic() - began:.0f} s after its start (emulated processor)")
    assert phone.inside("debian", "systemctl", "--failed", "--no-legend").out == ""
    assert said == "running"
    phone.berth("stop", "debian")
    assert phone.sh("grep -c debian /proc/mounts").out == "0\n"


def test_a_phone_whose_battery_dies_during_a_start_or_stop_comes_up_clean(
    phone: Phone, capsys: pytest.CaptureFixture[str]
) -> None:
    begin_something(phone, random_by_seed(capsys))
    phone.reset()
    expect_clean(phone)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_a_battery_that_dies_again_and_again_never_leaves_anything(capsys: pytest.CaptureFixture[str]) -> None:
    chance = random_by_seed(capsys)
    with body(Configuration("magisk", "a12", "6.1")) as switched_off:
        with switched_off.powered() as phone:
            install(phone)
            phone.output("sync")
        for _ in range(MOMENTS):
            with switched_off.powered() as phone:
                expect_clean(phone)
                begin_something(phone, chance)
        with switched_off.powered() as phone:
            expect_clean(phone)


def random_by_seed(capsys: pytest.CaptureFixture[str]) -> random.Random:
    """Return what chooses moments; the seed is shown, and taken from the environment to have them again."""
    seed = os.environ.get("BERTH_SEED") or os.urandom(4).hex()
    with capsys.disabled():
        print(f"\nthe battery dies by BERTH_SEED={seed}")
    return random.Random(seed)


def begin_something(phone: Phone, chance: random.Random) -> None:
    """Return at some moment of a start, stop or restart of the container."""
    verb = chance.choice(("start", "stop", "restart"))
    first = "stop" if verb == "start" else "start"
    if (state(phone, "box") == "running") == (verb == "start"):
        phone.berth(first, "box")
    phone.start(BERTH, verb, "box")
    time.sleep(chance.uniform(0, LONGEST))


def expect_clean(phone: Phone) -> None:
    """Expect that everything has come up, by itself or at the first wish, and that no file system has suffered.

    The container is stopped then.
    """
    phone.wait_until(lambda: serves(phone), "the service is up")
    phone.wait_until(lambda: state(phone, "box") == "running" or info(phone)["kept_back"], "it is up or kept back")
    if info(phone)["kept_back"]:
        assert description(phone).startswith("[Safe mode: not started by itself")
        assert phone.berth("safe-mode", "--again") == "box: started"
    assert phone.berth("recover") == "there is nothing to recover"
    assert phone.inside("box", "touch", "/written").code == 0
    phone.berth("stop", "box")
    checked = phone.run(f"{MODULE}/runtime/bin/e2fsck", "-f", "-n", IMAGE)
    assert checked.code == 0, checked
    assert phone.run("ls", f"{HOME}/containers/box/container.toml").code == 0
    assert BROKEN.findall(phone.sh("dmesg").out) == []


@pytest.mark.full
def test_what_needs_an_unlocked_phone_waits_for_that_and_after_two_deaths_in_a_row_nothing_starts_until_one_tap(
    phone: Phone,
) -> None:
    make_tree(phone)
    phone.output("mkdir", "/data/local/tree/photos")
    photos = ("--bind-mount", "/data/media/0:/photos", "--autostart")
    phone.berth("start", "--name", "photos", "--rootfs", "/data/local/tree", *photos)
    phone.output("sync")  # or its init is an empty file after the crash

    crash(phone)

    assert list(info(phone)["kept_back"]) == ["box"]
    assert state(phone, "photos") == "stopped"
    phone.output("setprop", "sys.user.0.ce_available", "true")
    phone.wait_until(lambda: state(phone, "photos") == "running", "it starts with the unlock", 180.0)

    phone.reset()
    phone.wait_until(lambda: serves(phone), "the service is up")

    why = "the phone went down 2 times in a row while containers were starting: box, photos"
    assert description(phone).startswith(f"[Safe mode: nothing starts by itself, because {why}] ")
    kept_back = dict.fromkeys(("box", "photos"), why)
    assert info(phone)["kept_back"] == bridge(phone, "GET", "/settings").body["kept_back"] == kept_back
    phone.output("setprop", "sys.user.0.ce_available", "true")
    phone.berth("recover")  # what the service does first has been done when this has
    assert (state(phone, "box"), state(phone, "photos")) == ("stopped", "stopped")

    assert bridge(phone, "PUT", "/settings", {"safe_mode": False}).body["kept_back"] == {}

    assert "[" not in description(phone)
    phone.wait_until(lambda: state(phone, "box") == state(phone, "photos") == "running", "both start again", 120.0)
    assert {phone.run("ls", f"{HOME}/starting/{name}").code for name in ("box", "photos")} == {0}


@pytest.mark.full
@pytest.mark.only(cgroups="a12")
def test_what_the_phone_has_lived_with_for_two_minutes_is_not_blamed_for_its_death(phone: Phone) -> None:
    marker = f"{HOME}/starting/box"
    assert phone.run("ls", marker).code == 0
    phone.wait_until(lambda: phone.run("ls", marker).code != 0, "two minutes have passed", 300.0)

    crash(phone)

    phone.wait_until(lambda: state(phone, "box") == "running", "it starts by itself", 180.0)
    assert info(phone)["kept_back"] == {}


@pytest.mark.full
def test_disabled_in_the_manager_the_module_does_nothing_and_touches_no_data(phone: Phone) -> None:
    phone.output("touch", f"{MODULE}/disable")
    phone.reboot()
    assert not serves(phone)
    assert state(phone, "box") != "running"
    assert phone.run("ls", IMAGE, f"{HOME}/containers/box/container.toml").code == 0
