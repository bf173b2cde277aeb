"""What happens to a phone in the long run: another version, a battery that dies, a large distribution."""

import os
import random
import re
import time

import pytest

from tests import rootfs
from tests.device.phone.machine import BERTH, HOME, Configuration, Phone
from tests.device.phone.module import NEWER
from tests.device.phone.scene import IMAGE, MODULE, body, description, info, install, serves, state

pytestmark = [pytest.mark.device, pytest.mark.full]

MOMENTS = 10
LONGEST = 6.0  # seconds: an emulated start or stop takes two to four
BROKEN = re.compile(
    r"EXT4-fs error|EXT4-fs \(.*\): .*corrupt|I/O error|Structure needs cleaning|F2FS-fs .*: (?:Fix|Inconsistent)"
)
DEBIAN = "/data/local/debian.img"
DEBIAN_SECONDS = 240.0


@pytest.mark.timeout(900)
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


@pytest.mark.timeout(900)
def test_a_debian_image_boots_to_running(phone: Phone, capsys: pytest.CaptureFixture[str]) -> None:
    phone.berth("stop", "box")
    phone.output("cp", f"/mnt/parcel/{rootfs.image('debian-systemd').name}", DEBIAN, seconds=300.0)
    began = time.monotonic()

    phone.berth("start", "--name", "debian", "--rootfs-img", DEBIAN)

    waiting = ("systemctl", "is-system-running", "--wait")
    until = time.monotonic() + DEBIAN_SECONDS
    while (said := phone.inside("debian", *waiting).out.strip()) in ("", "initializing", "starting"):
        assert time.monotonic() < until, f"systemd is still {said or 'silent'} after {DEBIAN_SECONDS:g} s"
    with capsys.disabled():
        print(f"\nDebian with systemd is {said} {time.monotonic() - began:.0f} s after its start (emulated processor)")
    assert phone.inside("debian", "systemctl", "--failed", "--no-legend").out == ""
    assert said == "running"
    phone.berth("stop", "debian")
    assert phone.sh("grep -c debian /proc/mounts").out == "0\n"


@pytest.mark.timeout(1800)
def test_a_battery_that_dies_at_any_moment_leaves_a_phone_that_comes_up_clean(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seed = os.environ.get("BERTH_SEED") or os.urandom(4).hex()
    chance = random.Random(seed)
    with capsys.disabled():
        print(f"\nthe battery dies by BERTH_SEED={seed}")
    with body(Configuration("magisk", "a12")) as switched_off:
        with switched_off.powered() as phone:
            install(phone)
            phone.output("sync")
        for _ in range(MOMENTS):
            with switched_off.powered() as phone:
                expect_clean(phone)
                verb = chance.choice(("start", "stop", "restart"))
                if verb == "start":
                    phone.berth("stop", "box")
                phone.start(BERTH, verb, "box")
                time.sleep(chance.uniform(0, LONGEST))
        with switched_off.powered() as phone:
            expect_clean(phone)


def expect_clean(phone: Phone) -> None:
    """Expect that everything has come up, by itself or at the first wish, and that no file system has suffered."""
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
    phone.berth("start", "box")
