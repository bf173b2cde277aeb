"""The API's route for a bug report: what is needed to help somebody, without what is nobody's business."""

import re
from collections.abc import Iterator
from ipaddress import ip_address

from berth.amounts import size
from berth.engine.containers import all_names, look_up
from berth.engine.device import Device, read_device
from berth.engine.inspect import read_host
from berth.engine.log import LogReader
from berth.engine.probes import read_probes
from berth.engine.requirements import requirements
from berth.home import Home
from berth.web.models import Report
from berth.web.routes import Call

_LOG_LINES = 40
_ADDRESS = re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b|(?<![\w:])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])")
_HARDWARE_ADDRESS = re.compile(r"\b(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}\b")
_SECRET = re.compile(r"\b[A-Za-z0-9+/_-]{32,}={0,2}")
_FOLDER = re.compile(r"(?<![\w/])/(?:[^\s/:'\"]+/)+[^\s:'\"]+")
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def report(call: Call) -> Report:
    """Versions, checks, and for each container its state and the end of its log."""
    names = all_names(call.home)
    numbers = {name: f"container-{number}" for number, name in enumerate(names, 1)}
    lines = [*_device(read_device(call.home)), *_checks(call.home)]
    for name in names:
        lines += ["", f"{numbers[name]}: {look_up(call.home, name).condition}", *_log(call.home, name)]
    return Report("\n".join(redacted(line, numbers) for line in lines) + "\n")


def redacted(line: str, names: dict[str, str]) -> str:
    """Return `line` without control characters, addresses, secrets and paths; `names` become what they map to."""
    line = _CONTROL.sub("", line)
    for pattern, shown in ((_SECRET, "SECRET"), (_HARDWARE_ADDRESS, "ADDRESS"), (_FOLDER, "PATH")):
        line = pattern.sub(shown, line)
    line = _ADDRESS.sub(lambda found: "ADDRESS" if _is_address(found[0]) else found[0], line)
    for name in sorted(names, key=len, reverse=True):
        line = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", names[name], line)
    return line


def _is_address(text: str) -> bool:
    """Tell an address from a time of day, which is made of the same characters."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _device(device: Device) -> Iterator[str]:
    yield f"Berth {device.version}"
    yield f"kernel {device.kernel} {device.machine}"
    yield f"Android {device.android if device.android is not None else 'no'}"
    yield f"SELinux {device.selinux}"
    yield f"memory {size(device.memory)}, {size(device.memory_available)} available"
    for mount in device.cgroups:
        yield f"cgroup v{mount.version}: {' '.join(mount.controllers) or 'no controllers'}"


def _checks(home: Home) -> Iterator[str]:
    host = read_host()
    for one in requirements(host, read_probes(home, host)):
        yield f"{one.state}: {one.title}" + (f" ({one.found})" if one.found else "")


def _log(home: Home, name: str) -> list[str]:
    try:
        with LogReader(home.container(name)) as reader:
            text = reader.read().decode(errors="replace")
    except OSError:
        return []
    return [f"  {line}" for line in text.splitlines()[-_LOG_LINES:]]
