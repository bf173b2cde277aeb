"""What is measured of the device and of containers, only while somebody looks."""

import os
import time

from msgspec import Struct

from berth.android.power import Battery, read_battery
from berth.engine import cgroups
from berth.engine.containers import Container, look_up
from berth.engine.usage import members, read_usage
from berth.errors import BerthError
from berth.home import Home
from berth.kernel.processes import status_field
from berth.network.model import Traffic
from berth.web.models import Process, Processes

_TICKS = os.sysconf("SC_CLK_TCK")
_PRESSURES = {"cpu": "cpu.pressure", "memory": "memory.pressure", "io": "io.pressure"}


class HostSample(Struct, frozen=True, kw_only=True):
    """The device at one moment: sizes in bytes, `temperature` in degrees Celsius, `uptime` in seconds.

    `cpu_time` is the seconds that all processors together were busy since the boot.
    """

    at: float
    cpu_time: float
    cpus: int
    memory: int
    memory_available: int
    swap: int
    swap_used: int
    disk: int
    disk_free: int
    load: tuple[float, float, float]
    temperature: float | None
    battery: Battery | None
    uptime: float
    network: Traffic


class Sample(Struct, frozen=True, kw_only=True):
    """A container at one moment; `pressure` is the percentage of the last ten seconds in which some process waited."""

    uptime: float
    processes: int
    memory: int
    cpu_time: float
    memory_limit: int | None
    pressure: dict[str, float]
    network: Traffic | None


def sample_host(home: Home) -> HostSample:
    """Measure the device; raises OSError when /proc is not mounted."""
    import psutil  # megabytes that only those who look at figures need

    memory, swap, busy = psutil.virtual_memory(), psutil.swap_memory(), psutil.cpu_times()
    disk = os.statvfs(home.state if os.path.isdir(home.state) else "/")
    now = time.time()
    return HostSample(
        at=now,
        cpu_time=busy.user + busy.system + busy.nice + busy.irq + busy.softirq,
        cpus=os.cpu_count() or 1,
        memory=memory.total,
        memory_available=memory.available,
        swap=swap.total,
        swap_used=swap.used,
        disk=disk.f_blocks * disk.f_frsize,
        disk_free=disk.f_bavail * disk.f_frsize,
        load=os.getloadavg(),
        temperature=_temperature(),
        battery=read_battery(),
        uptime=now - psutil.boot_time(),
        network=_traffic("/proc/net/dev"),
    )


def _temperature() -> float | None:
    """The warmest sensor that tells something believable."""
    import psutil

    found = [reading.current for group in psutil.sensors_temperatures().values() for reading in group]
    return max((degrees for degrees in found if 0 < degrees < 150), default=None)


def _traffic(path: str) -> Traffic:
    received = sent = 0
    with open(path, encoding="utf-8") as file:
        for line in file:
            name, colon, counts = line.partition(":")
            fields = counts.split()
            if colon and name.strip() != "lo":
                received, sent = received + int(fields[0]), sent + int(fields[8])
    return Traffic(received, sent)


def sample(home: Home, name: str) -> Sample:
    """Measure a running container; raises BerthError when it does not run."""
    container = look_up(home, name)
    alive, usage = container.alive, read_usage(container)
    own_network = "network" in alive.plan.namespaces
    try:
        network = _traffic(f"/proc/{alive.pid}/net/dev") if own_network else None
    except OSError as error:
        raise BerthError(f"container {name}: ended just now") from error
    return Sample(
        uptime=usage.uptime,
        processes=usage.processes,
        memory=usage.memory,
        cpu_time=usage.cpu_time,
        memory_limit=_limit(container),
        pressure=_pressure(container),
        network=network,
    )


def _limit(container: Container) -> int | None:
    for cgroup in container.alive.plan.cgroups:
        for file, value in cgroup.limits:
            if file in ("memory.max", "memory.limit_in_bytes") and value.isdigit():
                return int(value)
    return None


def _pressure(container: Container) -> dict[str, float]:
    """From its cgroup2, where the kernel counts that (4.20, CONFIG_PSI).  See the kernel's accounting/psi.rst."""
    plan, found = container.alive.plan, {}
    for cgroup, path in zip(plan.cgroups, cgroups.paths(plan.cgroups, plan.name), strict=True):
        if cgroup.version != 2:
            continue
        for word, file in _PRESSURES.items():
            try:
                with open(f"{path}/{file}", encoding="ascii") as lines:
                    found[word] = float(lines.readline().split()[1].partition("=")[2])
            except (OSError, IndexError, ValueError):
                continue
    return found


def processes(home: Home, name: str) -> Processes:
    """Return the processes in a running container, by pid; raises BerthError when it does not run."""
    container = look_up(home, name)
    pids = sorted(members(container))
    return Processes(tuple(found for pid in pids if (found := _process(pid)) is not None))


def _process(pid: int) -> Process | None:
    """One process; None when it has ended.  See proc_pid_stat(5)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        with open(f"/proc/{pid}/cmdline", "rb") as words:
            command = words.read().rstrip(b"\0").replace(b"\0", b" ")[:4096]
    except OSError:
        return None
    name, uid = status_field(pid, "Name"), status_field(pid, "Uid")
    inner = status_field(pid, "NSpid") or str(pid)  # since 4.1
    if name is None or uid is None:
        return None
    return Process(
        pid=pid,
        inner_pid=int(inner.split()[-1]),
        user=_user(int(uid.split()[1])),
        command=command.decode(errors="replace") or f"[{name}]",
        state=fields[0],
        memory=int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
        cpu_time=(int(fields[11]) + int(fields[12])) / _TICKS,
    )


def _user(uid: int) -> str:
    """The host has no names for a container's users but for root's: its passwd is another."""
    return "root" if uid == 0 else str(uid)
