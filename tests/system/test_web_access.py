"""Attacks on the dashboard from the same device: other users, wrong hosts and origins, old and missing tokens."""

import contextlib
import fcntl
import os
import re
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest

from berth.errors import BerthError
from berth.home import Home
from berth.web.access import Access
from tests import faults
from tests.dashboard import Dashboard, Page, raw, raw_as, request, status_of
from tests.dashboard import shared as served

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]
APP, OTHER_APP = 10123, 10124
MANAGER = "https://mui.kernelsu.org"


@pytest.fixture(scope="module")
def shared(berth_home: Path) -> Iterator[Dashboard]:
    with served(berth_home) as dashboard:
        yield dashboard


@pytest.fixture
def dashboard(shared: Dashboard) -> Dashboard:
    """One service for all tests here, with nobody paired but the test and no wrong token remembered."""
    for token in shared.get("/tokens")["tokens"]:
        if not token["current"]:
            shared.delete(f"/tokens/{token['id']}", 204)
    return shared


def pair_as(dashboard: Dashboard, uid: int, ticket: str) -> bytes:
    body = b'{"ticket":"%s"}' % ticket.encode()
    return raw_as(uid, dashboard.port, request("POST", "/api/v1/pair", dashboard.port, body=body))


def token_in(answer: bytes) -> str:
    found = re.search(rb'"token":"([^"]+)"', answer)
    assert found, answer
    return found[1].decode()


def test_a_foreign_user_gets_no_connection(dashboard: Dashboard) -> None:
    get = request("GET", "/", dashboard.port)
    assert raw_as(APP, dashboard.port, get) == b""
    with_token = request("GET", "/api/v1/containers", dashboard.port, f"Authorization: Bearer {dashboard.token}")
    assert raw_as(APP, dashboard.port, with_token) == b""
    assert status_of(raw(dashboard.port, with_token)) == 200
    refused = [entry for entry in dashboard.get("/audit")["entries"] if entry["uid"] == APP]
    assert [(entry["what"], entry["status"]) for entry in refused] == [("connect", 403)]  # told once, not twice


def test_an_app_is_paired_by_its_ticket_and_by_no_others(dashboard: Dashboard) -> None:
    ticket = dashboard.ticket(APP)
    port = dashboard.port

    assert raw_as(OTHER_APP, port, request("GET", "/", port)) == b""
    assert pair_as(dashboard, OTHER_APP, ticket) == b""
    assert status_of(raw_as(APP, port, request("GET", "/api/v1/containers", port))) == 401
    wrong = pair_as(dashboard, APP, "x" * 43)
    assert status_of(wrong) == 403
    assert status_of(pair_as(dashboard, 0, ticket)) == 403  # not even root takes what is another's

    token = token_in(pair_as(dashboard, APP, ticket))
    get = request("GET", "/api/v1/containers", port, f"Authorization: Bearer {token}")
    assert status_of(raw_as(APP, port, get)) == 200
    assert raw_as(OTHER_APP, port, get) == b""
    assert status_of(pair_as(dashboard, APP, ticket)) == 403  # used

    (paired,) = [entry for entry in dashboard.get("/tokens")["tokens"] if entry["uid"] == APP]
    dashboard.delete(f"/tokens/{paired['id']}", 204)
    assert raw_as(APP, port, get) == b""


def test_a_token_is_for_the_app_that_it_was_made_for(dashboard: Dashboard) -> None:
    one = token_in(pair_as(dashboard, APP, dashboard.ticket(APP)))
    token_in(pair_as(dashboard, OTHER_APP, dashboard.ticket(OTHER_APP)))
    stolen = request("GET", "/api/v1/containers", dashboard.port, f"Authorization: Bearer {one}")
    assert status_of(raw_as(OTHER_APP, dashboard.port, stolen)) == 401


def test_an_app_gets_the_rest_of_the_page_while_it_is_being_paired(dashboard: Dashboard) -> None:
    ticket, port = dashboard.ticket(APP), dashboard.port
    tickets = dashboard.berth.home / "run" / "tickets"
    before = os.listdir(tickets)
    with open(dashboard.berth.home / "access.json.lock", "rb") as lock, ThreadPoolExecutor(1) as beside:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as if the disk were slow
        pairing = beside.submit(pair_as, dashboard, APP, ticket)
        faults.wait_until(lambda: os.listdir(tickets) != before, "the ticket is being used")
        page = raw_as(APP, port, request("GET", "/", port))
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert token_in(pairing.result())
    assert status_of(page) == 200
    assert len(os.listdir(tickets)) < len(before)


def test_an_app_is_unpaired_with_all_of_its_keys(dashboard: Dashboard) -> None:
    first, second = (token_in(pair_as(dashboard, APP, dashboard.ticket(APP))) for _ in range(2))
    get = request("GET", "/api/v1/containers", dashboard.port, f"Authorization: Bearer {second}")
    assert status_of(raw_as(APP, dashboard.port, get)) == 200

    root, app = dashboard.get("/apps")["apps"]
    assert (root["uid"], root["names"], root["current"]) == (0, ["root"], True)
    assert (app["uid"], app["tokens"], app["current"]) == (APP, 2, False)
    assert app["used_at"] is not None

    dashboard.delete(f"/apps/{APP}", 204)
    assert [one["uid"] for one in dashboard.get("/apps")["apps"]] == [0]
    for token in (first, second):
        get = request("GET", "/api/v1/containers", dashboard.port, f"Authorization: Bearer {token}")
        assert raw_as(APP, dashboard.port, get) == b""
    for uid in (APP, "x", "-1", "\u0661", "9" * 5000):
        assert dashboard.ask("DELETE", f"/apps/{quote(str(uid))}").status == 404


def test_keys_that_can_not_be_read_are_told_of_and_let_nobody_else_down(dashboard: Dashboard) -> None:
    token_in(pair_as(dashboard, APP, dashboard.ticket(APP)))
    web = dashboard.published["pid"]
    path = dashboard.berth.home / "access.json"
    kept = path.read_bytes()
    path.write_bytes(kept[:100])
    try:
        assert raw_as(APP, dashboard.port, request("GET", "/", dashboard.port)) == b""
        refused = dashboard.ask("GET", "/containers")
        assert refused.status == 409
        assert refused.body["detail"] == f"{path}: it can't be read; remove it and pair your browser again"
    finally:
        path.write_bytes(kept)
    assert dashboard.ask("GET", "/containers").status == 200
    assert dashboard.published["pid"] == web


def test_a_disk_that_fills_up_takes_no_key_away(scratch: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", scratch], check=True)
    try:
        access, secrets = Access(Home(str(scratch), str(scratch))), []
        with contextlib.suppress(BerthError):
            while True:
                secrets.append(access.add("browser", APP)[1])
        assert 1 < len(secrets) < 64
        assert [secret for secret in secrets if access.find(secret, APP) is None] == []
    finally:
        subprocess.run(["umount", scratch], check=True)


def test_pages_that_come_and_go_never_fill_the_list_of_keys(dashboard: Dashboard) -> None:
    program = dashboard.post("/tokens", {"name": "program"}, 201)
    for _ in range(70):
        last = dashboard.post("/tokens", {"name": "manager", "page": True}, 201)
    kept = [token["id"] for token in dashboard.get("/tokens")["tokens"]]
    assert len(kept) < 20
    assert {program["id"], last["id"]} <= set(kept)


def test_a_ticket_is_good_for_30_seconds(dashboard: Dashboard) -> None:
    ticket = dashboard.ticket(APP)
    tickets = dashboard.berth.home / "run" / "tickets"
    file = max(tickets.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert ticket not in file.read_text() + file.name
    told = file.read_text()
    until = float(re.findall(r'"until":([0-9.]+)', told)[0])
    file.write_text(told.replace(str(until), str(until - 30.0)))

    assert pair_as(dashboard, APP, ticket) == b""
    assert not any(entry["uid"] == APP for entry in dashboard.get("/tokens")["tokens"])


def test_nothing_on_the_disk_opens_the_dashboard(dashboard: Dashboard) -> None:
    home = dashboard.berth.home
    for folder, _, names in os.walk(home):
        for path in (Path(folder, name) for name in names):
            with contextlib.suppress(FileNotFoundError):  # taken away meanwhile
                assert not path.is_file() or dashboard.token.encode() not in path.read_bytes()
    for name in ("access.json", "run/web.json", "audit.log"):
        assert (home / name).stat().st_mode & 0o777 == 0o600


def test_a_client_that_sends_and_closes_at_once_does_nothing(dashboard: Dashboard, rootfs: Factory) -> None:
    """Its uid can't be told any more: the kernel says 0, with no inode."""
    dashboard.start("here", faults.write_init(rootfs("busybox")))
    stop = request(
        "POST",
        "/api/v1/containers/here/stop",
        dashboard.port,
        f"Authorization: Bearer {dashboard.token}",
        body=b'{"timeout":0}',
    )
    web = dashboard.published["pid"]
    os.kill(web, 19)  # SIGSTOP: the connection is looked at only when its client has gone
    try:
        with socket.create_connection(("127.0.0.1", dashboard.port)) as sock:
            sock.sendall(stop)
    finally:
        os.kill(web, 18)
    assert dashboard.get("/containers/here")["details"]["state"] == "running"
    begun = [one["kind"] for one in dashboard.get("/operations")["operations"] if one["container"] == "here"]
    assert begun == ["start"]
    dashboard.remove("here")


def test_a_half_closed_connection_harms_nobody(dashboard: Dashboard) -> None:
    with socket.create_connection(("127.0.0.1", dashboard.port), timeout=faults.SECONDS) as sock:
        sock.sendall(b"GET / HT")
        sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(100) == b""
    assert dashboard.get("/containers") == {"containers": []}


def test_a_half_closed_stream_ends_and_leaves_its_place_to_another(dashboard: Dashboard) -> None:
    streams = dashboard.berth.home / "run" / "streams"
    bearer = f"Authorization: Bearer {dashboard.token}"
    with socket.create_connection(("127.0.0.1", dashboard.port), timeout=faults.SECONDS) as sock:
        sock.sendall(request("POST", "/api/v1/streams", dashboard.port, bearer, body=b'{"subscriptions":[]}'))
        seen = b""
        while b'"hello"' not in seen:
            seen += sock.recv(65536)
        assert os.listdir(streams) != []
        sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while sock.recv(65536):
                pass
    faults.wait_until(lambda: os.listdir(streams) == [], "the stream has ended")


def test_a_container_on_the_devices_network_needs_a_token_too(dashboard: Dashboard, rootfs: Factory) -> None:
    """Its uids are the device's: 0 passes the gate, and so does a paired app's; neither is a credential."""
    token_in(pair_as(dashboard, APP, dashboard.ticket(APP)))
    root = faults.write_init(rootfs("busybox"))
    with (root / "etc" / "passwd").open("a") as passwd:
        passwd.write(f"app:x:{APP}:{APP}::/:/bin/sh\n")
    dashboard.start("hostile", root)
    get = request("GET", "/api/v1/containers", dashboard.port).decode().replace("\r\n", "\\r\\n")
    with Page(dashboard) as page:
        for user in ("root", "app"):
            script = f"id -u; (printf '{get}'; sleep 60) | nc 127.0.0.1 {dashboard.port}"
            wanted = {"container": "hostile", "user": user, "argv": ["sh", "-c", script]}
            opened = dashboard.post("/terminals", wanted, 201)
            page.change({"id": user, "kind": "terminal", "terminal": opened["id"]})
            page.output(user, b"HTTP/1.1 401")
            dashboard.delete(f"/terminals/{opened['id']}", 204)
    faults.wait_until(lambda: not dashboard.get("/terminals")["terminals"], "all terminals are closed")
    dashboard.remove("hostile")


@pytest.mark.parametrize("path", ["/", "/index.html", "/api/v1/containers", "/api/v1/pair", "/nothing"])
def test_only_the_one_host_name_is_answered(dashboard: Dashboard, path: str) -> None:
    port = dashboard.port
    bearer = f"Authorization: Bearer {dashboard.token}"
    for host in (f"localhost:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}", f"evil.example:{port}", f"[::1]:{port}"):
        answer = raw(port, request("GET", path, port, bearer, host=host))
        assert status_of(answer) == 421, host
    assert status_of(raw(port, f"GET {path} HTTP/1.0\r\n\r\n".encode())) == 421
    absolute = request("GET", f"http://evil.example{path}", port, bearer)
    assert status_of(raw(port, absolute)) in (200, 401, 404, 405)  # what counts is Host; nothing is fetched for it


def test_a_foreign_page_may_use_nothing(dashboard: Dashboard) -> None:
    for origin in ("null", "http://evil.example", f"http://127.0.0.1:{dashboard.port + 1}", f"{MANAGER}.evil.example"):
        reply = dashboard.ask("GET", "/containers", headers={"Origin": origin})
        assert reply.status == 403, origin
        assert "access-control-allow-origin" not in reply.headers
        assert dashboard.ask("OPTIONS", "/containers", headers={"Origin": origin}).status == 403
    own = dashboard.ask("GET", "/containers", headers={"Origin": f"http://127.0.0.1:{dashboard.port}"})
    assert own.status == 200


def test_the_managers_page_is_let_in_by_name(dashboard: Dashboard) -> None:
    asked = {
        "Origin": MANAGER,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Private-Network": "true",
    }
    preflight = dashboard.ask("OPTIONS", "/containers", headers=asked)
    assert preflight.status == 204
    assert preflight.headers["access-control-allow-origin"] == MANAGER
    assert preflight.headers["access-control-allow-private-network"] == "true"
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    reply = dashboard.ask("GET", "/containers", headers={"Origin": MANAGER})
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (200, MANAGER)
    assert dashboard.ask("GET", "/containers", headers={"Origin": MANAGER}, token="x").status == 401


def test_a_token_counts_in_its_header_only(dashboard: Dashboard) -> None:
    good, port = dashboard.token, dashboard.port
    elsewhere = (
        request("GET", f"/api/v1/containers?token={good}", port),
        request("GET", f"/api/v1/containers?access_token={good}", port),
        request("GET", "/api/v1/containers", port, f"Cookie: token={good}"),
        request("GET", "/api/v1/containers", port, f"Authorization: Basic {good}"),
        request("GET", "/api/v1/containers", port, f"Authorization: {good}"),
        request("GET", "/api/v1/containers", port, "Authorization: Bearer "),
        request("GET", "/api/v1/containers", port),
    )
    for asked in elsewhere:
        answer = raw(port, asked)
        assert status_of(answer) == 401
        assert b"Set-Cookie" not in answer
    with_query = request("GET", f"/api/v1/containers?token={good}", port, f"Authorization: Bearer {good}")
    assert status_of(raw(port, with_query)) == 400


def test_a_token_that_was_taken_away_is_good_for_nothing(dashboard: Dashboard) -> None:
    old = dashboard.post("/tokens", {"name": "old"}, 201)
    assert dashboard.ask("GET", "/containers", token=old["token"]).status == 200
    dashboard.delete(f"/tokens/{old['id']}", 204)
    for method, path in (("GET", "/containers"), ("GET", "/tokens"), ("POST", "/streams")):
        assert dashboard.ask(method, path, {} if method == "POST" else None, token=old["token"]).status == 401
    assert dashboard.ask("GET", "/containers").status == 200


def test_every_call_needs_a_token(dashboard: Dashboard) -> None:
    document = dashboard.get("/openapi.json")
    for path, calls in document["paths"].items():
        for method in calls:
            place = path.removeprefix("/api/v1").replace("{name}", "x").replace("{id}", "x").replace("{uid}", "x")
            if place in ("/pair", "/proof"):
                continue
            answer = raw(dashboard.port, request(method.upper(), f"/api/v1{place}", dashboard.port))
            assert status_of(answer) == 401, f"{method} {path}"


def test_guessing_tokens_takes_longer_and_longer(dashboard: Dashboard) -> None:
    statuses, seconds = guess(dashboard)
    while seconds > 0.9:  # on a machine that is held up, the second that one has to wait is over before it is seen
        await_forgiveness(dashboard)
        statuses, seconds = guess(dashboard)
    assert statuses == [401] * 5 + [429] * 2  # whoever has the right one waits as well
    await_forgiveness(dashboard)
    assert dashboard.ask("GET", "/containers", token="x" * 43).status == 401  # forgiven


def guess(dashboard: Dashboard) -> tuple[list[int], float]:
    """Return how six wrong tokens and then the right one are answered, and the seconds from the fifth on."""
    statuses = [dashboard.ask("GET", "/containers", token="x" * 43).status for _ in range(4)]
    began = time.monotonic()
    statuses += [dashboard.ask("GET", "/containers", token="x" * 43).status for _ in range(2)]
    statuses.append(dashboard.ask("GET", "/containers").status)
    return statuses, time.monotonic() - began


def await_forgiveness(dashboard: Dashboard) -> None:
    faults.wait_until(lambda: dashboard.ask("GET", "/containers").status == 200, "the right one is good again")


def test_only_json_is_taken(dashboard: Dashboard) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        reply = dashboard.ask("POST", "/containers", b"{}", headers={"Content-Type": kind})
        assert reply.status == 415, kind


def test_every_answer_forbids_frames_sniffing_and_foreign_scripts(dashboard: Dashboard) -> None:
    port = dashboard.port
    answers = [
        raw(port, request("GET", "/", port)),
        raw(port, request("GET", "/nothing", port)),
        raw(port, request("GET", "/api/v1/containers", port)),
        raw(port, request("GET", "/", port, host="evil.example")),
    ]
    for answer in answers:
        head = answer.partition(b"\r\n\r\n")[0].decode()
        policy = re.search(r"Content-Security-Policy: ([^\r]*)", head)
        assert policy
        assert "script-src 'self';" in policy[1]
        assert "frame-ancestors 'none'" in policy[1]
        for header in ("X-Content-Type-Options: nosniff", "Referrer-Policy: no-referrer", "X-Frame-Options: DENY"):
            assert header in head
        assert "Server:" not in head


@pytest.mark.parametrize(
    "path",
    [
        "/../build.py",
        "/..%2fbuild.py",
        "/%2e%2e/build.py",
        "/../pyapp/berth/web/gate.py",
        "//etc/passwd",
        "/.git/config",
        "/index.html/",
        "/index.html%00.css",
        "/./index.html",
        "/vendor",
        "/vendor/",
        "/\\..\\build.py",
        "/webroot/index.html",
    ],
)
def test_no_other_file_is_served(dashboard: Dashboard, path: str) -> None:
    assert status_of(raw(dashboard.port, request("GET", path, dashboard.port))) in (400, 404)


@pytest.mark.parametrize(
    "name", ["..", "%2e%2e", "..%2f..", "a%2fb", "a%00b", "-x", "%F0%9F%92%A9", "a" * 65, "<script>"]
)
def test_a_trick_with_a_name_finds_nothing(dashboard: Dashboard, name: str) -> None:
    bearer = f"Authorization: Bearer {dashboard.token}"
    for rest in ("", "/log", "/processes"):
        answer = raw(dashboard.port, request("GET", f"/api/v1/containers/{name}{rest}", dashboard.port, bearer))
        assert status_of(answer) in (400, 404), answer
    assert dashboard.ask("POST", f"/streams/{name}/subscriptions", {}).status in (400, 404)
    assert dashboard.ask("DELETE", f"/terminals/{name}").status in (400, 404)


def test_a_caller_of_sudo_gets_a_link_for_the_own_browser(dashboard: Dashboard) -> None:
    """Who became root is found above the command: a process of user 10123 with a child that is root."""
    # The parent becomes the user only after its child is there, which stays root: as after su.
    code = (
        "import os, subprocess, sys\n"
        "reader, writer = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    os.read(reader, 1)\n"
        "    sys.exit(subprocess.run(sys.argv[1:]).returncode)\n"
        f"os.setuid({APP})\n"
        "os.write(writer, b'x')\n"
        "sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
    )
    command = [sys.executable, "-c", code, *dashboard.berth.command, "dashboard"]
    result = subprocess.run(
        command, env=dashboard.berth.environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert f"uid {APP}" in result.stderr
    ticket = result.stdout.strip().partition("#ticket=")[2]
    assert token_in(pair_as(dashboard, APP, ticket))


def test_a_reset_in_the_middle_of_a_request_harms_nobody(dashboard: Dashboard) -> None:
    for _ in range(20):
        sock = socket.create_connection(("127.0.0.1", dashboard.port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.sendall(b"POST /api/v1/pair HTTP/1.1\r\nContent-Le")
        sock.close()
    assert dashboard.get("/containers") == {"containers": []}
