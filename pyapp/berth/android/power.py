"""The device's battery and chargers, as the kernel tells of them.

See its Documentation/ABI/testing/sysfs-class-power.
"""

import os

from msgspec import Struct

from berth.kernel.files import read_file

_SUPPLIES = "/sys/class/power_supply"
_CHARGED = ("Charging", "Full")


class Battery(Struct, frozen=True):
    """Charge in percent."""

    percent: float
    charging: bool


def read_battery() -> Battery | None:
    """Return the device's own battery, None where there is none.

    The charge is `capacity`, which Android shows as well (healthd's BatteryMonitor): what drivers of phones keep in
    `charge_now` is not always a charge.
    """
    for supply in _supplies():
        charge = _value(supply, "capacity")
        if _value(supply, "type") == "Battery" and _value(supply, "scope") != "Device" and charge.isdigit():
            return Battery(float(charge), _value(supply, "status") in _CHARGED)
    return None


def has_power() -> bool:
    """Tell whether the device hangs on a charger: a supply that is no battery is online.

    An `online` of 2 is a charger whose voltage is chosen.
    """
    return any(
        _value(supply, "type") not in ("Battery", "BMS", "Unknown", "") and _value(supply, "online") in ("1", "2")
        for supply in _supplies()
    )


def _supplies() -> list[str]:
    try:
        return sorted(os.listdir(_SUPPLIES))
    except FileNotFoundError:
        return []


def _value(supply: str, name: str) -> str:
    try:
        return read_file(f"{_SUPPLIES}/{supply}/{name}").decode(errors="replace").strip()
    except OSError:
        return ""  # the driver has no such value, or no answer now
