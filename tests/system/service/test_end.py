"""The end of the service, asked for: it is waited for, and no stranger is ended who has got its pid."""

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from berth.kernel.processes import status_field
from tests import faults
from tests.program import Berth
from tests.service import Service, monitor_of

pytestmark = pytest.mark.system


def test_a_service_that_was_asked_to_end_has_ended_and_its_containers_go_on(
    service: Service, berth: Berth, root: Path
) -> None:
    berth.succeed("start", "sup", "--rootfs", root)
    pid, monitor = service.pid, monitor_of(berth, "sup")

    assert berth.succeed("serve", "--end") == "the service has ended; containers go on\n"

    assert not faults.is_alive(pid)
    assert monitor_of(berth, "sup") == monitor
    berth.succeed("stop", "sup")


def test_the_end_of_a_service_is_waited_for_by_it_and_by_whoever_asked_in_their_sleep(
    service: Service, berth: Berth
) -> None:
    faults.wait_until(service.web, "it has a web process, which it ends first")
    pid, web = service.pid, service.web()
    os.kill(web, signal.SIGSTOP)
    faults.wait_until(lambda: (status_field(web, "State") or "").startswith("T"), "it stands still")
    ending = threading.Thread(target=faults.end_service, args=(berth,))
    try:
        ending.start()
        faults.wait_until(lambda: int(status_field(web, "ShdPnd") or "0", 16), "the web process is asked to end")
        before = switches(pid)
        ending.join(0.3)
        assert ending.is_alive()
        assert switches(pid) - before < 5, "it looks again and again"
    finally:
        os.kill(web, signal.SIGCONT)
        ending.join(faults.SECONDS)

    assert not faults.is_alive(pid)


def switches(pid: int) -> int:
    return int(status_field(pid, "voluntary_ctxt_switches") or 0)


def test_no_stranger_is_ended_who_has_the_pid_of_a_service_that_was_killed(service: Service, berth: Berth) -> None:
    service.end(signal.SIGKILL)
    with subprocess.Popen(["sleep", "100"]) as stranger:
        try:
            (service.run / "supervisor.lock").write_text(f"{stranger.pid}\n")

            result = berth("serve", "--end")

            assert result.returncode == 1
            assert result.stderr == "berth: the service does not run, so there is nothing to end\n"
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_the_end_of_a_service_is_told_to_programs(service: Service, berth: Berth) -> None:
    assert berth.succeed("serve", "--background", "--json") == '{"result":"runs already"}\n'

    assert berth.succeed("serve", "--end", "--json") == '{"result":"ended"}\n'

    assert not service.answers()


def test_the_end_of_a_service_is_no_way_to_start_one(service: Service, berth: Berth) -> None:
    result = berth("serve", "--end", "--background")

    assert result.returncode == 2
    assert "--end ends the service that runs, so it goes with no other flag" in result.stderr
    assert service.answers()
