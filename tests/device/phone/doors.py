"""The two doors of the phone's dashboard: its port, reached from outside as some app, and the root manager's bridge."""

import base64
import http.client
import json
from typing import Any, NamedTuple

from tests.device.machine import patience
from tests.device.phone.machine import HOME, Phone
from tests.device.phone.scene import MODULE

SECONDS = 60.0
FIRST_PORT = 7600
SHELL = 2000
BROWSER = 10234
"""The uid of the browser that the phone's user has chosen (guest/system/bin/cmd)."""
PAGE_RUNS = f"PATH=$PATH:{MODULE}/bin berth api"
"""How the page calls the program (webroot/api/bridge.js)."""


class Reply(NamedTuple):
    """An answer; status 0 and nothing more for a connection that was closed instead."""

    status: int
    kind: str
    text: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.text) if self.text else None


class Door:
    """The dashboard's port as an app of user `uid` reaches it; `here` is a port of 127.0.0.1 that leads there."""

    def __init__(self, phone: Phone, uid: int) -> None:
        phone.wait_until(lambda: phone.run("ls", f"{HOME}/run/web.json").code == 0, "the dashboard is served")
        self.there = int(json.loads(phone.read(f"{HOME}/run/web.json"))["port"])
        port, said = FIRST_PORT + uid, f"/dev/relay-{uid}"
        relay = f"{MODULE}/runtime/bin/python3 -IS /mnt/parcel/relay.py {port} {self.there} {uid}"
        phone.output("sh", "-c", f"setsid {relay} </dev/null >{said} 2>&1 &")
        ready = f"a way to the dashboard for user {uid}"
        phone.wait_until(lambda: phone.run("cat", said).out.strip() == "ready", ready)
        self.here = phone.forward(port)

    def ask(self, method: str, path: str, body: object = None, token: str = "") -> Reply:
        """Make one request, `path` being that of a page or an API."""
        conn = http.client.HTTPConnection("127.0.0.1", self.here, timeout=patience(SECONDS))
        headers = {"Host": f"127.0.0.1:{self.there}"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            conn.request(method, path, None if body is None else json.dumps(body).encode(), headers)
            answer = conn.getresponse()
            return Reply(answer.status, answer.getheader("Content-Type", ""), answer.read())
        except (http.client.RemoteDisconnected, ConnectionError):
            return Reply(0, "", b"")
        finally:
            conn.close()

    def api(self, method: str, path: str, body: object = None, token: str = "") -> Reply:
        """Make one request of the API."""
        return self.ask(method, f"/api/v1{path}", body, token)


def bridge(phone: Phone, method: str, path: str, body: object = None) -> Reply:
    """Make the same request as the page in a root manager does."""
    words = [method, f"/api/v1{path}"]
    if body is not None:
        words.append(base64.b64encode(json.dumps(body).encode()).decode())
    done = phone.sh(f"{PAGE_RUNS} {' '.join(words)}")
    assert done.code == 0, done
    answer = json.loads(done.out)
    return Reply(answer["status"], "", json.dumps(answer["body"]).encode())


def ticket_shown(phone: Phone) -> str:
    """Return the ticket in the link that Android was last told to show; it must be for the chosen browser alone."""
    *words, link = phone.read("/data/local/tmp/shown").split("\n")
    view = ["-a", "android.intent.action.VIEW"]
    assert words == ["start", "--user", "current", *view, "-p", "org.example.browser", "-d"]
    return link.partition("#ticket=")[2]
