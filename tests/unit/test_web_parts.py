"""Parts of the dashboard that need no root: what is imported where, rings, files, routes, addresses, the document."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.home import Home
from berth.kernel.inet_diag import Address, Owner, look_up, owner_of
from berth.service.ring import Ring
from berth.web import audit
from berth.web.access import Access
from berth.web.api import TABLE
from berth.web.files import Files
from berth.web.gate import Gate, Headers
from berth.web.openapi import document
from berth.web.routes import PREFIX, Caller, HttpError, parse_body, parse_query

PYAPP = Path(__file__).resolve().parents[2] / "pyapp"
Question = Callable[[Address, Address], Owner | None]
HEAVY = {"flask", "waitress", "werkzeug", "psutil", "pyroute2"}


def imported_by(code: str) -> set[str]:
    """The modules that are there after `code` has run in a Python of its own."""
    told = f"{code}\nimport sys\nprint(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(PYAPP)}
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, env=environment)
    return set(done.stdout.split())


def test_the_service_imports_nothing_of_the_dashboard() -> None:
    modules = imported_by("import berth.cli.main")
    assert not modules & HEAVY
    assert not [name for name in modules if name.startswith("berth.web")]


def test_the_api_on_the_command_line_needs_no_web_server() -> None:
    assert not imported_by("import berth.web.bridge") & HEAVY


def test_guesses_of_many_hours_wait_as_long_as_those_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("berth.web.gate.time.monotonic", lambda: now)
    gate = Gate(Home(str(tmp_path), str(tmp_path)), 7575)
    guess = Headers("127.0.0.1:7575", None, "Bearer wrong", "", 0)
    for _ in range(1100):
        now += 60
        with pytest.raises(HttpError, match="not good any more"):
            gate.identify("GET", "/api/v1/host", 0, guess)
    now += 59
    with pytest.raises(HttpError, match="too many"):
        gate.identify("GET", "/api/v1/host", 0, guess)


def test_a_key_that_a_page_got_on_another_port_is_good_for_nothing(tmp_path: Path) -> None:
    home = Home(str(tmp_path), str(tmp_path))
    _, secret = Access(home).add("browser", 0, port=7575)

    assert Access(home, 7575).find(secret, 0) is not None
    assert Access(home, 7576).find(secret, 0) is None


def test_the_audit_log_is_told_across_the_moment_when_it_is_turned_over(tmp_path: Path) -> None:
    home = Home(str(tmp_path), str(tmp_path))
    told = 0
    while not (tmp_path / "audit.log.1").exists() or not (tmp_path / "audit.log").exists():
        audit.note(home, Caller(0, "", "test"), f"GET /{told:0>100}", 200)
        told += 1

    assert [int(entry.what.partition("/")[2]) for entry in audit.latest(home)] == list(range(told - 200, told))


@given(st.lists(st.binary(max_size=40)), st.integers(0, 2000), st.integers(1, 30))
def test_a_ring_gives_what_was_written_from_any_position(parts: list[bytes], position: int, most: int) -> None:
    ring, whole = Ring(50), b"".join(parts)
    for part in parts:
        ring.add(part)
    position = min(position, len(whole))

    data, missed = ring.read(position, most)

    assert ring.end == len(whole)
    assert position + missed <= len(whole)
    assert data == whole[position + missed : position + missed + most]
    assert missed == max(0, len(whole) - 50 - position)


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("ask", [owner_of, look_up])
def test_the_owner_of_a_connection_is_found_by_netlink_and_in_the_table(mapped: bool, ask: Question) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        family, name = (socket.AF_INET6, "::ffff:127.0.0.1") if mapped else (socket.AF_INET, "127.0.0.1")
        with socket.socket(family) as client:
            client.connect((name, address[1]))
            accepted, peer = server.accept()
            with accepted:
                expected = Owner(os.geteuid(), os.fstat(client.fileno()).st_ino)
                assert ask(peer, address) == expected
    assert ask(("127.0.0.1", 1), address) is None


def test_a_socket_that_listens_is_nobodys_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        assert owner_of(address, ("127.0.0.1", 40000)) is None


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "vendor").mkdir()
    (tmp_path / "index.html").write_text("page")
    (tmp_path / "vendor" / "x.js").write_text("script")
    (tmp_path / "vendor" / "x.js.gz").write_bytes(b"packed")
    (tmp_path / "notes.exe").write_text("no type of a page's")
    (tmp_path / ".hidden.js").write_text("hidden")
    (tmp_path / "out.js").symlink_to("/etc/passwd")
    return Files(str(tmp_path))


def test_a_file_is_sent_packed_to_those_who_can_unpack_it(files: Files) -> None:
    packed, plain = files.find("/vendor/x.js", gzip=True), files.find("/vendor/x.js", gzip=False)
    assert packed is not None
    assert plain is not None
    assert (packed.data, packed.gzip, packed.type) == (b"packed", True, "text/javascript; charset=utf-8")
    assert (plain.data, plain.gzip) == (b"script", False)


@pytest.mark.parametrize(
    "path", ["/notes.exe", "/.hidden.js", "/out.js", "/vendor", "/../x.js", "/vendor//x.js", "x/../"]
)
def test_what_is_no_file_of_the_page_is_not_found(files: Files, path: str) -> None:
    assert files.find(path, gzip=False) is None


def test_a_file_that_was_added_is_found(files: Files, tmp_path: Path) -> None:
    assert files.find("/late.css", gzip=False) is None
    (tmp_path / "late.css").write_text("late")
    assert files.find("/late.css", gzip=False) is not None


def test_every_route_is_found_and_described() -> None:
    told = json.loads(document(TABLE.routes))
    for route in TABLE.routes:
        path = PREFIX + route.path.replace("{name}", "demo").replace("{id}", "abc")
        assert TABLE.find(route.method, path)[0] is route
        described = told["paths"][PREFIX + route.path][route.method.lower()]
        assert described["summary"] == route.summary
        assert str(route.status) in described["responses"]
    identifiers = [call["operationId"] for calls in told["paths"].values() for call in calls.values()]
    assert len(set(identifiers)) == len(identifiers)


@given(st.binary(max_size=200))
def test_any_body_is_understood_or_refused_in_one_sentence(data: bytes) -> None:
    refused: list[HttpError] = []
    for route in TABLE.routes:
        try:
            parse_body(route, data)
        except HttpError as error:
            refused.append(error)
    assert {error.status for error in refused} <= {400}
    assert not any("\n" in str(error) for error in refused)


@given(st.text(max_size=80))
def test_any_query_is_understood_or_refused(query: str) -> None:
    route, _ = TABLE.find("GET", f"{PREFIX}/containers/demo/log")
    found: dict[str, str] = {}
    with contextlib.suppress(HttpError):
        found = parse_query(route, query)
    assert found.keys() <= {"lines"}


def test_a_bodys_types_are_in_the_document_whole() -> None:
    told = json.loads(document(TABLE.routes))
    text = msgspec.json.encode(told).decode()
    for name in told["components"]["schemas"]:
        assert f"#/components/schemas/{name}" in text
