"""What the service starts when it comes up, and what it leaves at rest."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import faults
from tests.program import Berth
from tests.service import Service

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]


def test_containers_start_with_the_service_in_order_and_a_failing_one_holds_up_none(
    service: Service, berth: Berth, root: Path, rootfs: Factory
) -> None:
    second, broken = faults.write_init(rootfs("busybox")), rootfs("busybox")
    for name, place, *after in (
        ("sup-a", root),
        ("sup-bad", broken),
        ("sup-b", second, "--start-after", "sup-a,sup-bad"),
    ):
        berth.succeed("start", name, "--rootfs", place, "--autostart", *after)
        berth.succeed("stop", name)
        faults.date_stop_back(berth, name)
    (broken / "sbin" / "init").unlink()
    service.end()

    service.start()

    faults.wait_until(lambda: faults.condition(berth, "sup-b") == "running", "the last one runs")
    assert faults.condition(berth, "sup-a") == "running"
    assert started_at(berth, "sup-a") < started_at(berth, "sup-b")
    assert faults.condition(berth, "sup-bad") == "stopped"
    assert "/sbin/init is not there" in service.log()
    berth.succeed("stop", "sup-a,sup-b")


def test_containers_that_wait_for_nobody_start_at_the_same_time(
    service: Service, berth: Berth, root: Path, rootfs: Factory, scratch: Path
) -> None:
    """Each start stands still until the other one has come as far, which is long before either has ended."""
    service.end()
    meeting = scratch / "meeting"
    wait = "until [ -e sup-a ] && [ -e sup-b ]; do sleep 0.02; done"
    meeting.write_text(f"#!/bin/sh\ncd ${{0%/*}}\n: > $BERTH_CONTAINER\n{wait}\n")
    meeting.chmod(0o755)
    for name, place in (("sup-a", root), ("sup-b", faults.write_init(rootfs("busybox")))):
        folder = berth.home / "containers" / name
        folder.mkdir(parents=True, mode=0o700)
        settings = f'version = 1\nname = "{name}"\nrootfs = "{place}"\nautostart = true\n'
        hook = f'[[hooks]]\nstage = "prestart"\npath = "{meeting}"\n'
        (folder / "container.toml").write_text(settings + hook)

    service.start()

    both = ("sup-a", "sup-b")
    faults.wait_until(lambda: {faults.condition(berth, name) for name in both} == {"running"}, "both run")
    berth.succeed("stop", ",".join(both))


KILLED = ((), ("monitor_pid",), ("monitor_pid", "pid"))


@pytest.mark.parametrize("killed", KILLED, ids=["its-monitor", "the-monitor-after-that", "a-recovery"])
def test_one_that_is_stopped_is_on_probation_no_longer_whether_a_service_runs_or_not(
    service: Service, berth: Berth, root: Path, killed: tuple[str, ...]
) -> None:
    berth.succeed("start", "sup", "--rootfs", root, "--autostart")
    berth.succeed("stop", "sup")
    faults.date_stop_back(berth, "sup")
    service.end()
    service.start()
    faults.wait_until(lambda: faults.condition(berth, "sup") == "running", "it has started by itself")
    service.end()
    marker = berth.home / "starting" / "sup"
    assert marker.exists()
    found = json.loads(berth.succeed("info", "sup", "--json"))
    for role in killed:
        faults.kill(found[role])
    if killed:
        berth.succeed("recover")

    if "pid" not in killed:
        berth.succeed("stop", "sup")

    assert not marker.exists()


def started_at(berth: Berth, name: str) -> float:
    at = json.loads(berth.succeed("info", name, "--json"))["started_at"]
    assert isinstance(at, float)
    return at


def test_what_somebody_stopped_stays_so_when_the_service_comes_back(
    service: Service, berth: Berth, root: Path, rootfs: Factory
) -> None:
    other = faults.write_init(rootfs("busybox"))
    for name, place in (("sup-stopped", root), ("sup-again", other)):
        berth.succeed("start", name, "--rootfs", place, "--autostart")
    berth.succeed("stop", "sup-stopped,sup-again")
    berth.succeed("start", "sup-again")
    told = json.loads(berth.succeed("info", "sup-again", "--json"))
    for pid in (told["monitor_pid"], told["pid"]):
        os.kill(pid, signal.SIGKILL)
    service.end()

    service.start()

    faults.wait_until(lambda: faults.condition(berth, "sup-again") == "running", "the one that was lost is back")
    assert faults.condition(berth, "sup-stopped") == "stopped"
    berth.succeed("stop", "sup-again")


def test_what_powered_itself_off_is_not_started_again_by_the_service(
    service: Service, berth: Berth, rootfs: Factory
) -> None:
    berth.succeed("start", "sup", "--rootfs", rootfs("busybox"), "--autostart")
    berth("run", "sup", "--", "poweroff")
    faults.wait_until(lambda: faults.condition(berth, "sup") == "stopped", "it has powered off")
    service.end()

    service.start()

    berth.succeed("recover")  # what the service does first has been done when this has
    assert faults.condition(berth, "sup") == "stopped"
