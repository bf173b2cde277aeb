"""The web process as the service keeps it: its port, its end, a service without it, what it costs idle."""

import contextlib
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from berth.home import Home
from berth.kernel.processes import status_field
from berth.service import published
from tests import faults
from tests.dashboard import serving
from tests.load import sleeps
from tests.program import Berth

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]
IDLE_SECONDS = 3.0
IDLE_PSS_KIB = 40 * 1024


@pytest.fixture
def root(rootfs: Factory) -> Path:
    return faults.write_init(rootfs("busybox"))


def pss(pid: int) -> int:
    """The memory of process `pid` in KiB, what it shares divided by those who share it."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def test_the_web_process_is_small_and_sleeps_while_nobody_looks(berth: Berth) -> None:
    with serving(berth) as dashboard:
        dashboard.get("/containers")
        web = dashboard.published["pid"]
        assert status_field(web, "Name") == "berth: web"
        faults.wait_until(lambda: sleeps(web, IDLE_SECONDS), "it sleeps when it has done with the last connection")
        assert pss(web) < IDLE_PSS_KIB


def test_a_web_process_that_was_killed_comes_back_and_the_token_stays_good(berth: Berth) -> None:
    with serving(berth) as dashboard:
        for _ in range(2):
            web = dashboard.published["pid"]
            os.kill(web, signal.SIGKILL)
            dashboard.await_web(but=web)
            assert dashboard.get("/containers") == {"containers": []}
        assert "the web process ended" in (berth.home / "service.log").read_text()


def test_the_web_process_ends_with_a_service_that_is_killed(berth: Berth) -> None:
    with serving(berth) as dashboard:
        web, service = dashboard.published["pid"], dashboard.service
        os.kill(service, signal.SIGKILL)
        faults.wait_until(lambda: not faults.is_alive(web), "the web process has ended")
        berth.succeed("serve", "--background")
        dashboard.await_web(but=web)
        assert dashboard.get("/service")["running"] is True


def test_the_next_port_is_taken_when_another_squats_on_ours(berth: Berth) -> None:
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken = 7575
        while True:
            with contextlib.suppress(OSError):
                squatter.bind(("127.0.0.1", taken))
                squatter.listen()
                break
            taken += 1
        with serving(berth) as dashboard:
            assert dashboard.port > taken
            assert f":{dashboard.port}/#ticket=" in berth.succeed("dashboard")
            assert dashboard.get("/containers") == {"containers": []}


def test_the_first_port_is_tried_when_the_last_of_all_was_ours_and_is_taken(tmp_path: Path) -> None:
    home, last = Home(str(tmp_path), str(tmp_path)), 7675
    published.write(home, last)
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # somebody else's already
            squatter.bind(("127.0.0.1", last))
            squatter.listen()

        with published.bind(home) as found:
            assert 7575 <= found.getsockname()[1] < last


def test_a_web_process_that_comes_back_listens_where_its_pages_look_for_it(berth: Berth) -> None:
    with socket.socket() as squatter:
        with contextlib.suppress(OSError):  # then somebody else has it, which is as good
            squatter.bind(("127.0.0.1", 7575))
            squatter.listen()
        with serving(berth) as dashboard:
            port, web = dashboard.port, dashboard.published["pid"]
            squatter.close()  # a lower port than ours is free now
            os.kill(web, signal.SIGKILL)
            dashboard.await_web(but=web)
            assert dashboard.port == port


def test_safe_mode_keeps_containers_from_starting_with_the_service_until_its_end(berth: Berth, root: Path) -> None:
    with serving(berth) as dashboard:
        dashboard.post("/containers", {"spec": {"name": "auto", "rootfs": str(root), "autostart": True}}, 201)
        assert dashboard.ask("PUT", "/settings", {"safe_mode": True}).body["safe_mode"] is True

        service = dashboard.service
        os.kill(service, signal.SIGTERM)
        faults.wait_until(lambda: not faults.is_alive(service), "the service has ended")
        web = dashboard.published["pid"]
        berth.succeed("serve", "--background")
        dashboard.await_web(but=web)

        berth.succeed("recover")  # what the service does first has been done when this has
        assert dashboard.get("/containers/auto")["details"]["state"] == "stopped"

        assert dashboard.ask("PUT", "/settings", {"safe_mode": False}).body["kept_back"] == {}
        faults.wait_until(lambda: faults.condition(berth, "auto") == "running", "what was kept back has started")
        dashboard.remove("auto")


def test_the_dashboard_can_be_asked_for_as_soon_as_the_service_has_been_started(berth: Berth) -> None:
    refused = berth("dashboard")
    assert refused.returncode == 1
    assert "dashboard: the service does not run; start it with" in refused.stderr
    berth.succeed("serve", "--background")
    try:
        assert "#ticket=" in berth.succeed("dashboard")
    finally:
        faults.end_service(berth)


def test_without_a_dashboard_the_service_needs_no_port(berth: Berth) -> None:
    berth.succeed("serve", "--background", "--no-dashboard")
    pid = int((berth.home / "run" / "supervisor.lock").read_text())
    try:
        refused = berth("dashboard")
        assert refused.returncode == 1
        assert refused.stderr.startswith("berth: dashboard: the service runs without it; look into service.log")
        kept = {"berth: spare", "berth: zygote"}  # and for a moment the worker that has just answered
        faults.wait_until(
            lambda: {status_field(child, "Name") for child in faults.children(pid)} == kept, "only these are left"
        )
    finally:
        faults.end_service(berth)
