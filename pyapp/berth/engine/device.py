"""What can be told of the device itself, and of how much runs on it."""

import os

from msgspec import Struct

from berth import __version__
from berth.engine.containers import all_names, look_up
from berth.engine.inspect import read_host
from berth.engine.safe_mode import kept_back
from berth.engine.selinux import askers
from berth.home import Home
from berth.host import CgroupMount, SelinuxMode
from berth.kernel.sockets import connect

_PROPERTIES = ("/system/build.prop", "/system/system/build.prop")
_RELEASE = "ro.build.version.release="


class Device(Struct, frozen=True, kw_only=True):
    """The device; sizes are in bytes.

    `android` is its release, "" where that is not told, None on another system; `permissive_for` are the containers for
    which SELinux was made permissive; `wakelocks` tells whether a container can keep the device awake;
    `memory_available` is what can be had without swapping, `free` what is free where the containers are kept;
    `kept_back` are the containers that safe mode does not let start by themselves, each with the reason.
    """

    version: str
    kernel: str
    machine: str
    android: str | None
    selinux: SelinuxMode
    permissive_for: tuple[str, ...]
    wakelocks: bool
    cgroups: tuple[CgroupMount, ...]
    memory: int
    memory_available: int
    cpus: int
    state_folder: str
    run_folder: str
    free: int
    service: bool
    running: tuple[str, ...]
    containers: int
    kept_back: dict[str, str]


def read_device(home: Home) -> Device:
    """Return what there is to tell of this device; raises OSError when /proc is not mounted."""
    host = read_host()
    names = all_names(home)
    return Device(
        version=__version__,
        kernel=os.uname().release,
        machine=host.machine,
        android=_android_release() if host.android else None,
        selinux=host.selinux,
        permissive_for=askers(home.run),
        wakelocks=host.wakelocks,
        cgroups=host.cgroups,
        memory=host.memory,
        memory_available=_available(),
        cpus=host.cpus,
        state_folder=home.state,
        run_folder=home.run,
        free=free_space(home.state),
        service=_answers(home.socket),
        running=tuple(name for name in names if look_up(home, name).runs),
        containers=len(names),
        kept_back=kept_back(home),
    )


def free_space(folder: str) -> int:
    """Return the bytes that are free for root where `folder` is, or will be made."""
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    found = os.statvfs(folder)
    return found.f_bfree * found.f_frsize


def _answers(path: str) -> bool:
    try:
        connect(path).close()
    except OSError:
        return False
    return True


def _available() -> int:
    with open("/proc/meminfo", encoding="utf-8") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name == "MemAvailable":  # since 3.14
                return int(value.split()[0]) * 1024
    return 0


def _android_release() -> str:
    for path in _PROPERTIES:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                for line in file:
                    if line.startswith(_RELEASE):
                        return line.removeprefix(_RELEASE).strip()
        except OSError:
            continue
    return ""
