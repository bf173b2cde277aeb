"""The dashboard as tests use it: a client of the API by real HTTP, a page's stream, processes of other users."""

import base64
import contextlib
import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests import faults, host_state
from tests.program import Berth

SECONDS = faults.SECONDS


class Reply(NamedTuple):
    """What came back: the status, the headers (by lower-case name), the JSON document (None for none)."""

    status: int
    headers: dict[str, str]
    body: Any


class Dashboard:
    """The service of `berth` with its web process, and a token for it."""

    def __init__(self, berth: Berth) -> None:
        self.berth = berth
        self.token = ""

    @property
    def service(self) -> int:
        """The supervisor's pid."""
        return int((self.berth.home / "run" / "supervisor.lock").read_text())

    @property
    def published(self) -> dict[str, Any]:
        """What the web process tells of itself: port, pid, url."""
        told: dict[str, Any] = json.loads((self.berth.home / "run" / "web.json").read_text())
        return told

    @property
    def port(self) -> int:
        return int(self.published["port"])

    def await_web(self, but: int = 0) -> None:
        """Wait until a web process listens, another one than pid `but`."""

        def listens() -> bool:
            with contextlib.suppress(OSError, ValueError):
                return self.published["pid"] != but and faults.is_alive(self.published["pid"])
            return False

        faults.wait_until(listens, "the web process listens")

    def ticket(self, uid: int = 0) -> str:
        """Have a ticket made for `uid`."""
        url = json.loads(self.berth.succeed("dashboard", "--json", "--uid", str(uid)))["url"]
        return str(url).partition("#ticket=")[2]

    def pair(self) -> None:
        """Get a token as a browser does, and by it one that no number of pages that are opened later takes away."""
        self.token = self.post("/pair", {"ticket": self.ticket()}, expect=201)["token"]
        self.token = self.post("/tokens", {"name": "test"}, expect=201)["token"]

    def ask(
        self, method: str, path: str, body: object = None, *, headers: dict[str, str] | None = None, token: str = ""
    ) -> Reply:
        """Make one request; `path` that begins with /api or is a page's goes as it is, others below /api/v1."""
        conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        sent = {"Authorization": f"Bearer {token or self.token}"}
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        if data is not None:
            sent["Content-Type"] = "application/json"
        try:
            conn.request(method, f"/api/v1{path}", data, {**sent, **(headers or {})})
            answer = conn.getresponse()
            text = answer.read()
        finally:
            conn.close()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, found, json.loads(text) if text else None)

    def get(self, path: str) -> Any:
        """Return the document at `path`; fails for anything but 200."""
        return self._expect("GET", path, None, 200)

    def post(self, path: str, body: object, expect: int = 200) -> Any:
        """Return the answer to a POST; fails for another status than `expect`."""
        return self._expect("POST", path, body, expect)

    def delete(self, path: str, expect: int = 200) -> Any:
        return self._expect("DELETE", path, None, expect)

    def _expect(self, method: str, path: str, body: object, status: int) -> Any:
        reply = self.ask(method, path, body)
        assert reply.status == status, f"{method} {path}: {reply.status} {reply.body}"
        return reply.body

    def finish(self, operation: dict[str, Any]) -> dict[str, Any]:
        """Wait until an operation has ended, and return it."""
        path = f"/operations/{operation['id']}"
        faults.wait_until(lambda: self.get(path)["state"] != "running", f"{operation['sentence']} has ended")
        ended: dict[str, Any] = self.get(path)
        return ended

    def start(self, name: str, root: object) -> None:
        """Create a container over the API and start it."""
        self.post("/containers", {"spec": {"name": name, "rootfs": str(root)}}, expect=201)
        operation = self.finish(self.post(f"/containers/{name}/start", {}, expect=202))
        assert operation["state"] == "done", operation

    def remove(self, name: str) -> None:
        """Stop a container and forget it."""
        self.finish(self.post(f"/containers/{name}/stop", {"timeout": 0}, expect=202))
        self.delete(f"/containers/{name}")

    def type(self, terminal: str, number: int, data: bytes) -> Any:
        """Type in a terminal as the one writer of this test."""
        body = {"writer": "test", "number": number, "data": base64.b64encode(data).decode()}
        return self.post(f"/terminals/{terminal}/input", body)


class Page:
    """A page's stream: subscribe, and read frames as they come."""

    def __init__(self, dashboard: Dashboard, *subscriptions: dict[str, Any]) -> None:
        self._dashboard = dashboard
        self._conn = http.client.HTTPConnection("127.0.0.1", dashboard.port, timeout=SECONDS)
        headers = {"Authorization": f"Bearer {dashboard.token}", "Content-Type": "application/json"}
        body = json.dumps({"subscriptions": subscriptions})
        self._conn.request("POST", "/api/v1/streams", body, headers)
        self._answer = self._conn.getresponse()
        if self._answer.status != 200:
            told = self._answer.read()
            self.close()
            raise AssertionError(told)
        self.id = self.next()["stream"]

    def next(self) -> dict[str, Any]:
        """Return the next frame; fails at the end."""
        line = self._answer.readline()
        assert line, "the stream has ended"
        frame: dict[str, Any] = json.loads(line)
        return frame

    def until(self, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Return the first frame that is `wanted`."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            frame = self.next()
            if wanted(frame):
                return frame
        raise AssertionError("there was no such frame in time")

    def output(self, sub: str, wanted: bytes) -> int:
        """Read a terminal's output until `wanted` is in it; return the position behind it."""
        seen = b""
        while wanted not in seen:
            frame = self.until(lambda frame: frame.get("sub") == sub and frame["kind"] in ("output", "log"))
            seen += base64.b64decode(frame["data"])
        return int(frame.get("position", 0))

    @property
    def ended(self) -> bool:
        """Read to the end; True when the server has ended it."""
        with contextlib.suppress(http.client.HTTPException, ConnectionError):
            while self._answer.readline():
                pass
        return True

    def change(self, *add: dict[str, Any], drop: tuple[str, ...] = ()) -> None:
        """Change what it tells of."""
        self._dashboard.post(f"/streams/{self.id}/subscriptions", {"add": add, "drop": drop}, expect=204)

    def close(self) -> None:
        """Go away, as a page that is closed does."""
        self._answer.close()  # it, too, holds the socket
        self._conn.close()

    def __enter__(self) -> "Page":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def serving(berth: Berth) -> Iterator[Dashboard]:
    """Have the service with its dashboard, and a token."""
    dashboard = Dashboard(berth)
    berth.succeed("serve", "--background")
    try:
        dashboard.await_web()
        dashboard.pair()
        yield dashboard
    finally:
        web = dashboard.published["pid"]
        faults.end_service(berth)
        faults.wait_until(lambda: not faults.is_alive(web), "the web process has ended")
        for name in (
            "access.json",
            "access.json.lock",
            "audit.log",
            "settings.json",
            "updates.json",
            "history",
            "history.1",
            "service.log",
        ):
            (berth.home / name).unlink(missing_ok=True)


@contextlib.contextmanager
def shared(home: Path) -> Iterator[Dashboard]:
    """Have one service for many tests; fails when all of them together leave anything on the host."""
    before = host_state.look(home)
    with serving(Berth(home)) as dashboard:
        yield dashboard
    different = host_state.difference(before, home)
    assert not different, "the host is not as it was:\n" + "\n".join(different)


def raw(port: int, data: bytes, seconds: float = SECONDS) -> bytes:
    """Send `data` over a connection of its own and return all that comes back; b"" for a closed one."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(data)
        seen = b""
        with contextlib.suppress(ConnectionError):
            while part := sock.recv(65536):
                seen += part
        return seen


AS_USER = """
import os, socket, sys
os.setgroups([])
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))
sock = socket.socket()
sock.settimeout(60)
try:
    sock.connect(("127.0.0.1", int(sys.argv[2])))
    sock.sendall(sys.stdin.buffer.read())
    while part := sock.recv(65536):
        sys.stdout.buffer.write(part)
except ConnectionError:
    pass
"""


def raw_as(uid: int, port: int, data: bytes) -> bytes:
    """Do the same as a process of user `uid`."""
    command = [sys.executable, "-c", AS_USER, str(uid), str(port)]
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True, timeout=SECONDS + 30).stdout


def request(method: str, path: str, port: int, *headers: str, body: bytes = b"", host: str = "") -> bytes:
    """Return a request as bytes, closing the connection afterwards."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host or f'127.0.0.1:{port}'}", "Connection: close", *headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def status_of(answer: bytes) -> int:
    """Return the status of a raw answer; 0 for a connection that was closed without one."""
    return int(answer.split(b" ", 2)[1]) if answer else 0
