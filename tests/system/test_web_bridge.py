"""The same API by the command line, as a root manager's web view uses it where it can't reach the web process."""

import base64
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import faults
from tests.dashboard import Dashboard, shared
from tests.program import Berth

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]


@pytest.fixture(scope="module")
def dashboard(berth_home: Path) -> Iterator[Dashboard]:
    with shared(berth_home) as dashboard:
        yield dashboard


def encoded(body: object) -> str:
    return base64.b64encode(json.dumps(body).encode()).decode()


def call(dashboard: Dashboard, method: str, path: str, body: object = None) -> tuple[int, Any]:
    words = [] if body is None else [encoded(body)]
    answer = json.loads(dashboard.berth.succeed("api", method, f"/api/v1{path}", *words))
    return answer["status"], answer["body"]


def test_a_container_lives_over_the_bridge(dashboard: Dashboard, rootfs: Factory) -> None:
    root = faults.write_init(rootfs("busybox"))
    assert call(dashboard, "POST", "/containers", {"spec": {"name": "bridge", "rootfs": str(root)}})[0] == 201
    status, operation = call(dashboard, "POST", "/containers/bridge/start", {})
    assert status == 202
    assert dashboard.finish(operation)["state"] == "done"
    assert call(dashboard, "GET", "/containers")[1] == dashboard.get("/containers")
    assert call(dashboard, "POST", "/containers/bridge/plan", {})[1]["name"] == "bridge"

    with subprocess.Popen(
        [*dashboard.berth.command, "api", "--stream", encoded({"subscriptions": [{"id": "e", "kind": "events"}]})],
        env=dashboard.berth.environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as stream:
        assert stream.stdout is not None
        identity = json.loads(stream.stdout.readline())["stream"]
        assert json.loads(stream.stdout.readline())["containers"][0]["name"] == "bridge"
        _, terminal = call(dashboard, "POST", "/terminals", {"container": "bridge"})
        wanted = {"add": [{"id": "t", "kind": "terminal", "terminal": terminal["id"]}]}
        assert call(dashboard, "POST", f"/streams/{identity}/subscriptions", wanted) == (204, None)
        typed = {"writer": "w", "number": 1, "data": base64.b64encode(b"echo br''idged\n").decode()}
        assert call(dashboard, "POST", f"/terminals/{terminal['id']}/input", typed) == (200, {"number": 1})
        seen = b""
        while b"bridged" not in seen:
            frame = json.loads(stream.stdout.readline())
            seen += base64.b64decode(frame.get("data", ""))
        stream.terminate()
    faults.wait_until(lambda: not os.listdir(dashboard.berth.home / "run" / "streams"), "the stream has ended")
    call(dashboard, "DELETE", f"/terminals/{terminal['id']}")
    faults.wait_until(lambda: not dashboard.get("/terminals")["terminals"], "the terminal is closed")
    dashboard.finish(call(dashboard, "POST", "/containers/bridge/stop", {"timeout": 0})[1])
    assert call(dashboard, "DELETE", "/containers/bridge") == (200, {"name": "bridge", "root": str(root)})


def test_a_stream_of_events_ends_with_a_sentence_where_no_service_runs(scratch: Path) -> None:
    told = Berth(scratch / "home").succeed(
        "api", "--stream", encoded({"subscriptions": [{"id": "e", "kind": "events"}]})
    )
    hello, error = map(json.loads, told.splitlines())
    assert (hello["kind"], error["kind"]) == ("hello", "error")
    assert "the service does not run" in error["detail"]


def test_a_problem_is_an_answer(dashboard: Dashboard) -> None:
    status, problem = call(dashboard, "GET", "/containers/nothing")
    assert (status, problem["status"]) == (404, 404)
    assert call(dashboard, "POST", "/containers", {"x": 1})[0] == 400
    assert call(dashboard, "PATCH", "/containers")[0] == 405
    assert call(dashboard, "GET", "/nothing")[0] == 404


def test_a_wrong_line_is_refused(dashboard: Dashboard) -> None:
    for words in (("GET",), ("GET", "/api/v1/host", "no base64"), ("--stream", "no base64"), ("--stream", "e30=", "x")):
        result = dashboard.berth("api", *words)
        assert (result.returncode, result.stdout) == (2, ""), words
        assert result.stderr.startswith("berth: api: "), words


def test_the_web_view_gets_its_token_over_the_bridge(dashboard: Dashboard) -> None:
    status, made = call(dashboard, "POST", "/tokens", {"name": "manager"})
    assert status == 201
    assert dashboard.ask("GET", "/containers", token=made["token"]).status == 200
    assert call(dashboard, "DELETE", f"/tokens/{made['id']}") == (204, None)
    assert dashboard.ask("GET", "/containers", token=made["token"]).status == 401
