"""Has the phone forward packets, and puts that back.

Android's netd switches forwarding on while anybody asks for it and off when the last one, such as tethering, no longer
does; so it is asked by name (`ndc ipfwd`, netd's NdcDispatcher.cpp).  Elsewhere the kernel's own settings are changed.
"""

import shutil
import subprocess
from collections.abc import Iterable, Mapping
from typing import Final

from berth.network import sysctls
from berth.network.sysctls import FORWARDING, FORWARDING6
from berth.network.tools import FOLDERS

_REQUESTER: Final = "berth"
_SECONDS: Final = 5.0
_SWITCHES: Final = (FORWARDING, FORWARDING6)


def settings_for(*, ipv6: bool) -> dict[str, str]:
    """Return what must be set while packets are forwarded."""
    return {FORWARDING: "1", **(sysctls.for_forwarding6() if ipv6 else {})}


def found_before() -> dict[str, str]:
    """Return all settings that change when packets are forwarded, and what they are now."""
    return found((*settings_for(ipv6=True), *sysctls.swept_along()))


def found(paths: Iterable[str]) -> dict[str, str]:
    """Return the settings at `paths` that this kernel has, and what they are now."""
    return {path: value for path in paths if (value := sysctls.read(path)) is not None}


def switch_on(settings: Mapping[str, str]) -> None:
    """Ask netd where there is one, and set what is not as `settings` say; raises OSError."""
    for path, value in settings.items():
        if path not in _SWITCHES and sysctls.read(path) not in (None, value):
            sysctls.write(path, value)
    _ask_netd("enable")
    for path in _SWITCHES:
        if path in settings and sysctls.read(path) == "0":
            sysctls.write(path, "1")


def keep_on(*, ipv6: bool) -> None:
    """Switch on again what somebody has switched off; raises OSError."""
    switches = {path: "1" for path in settings_for(ipv6=ipv6) if path in _SWITCHES}
    if any(sysctls.read(path) == "0" for path in switches):
        switch_on(switches)


def put_back(before: Mapping[str, str]) -> None:
    """Let netd decide where there is one, which knows who else forwards; else set what was found `before`."""
    decided = (*_SWITCHES, *sysctls.swept_along()) if _ask_netd("disable") else ()
    for path in sorted(before.keys() - {*decided}, key=lambda path: path not in _SWITCHES):  # which change others
        if sysctls.read(path) != before[path]:
            sysctls.write_if_there({path: before[path]})


def _ask_netd(what: str) -> bool:
    """Tell whether netd has done it."""
    program = shutil.which("ndc", path=FOLDERS)
    if program is None:
        return False
    try:
        done = subprocess.run(
            [program, "ipfwd", what, _REQUESTER],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):  # netd is just being started again: it forgets who asked
        return False
    return done.returncode == 0 and done.stdout.startswith(b"2")  # 2xx, as netd answers what went well
