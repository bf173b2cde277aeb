"""What running containers cost while nothing happens: memory, and wake-ups of the processor."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from tests.bench.match import Row, Table
from tests.bench.scene import QUICK_INIT, Scene, cleared

COUNT = 20
PSS_SERVICE = "berth monitor, started through the service"
SUPERVISOR = "berth supervisor"
WAKE_UPS = "berth, 20 monitors and the supervisor together"
_IDLE_SECONDS = 30.0
_SETTLING_SECONDS = 1.0


def matches(scene: Scene, rounds: int) -> Iterator[Table]:
    """Measure all of this module, once: none of it is a matter of chance."""
    yield from memory_andwake_ups_of(scene)


def memory_andwake_ups_of(scene: Scene) -> tuple[Table, Table]:
    """Measure with 20 containers of each kind running."""
    served, bare, lxc, rootfs = scene.served, scene.bare, scene.lxc, scene.busybox()
    names = [f"idle-{number}" for number in range(COUNT)]
    start = ("--rootfs", rootfs, "--init", QUICK_INIT)
    with served.service() as supervisor:
        for name in names:
            served.ask("start", "--name", name, *start)
        time.sleep(_SETTLING_SECONDS)
        monitors = [served.pids(name)[1] for name in names]
        rows = [memory_of(PSS_SERVICE, monitors), memory_of(SUPERVISOR, [supervisor])]
        wake_ups = wake_ups_of([*monitors, supervisor])
        served.ask("stop", "--all")
    for name in (alone := [f"alone-{name}" for name in names]):
        bare.cold("start", "--name", name, *start)
    time.sleep(_SETTLING_SECONDS)
    rows.append(memory_of("berth monitor, started without the service", [bare.pids(name)[1] for name in alone]))
    bare.cold("stop", "--all")
    for name in names:
        lxc.add(name, rootfs, QUICK_INIT, "SIGTERM")
    with cleared(*(partial(lxc.stop, name, kill=True) for name in names)):
        for name in names:
            lxc.start(name)
        time.sleep(_SETTLING_SECONDS)
        rows.append(memory_of("lxc monitor", [_parent(lxc.pid(name)) for name in names]))
    memory = Table(
        "Resident memory on the host's side",
        f"Proportional set size (PSS) of each process with {COUNT} containers running.",
        tuple(rows),
    )
    how = f"Context switches, voluntary and not, of all these processes together in {_IDLE_SECONDS:g} idle seconds."
    return memory, Table("Wake-ups", how, (Row(WAKE_UPS, (wake_ups,), unit=""),))


def memory_of(name: str, pids: Sequence[int]) -> Row:
    """Return the PSS of each process."""
    return Row(name, tuple(_pss(pid) for pid in pids), unit="MB")


def _pss(pid: int) -> float:
    """Return the PSS of a process in megabytes."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise LookupError(f"smaps_rollup of {pid} has no Pss")


def wake_ups_of(pids: Sequence[int]) -> float:
    """Return how often these processes together came and went in some idle seconds."""
    before = sum(_switches(pid) for pid in pids)
    time.sleep(_IDLE_SECONDS)
    return float(sum(_switches(pid) for pid in pids) - before)


def _switches(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
