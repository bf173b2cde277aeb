"""What a running container uses: its processes, memory, processor time, and how long it has been up."""

import os

from msgspec import Struct

from berth.engine import cgroups
from berth.engine.cgroup_trees import processes
from berth.engine.containers import Alive, Container
from berth.kernel.processes import status_field
from berth.plan.model import Cgroup

_TICKS = os.sysconf("SC_CLK_TCK")
_KIB = 1024


class Usage(Struct, frozen=True, kw_only=True):
    """`uptime` and `cpu_time` are in seconds, `memory` in bytes; `processes` counts those the host sees inside."""

    uptime: float
    processes: int
    memory: int
    cpu_time: float


def read_usage(container: Container) -> Usage:
    """Return what a running container uses now; raises BerthError when it does not run.

    Memory and processor time come from its cgroups, without the page cache that the kernel would give back; where no
    controller counts them they are added up over its processes.
    """
    alive = container.alive
    groups = list(zip(alive.plan.cgroups, _visible(container, alive), strict=True))
    pids = members(container)
    memory = next((used for pair in groups if (used := _memory(*pair)) is not None), None)
    cpu = next((spent for pair in groups if (spent := _cpu_time(*pair)) is not None), None)
    return Usage(
        uptime=max(0.0, _since_boot() - alive.started / _TICKS),
        processes=len(pids),
        memory=sum(map(_resident, pids)) if memory is None else memory,
        cpu_time=sum(map(_spent, pids)) if cpu is None else cpu,
    )


def _visible(container: Container, alive: Alive) -> list[str]:
    """Its folder in each hierarchy, as this process can reach it.

    What the engine mounted itself is in the monitor's mount namespace only.
    """
    monitor = container.record.monitor if container.record else None
    return [
        path if cgroup.mount is not None or monitor is None else f"/proc/{monitor[0]}/root{path}"
        for cgroup, path in zip(alive.plan.cgroups, cgroups.paths(alive.plan.cgroups, alive.name), strict=True)
    ]


def members(container: Container) -> set[int]:
    """Return the pids in a running container: from a cgroup, else those in the PID namespace of its init.

    Raises BerthError when it does not run.
    """
    alive = container.alive
    for group in _visible(container, alive):
        if pids := processes(group):
            return pids
    namespace = _link(f"/proc/{alive.pid}/ns/pid")
    every = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
    return {pid for pid in every if namespace and _link(f"/proc/{pid}/ns/pid") == namespace}


def _memory(cgroup: Cgroup, group: str) -> int | None:
    if cgroup.version == 2:
        used, idle = _number(f"{group}/memory.current"), "inactive_file"
    else:
        used, idle = _number(f"{group}/memory.usage_in_bytes"), "total_inactive_file"
    return None if used is None else max(0, used - _field(f"{group}/memory.stat", idle, 0))


def _cpu_time(cgroup: Cgroup, group: str) -> float | None:
    if cgroup.version == 2:
        spent = _field(f"{group}/cpu.stat", "usage_usec", -1)  # since 4.15 also without the controller
        return None if spent < 0 else spent / 1e6
    nanoseconds = _number(f"{group}/cpuacct.usage")
    return None if nanoseconds is None else nanoseconds / 1e9


def _resident(pid: int) -> int:
    """Bytes in memory that are no file's; all of them before 4.5, which does not tell them apart."""
    parts = [status_field(pid, field) for field in ("RssAnon", "RssShmem")]
    if None in parts:
        parts = [status_field(pid, "VmRSS")]
    return sum(int(part.split()[0]) * _KIB for part in parts if part)


def _spent(pid: int) -> float:
    """Seconds that a process and its reaped children ran.  See proc_pid_stat(5), fields 14 to 17."""
    fields = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def _since_boot() -> float:
    return float(_text("/proc/uptime").split()[0])


def _number(path: str) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _field(path: str, field: str, otherwise: int) -> int:
    for line in _text(path).splitlines():
        name, _, value = line.partition(" ")
        if name == field:
            return int(value)
    return otherwise


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
