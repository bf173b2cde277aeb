"""The phone's battery, charger and warmth (phone/power.asl): told of, and what keeps it awake while it is charged."""

import pytest

from tests.device.phone.doors import bridge
from tests.device.phone.machine import Phone
from tests.device.phone.scene import info, serves, service_pid

pytestmark = [pytest.mark.device, pytest.mark.timeout(900)]

PLUG = "echo {0:d} >$(dirname $(grep -lx Fan /sys/class/thermal/cooling_device*/type))/cur_state"
POWER = "/data/local/power"


def plug(phone: Phone, *, connected: bool) -> None:
    """Plug the charger in, or pull it out."""
    phone.output("sh", "-c", PLUG.format(connected))


def test_the_dashboard_tells_of_charge_charger_and_warmth(phone: Phone) -> None:
    plug(phone, connected=False)
    phone.wait_until(lambda: battery(phone) == {"percent": 60.0, "charging": False}, "the battery is used")
    plug(phone, connected=True)
    phone.wait_until(lambda: battery(phone) == {"percent": 60.0, "charging": True}, "the battery is charged")
    assert statistics(phone)["temperature"] == pytest.approx(36.5)


def battery(phone: Phone) -> object:
    """What is told of the battery; the kernel's driver asks it no more than once in a second."""
    return statistics(phone)["battery"]


def statistics(phone: Phone) -> dict[str, object]:
    told: dict[str, object] = bridge(phone, "GET", "/host/statistics").body
    return told


def test_a_container_keeps_the_phone_awake_while_it_is_charged(phone: Phone) -> None:
    """No kernel of Debian's has wakelocks, so files are in their place; that the charger is there, the kernel tells."""
    phone.berth("stop", "box")
    plug(phone, connected=False)
    phone.output("mkdir", POWER)
    phone.output("touch", f"{POWER}/wake_lock", f"{POWER}/wake_unlock")
    phone.output("mount", "-o", "bind", POWER, "/sys/power")
    service = service_pid(phone)
    phone.output("kill", "-9", str(service))  # the next one sees them
    phone.wait_until(lambda: service_pid(phone) not in (0, service) and serves(phone), "the service is back")

    phone.berth("start", "box", "--wakelock=charging")
    assert (info(phone, "box")["wakelock"], info(phone, "box")["awake"]) == ("charging", False)
    plug(phone, connected=True)
    phone.wait_until(lambda: phone.read(f"{POWER}/wake_lock") == "berth-box", "the phone is kept awake")
    assert info(phone, "box")["awake"]
    plug(phone, connected=False)
    phone.wait_until(lambda: phone.read(f"{POWER}/wake_unlock") == "berth-box", "the phone may sleep")
    phone.berth("stop", "box")
