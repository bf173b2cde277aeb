"""The service: what it survives, what survives it, and that it costs nothing while nobody asks."""

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from berth.kernel.processes import status_field
from tests import faults, quick
from tests.program import Berth
from tests.service import Service, calling, monitor_of

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]
IDLE_SECONDS = 3.0


def test_a_second_service_is_refused(service: Service, berth: Berth) -> None:
    first = service.pid

    result = berth("serve")
    assert (result.returncode, result.stdout) == (3, "")
    assert re.fullmatch(r"berth: the service runs already [^\n]+\n", result.stderr), result.stderr
    assert "the service runs already" in berth.succeed("serve", "--background")

    assert service.pid == first
    assert service.answers()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_containers_outlive_the_service_and_are_served_by_the_next(
    service: Service, berth: Berth, root: Path, number: int
) -> None:
    berth.succeed("start", "sup", "--rootfs", root)
    monitor = monitor_of(berth, "sup")

    service.end(number)

    assert berth.succeed("run", "sup", "--", "echo", "without") == "without\n"
    service.start()
    assert berth.succeed("run", "sup", "--", "echo", "with") == "with\n"
    assert monitor_of(berth, "sup") == monitor
    berth.succeed("stop", "sup")


def test_a_new_service_gives_a_monitor_to_containers_that_lost_theirs(
    service: Service, berth: Berth, root: Path
) -> None:
    berth.succeed("start", "sup", "--rootfs", root)
    lost = monitor_of(berth, "sup")
    service.end(signal.SIGKILL)
    faults.kill(lost)

    service.start()

    faults.wait_until(lambda: faults.condition(berth, "sup") == "running", "it has a monitor again")
    assert monitor_of(berth, "sup") != lost
    berth.succeed("stop", "sup")


def test_a_worker_that_is_killed_takes_nothing_with_it(service: Service, berth: Berth, root: Path) -> None:
    berth.succeed("start", "sup", "--rootfs", root)
    with calling(berth, "run", "sup", "--", "sh", "-c", "echo at work; exec sleep 100") as client:
        assert client.stdout
        assert client.stderr
        assert client.stdout.readline() == "at work\n"
        faults.wait_until(lambda: len(service.workers()) == 1, "the one of the start has gone")
        (worker,) = service.workers()
        faults.kill(worker)
        assert "was killed" in client.stderr.readline()
        assert client.wait(faults.SECONDS) != 0

    assert berth.succeed("run", "sup", "--", "echo", "here") == "here\n"
    berth.succeed("stop", "sup")


def test_a_spare_worker_that_is_killed_is_done_without_and_replaced(service: Service, berth: Berth) -> None:
    killed = quick.wait_for(lambda: service.spare() or None)  # asked again there may be none: it has got a caller
    faults.kill(killed)

    assert berth.succeed("list") is not None

    faults.wait_until(lambda: service.spare() not in (0, killed), "there is another one")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_spare_worker_and_zygote_end_with_the_service(service: Service, number: int) -> None:
    children = (quick.wait_for(lambda: service.spare() or None), quick.wait_for(lambda: service.zygote() or None))

    service.end(number)

    faults.wait_until(lambda: not any(map(faults.is_alive, children)), "they have ended")


def test_monitors_are_small_and_a_zygote_that_is_killed_is_done_without_and_replaced(
    service: Service, berth: Berth, root: Path
) -> None:
    faults.wait_until(service.zygote, "there is a zygote")
    zygote = service.zygote()
    berth.succeed("start", "first", "--rootfs", root)
    first = monitor_of(berth, "first")
    assert int(status_field(first, "PPid") or 0) == zygote
    assert 0 < own_memory(first) < 3 << 20

    faults.kill(zygote)
    berth.succeed("start", "second", "--rootfs", root)

    faults.wait_until(lambda: service.zygote() not in (0, zygote), "there is another one")
    assert monitor_of(berth, "first") == first
    berth.succeed("stop", "first,second")


def test_a_zygote_that_is_killed_before_it_has_forked_a_monitor_is_done_without(
    service: Service, berth: Berth, root: Path
) -> None:
    faults.wait_until(service.zygote, "there is a zygote")
    zygote = service.zygote()
    os.kill(zygote, signal.SIGSTOP)
    faults.wait_until(lambda: (status_field(zygote, "State") or "").startswith("T"), "it stands still")
    with calling(berth, "start", "sup", "--rootfs", str(root)) as client:
        faults.wait_until((berth.home / "run" / "containers" / "sup" / "lock").exists, "the start is under way")
        faults.kill(zygote)
        assert client.wait(faults.SECONDS) == 0

    assert faults.condition(berth, "sup") == "running"
    berth.succeed("stop", "sup")


def own_memory(pid: int) -> int:
    """Return the bytes that a process has written to and shares with no other."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:")) << 10


@pytest.mark.parametrize("stage", ["locked", "forked", "cgroups", "joined", "built", "executed", "running"])
@pytest.mark.parametrize("killed", [("service",), ("service", "worker")], ids="+".join)
def test_a_start_goes_on_when_the_service_is_killed(
    service: Service, berth: Berth, root: Path, stage: str, killed: tuple[str, ...]
) -> None:
    files = faults.tree(root)
    service.end()
    berth.environment["BERTH_PAUSE_AT"] = stage  # the workers of the service have its environment
    service.start()
    start = faults.PausedStart(berth, stage, "sup", "start", "sup", "--rootfs", root)
    start.roles["service"] = service.pid

    start.kill(*killed)

    left = start.settle()
    assert left == ("stopped" if stage == "locked" and "worker" in killed else "running")
    del berth.environment["BERTH_PAUSE_AT"]
    service.start()
    if left == "running":
        assert berth.succeed("run", "sup", "--", "echo", "here") == "here\n"
        berth.succeed("stop", "sup")
    faults.wait_until(lambda: faults.run_tree(berth) == {}, "the service has cleared up")
    assert faults.tree(root) == files


def switches(pid: int) -> int:
    return int(status_field(pid, "voluntary_ctxt_switches") or -1)


def test_service_and_monitor_sleep_while_nobody_asks(service: Service, berth: Berth, root: Path) -> None:
    berth.succeed("start", "sup", "--rootfs", root)
    pids = [monitor_of(berth, "sup"), service.pid]
    pids.append(quick.wait_for(lambda: service.spare() or None))

    def sleep() -> bool:
        before = [switches(pid) for pid in pids]
        time.sleep(IDLE_SECONDS)  # what is looked for is that nothing happens in a time
        return [switches(pid) for pid in pids] == before

    faults.wait_until(sleep, "they sleep when they have done with the start")
    berth.succeed("stop", "sup")
