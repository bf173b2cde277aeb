"""What only KernelSU does: it links the command, sets no umask, and may run its stages again within one boot."""

import pytest

from tests.device.phone.machine import HOME, Phone
from tests.device.phone.scene import MODULE, description, info, serves, service_pid

pytestmark = [pytest.mark.device, pytest.mark.full, pytest.mark.timeout(900), pytest.mark.only(manager="ksu")]

LINK = "/data/adb/ksu/bin/berth"
STAGE = "/system/etc/bench/manager"


def test_the_container_has_its_place_in_the_only_cgroup_tree(phone: Phone) -> None:
    init = info(phone, "box")["pid"]

    assert phone.read(f"/proc/{init}/cgroup") == "0::/berth/box/payload"


def test_the_command_is_on_the_managers_path(phone: Phone) -> None:
    assert "box" in phone.output("berth", "list", "--names")
    assert phone.output("readlink", LINK) == f"{MODULE}/bin/berth"


def test_what_kernelsu_runs_without_a_umask_makes_nothing_for_everybody(phone: Phone) -> None:
    assert phone.output("find", HOME, "-perm", "-002", "!", "-type", "l") == ""


def test_stages_that_run_again_within_a_boot_change_nothing(phone: Phone) -> None:
    service, init = service_pid(phone), info(phone, "box")["pid"]

    phone.output("sh", STAGE, "ksu", "post-fs-data")
    phone.output("sh", STAGE, "ksu", "service")
    phone.wait_until(lambda: not scripts(phone, service), "the second service.sh has seen that it is not needed")

    assert (service_pid(phone), info(phone, "box")["pid"]) == (service, init)
    assert serves(phone)
    assert phone.inside("box", "true").code == 0
    assert "[" not in description(phone)


def scripts(phone: Phone, service: int) -> list[str]:
    """Return the pids of every service.sh but the one that began `service`."""
    first = phone.output("sed", "-n", "s/^PPid:[^0-9]*//p", f"/proc/{service}/status")
    return [pid for pid in phone.sh("pgrep -f [b]erth/service.sh").out.split() if pid != first]


def test_uninstalling_takes_the_command_away(phone: Phone) -> None:
    phone.script(f"{MODULE}/uninstall.sh")

    assert phone.run("ls", LINK).code != 0
    assert not serves(phone)
    assert phone.run("ls", f"{HOME}/containers/box/container.toml").code == 0
