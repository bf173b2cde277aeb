"""What slow, greedy and clumsy clients can't do to the dashboard: silence it, fill its memory or the disk."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import build
from tests import faults
from tests.dashboard import Dashboard, Page, raw, request, shared, status_of
from tests.load import deleted_files, memory

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]
SLOW = 200
PER_USER = 64
TERMINALS = 6
FLAT_KIB = 8 * 1024


@pytest.fixture(scope="module")
def dashboard(berth_home: Path) -> Iterator[Dashboard]:
    with shared(berth_home) as dashboard:
        yield dashboard


def test_the_page_answers_within_a_second_beside_200_slow_connections(dashboard: Dashboard) -> None:
    with contextlib.ExitStack() as open_ones:
        for number in range(SLOW):
            sock = open_ones.enter_context(socket.create_connection(("127.0.0.1", dashboard.port)))
            with contextlib.suppress(ConnectionError):
                sock.sendall(b"GET / HTTP/1.1\r\nX-Slow: " if number % 2 else b"POST /api/v1/pair HTTP/1.1\r\n")
        assert quickest(lambda: dashboard.get("/containers") == {"containers": []}) < 1.0
        web = Path(f"/proc/{dashboard.published['pid']}/fd")
        connections = [entry for entry in web.iterdir() if _is_socket(entry)]
        assert len(connections) < 2 * PER_USER


def quickest(ask: Callable[[], object]) -> float:
    """Return how many seconds the quickest of five answers takes: a busy machine slows one or the other down."""
    times = []
    for _ in range(5):
        began = time.monotonic()
        assert ask()
        times.append(time.monotonic() - began)
    return min(times)


def _is_socket(entry: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.readlink(entry).startswith("socket:")
    return False


HASTY = """
import socket, sys
from berth.home import Home
from berth.web import server
from berth.web.gate import Gate

server._TICK_SECONDS = server._LIMITS["cleanup_interval"] = 0.2
server._REQUEST_SECONDS = 0.5

def application(environment, start_response):
    start_response("200 OK", [("Content-Length", "4")])
    return [b"here"]

sock = socket.create_server(("127.0.0.1", 0))
port = sock.getsockname()[1]
print(port, flush=True)
server.Server(application, sock, Gate(Home(sys.argv[1], sys.argv[1] + "/run"), port)).run()
"""


@pytest.mark.parametrize(
    "begun",
    [b"", b"GET / HTTP/1.1\r\nX-Slow: ", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf"],
    ids=["nothing", "headers", "body"],
)
def test_a_request_that_takes_too_long_to_come_is_given_up(tmp_path: Path, begun: bytes) -> None:
    """With shorter times, or nobody would wait for it."""
    environment = {**os.environ, "PYTHONPATH": str(build.ROOT / "pyapp")}
    command = [sys.executable, "-c", HASTY, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as hasty:
        try:
            assert hasty.stdout is not None
            port = int(hasty.stdout.readline())
            with socket.create_connection(("127.0.0.1", port), timeout=faults.SECONDS) as slow:
                slow.sendall(begun)
                faults.wait_until(lambda: is_answered(port), "another one is answered")
                with contextlib.suppress(ConnectionResetError):
                    assert slow.recv(100) == b""
            faults.wait_until(lambda: is_answered(port), "the next one is answered")
        finally:
            hasty.kill()


def is_answered(port: int) -> bool:
    """Whether a request is answered; it is not when this process was held up for as long as it may take."""
    with contextlib.suppress(ConnectionError):
        return raw(port, request("GET", "/", port)).endswith(b"here")
    return False


@pytest.mark.parametrize("length", [(1 << 20) + 1, 1 << 40])
def test_a_body_that_is_too_large_is_refused(dashboard: Dashboard, length: int) -> None:
    head = request(
        "POST",
        "/api/v1/containers",
        dashboard.port,
        f"Authorization: Bearer {dashboard.token}",
        "Content-Type: application/json",
        f"Content-Length: {length}",
    )
    assert status_of(raw(dashboard.port, head + b"x" * 70_000)) == 413


def test_headers_that_are_too_large_are_refused(dashboard: Dashboard) -> None:
    assert status_of(raw(dashboard.port, request("GET", "/", dashboard.port, f"X-Large: {'x' * 20_000}"))) == 431


def test_a_body_that_never_ends_is_refused(dashboard: Dashboard) -> None:
    head = request("POST", "/api/v1/containers", dashboard.port, "Transfer-Encoding: chunked")
    before = memory(dashboard.published["pid"])
    raw(dashboard.port, head + b"10000\r\n" + b"x" * 65536 + b"\r\n" + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 40)
    assert dashboard.get("/containers") == {"containers": []}
    assert memory(dashboard.published["pid"]) - before < FLAT_KIB
    assert deleted_files(dashboard.published["pid"]) == []


def test_pages_that_read_slowly_cost_neither_memory_nor_files(dashboard: Dashboard, rootfs: Factory) -> None:
    dashboard.start("yes", faults.write_init(rootfs("busybox")))
    opened = [dashboard.post("/terminals", {"container": "yes", "argv": ["yes"]}, 201)["id"] for _ in range(TERMINALS)]
    web = dashboard.published["pid"]
    with contextlib.ExitStack() as closing:
        pages = []
        for identity in opened:
            page = closing.enter_context(Page(dashboard, {"id": "t", "kind": "terminal", "terminal": identity}))
            page.until(lambda frame: frame["kind"] == "output")
            pages.append(page)
        faults.wait_until(lambda: _still(web), "all of them wait")
        before = memory(web)
        for _ in range(3):
            for page in pages:
                for _ in range(20):
                    page.until(lambda frame: frame["kind"] == "output")
        assert memory(web) - before < FLAT_KIB
        assert deleted_files(web) == []
        assert quickest(lambda: dashboard.get("/containers")) < 1.0
    for identity in opened:
        dashboard.delete(f"/terminals/{identity}", 204)
    faults.wait_until(lambda: not dashboard.get("/terminals")["terminals"], "all terminals are closed")
    dashboard.remove("yes")


def _still(pid: int) -> bool:
    def spent() -> list[str]:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]

    before = spent()
    time.sleep(0.3)  # what is looked for is that nothing happens in a time
    return spent() == before
