"""A page's one stream, and the terminals that outlive it."""

import base64
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import faults, quick
from tests.dashboard import Dashboard, Page, shared

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]
RING_BYTES = 256 * 1024


@pytest.fixture(scope="module")
def one(berth_home: Path) -> Iterator[Dashboard]:
    with shared(berth_home) as dashboard:
        yield dashboard


@pytest.fixture
def dashboard(one: Dashboard) -> Iterator[Dashboard]:
    """One service for all tests here; what a test leaves open is closed."""
    yield one
    for terminal in one.get("/terminals")["terminals"]:
        one.delete(f"/terminals/{terminal['id']}", 204)
    faults.wait_until(lambda: not one.get("/terminals")["terminals"], "all terminals are closed")


@pytest.fixture
def inside(dashboard: Dashboard, rootfs: Factory) -> Iterator[str]:
    """A running container."""
    root = faults.write_init(rootfs("busybox"))
    dashboard.start("streams", root)
    yield "streams"
    dashboard.remove("streams")


def terminal(dashboard: Dashboard, container: str, *argv: str) -> str:
    opened = dashboard.post("/terminals", {"container": container, "argv": argv}, 201)
    return str(opened["id"])


def test_a_shell_in_the_browser(dashboard: Dashboard, inside: str) -> None:
    shell = terminal(dashboard, inside)
    with Page(dashboard, {"id": "t", "kind": "terminal", "terminal": shell}) as page:
        dashboard.type(shell, 1, b"echo he''re $(tty)\n")
        page.output("t", b"here /dev/pts/")
        dashboard.post(f"/terminals/{shell}/size", {"rows": 40, "columns": 123}, 204)
        dashboard.type(shell, 2, b"stty size\n")
        page.output("t", b"40 123")
        dashboard.type(shell, 3, b"sh -c 'echo a''sleep; exec sleep 1000'\n")
        page.output("t", b"asleep")
        dashboard.type(shell, 4, b"\x03")  # Ctrl-C reaches the program in the foreground
        dashboard.type(shell, 5, b"exit 7\n")
        assert page.until(lambda frame: frame["kind"] == "end")["code"] == 7
    (shown,) = dashboard.get("/terminals")["terminals"]
    assert (shown["id"], shown["ended"], shown["columns"]) == (shell, 7, 123)
    late = dashboard.ask("POST", f"/terminals/{shell}/input", {"writer": "w", "number": 1, "data": "eA=="})
    assert (late.status, late.body["detail"]) == (409, "the program in this terminal has ended; open a new one")


def test_what_is_typed_faster_than_a_program_reads_is_to_be_sent_again(dashboard: Dashboard, inside: str) -> None:
    deaf = terminal(dashboard, inside, "sh", "-c", "stty raw; echo deaf; exec sleep 1000")
    with Page(dashboard, {"id": "t", "kind": "terminal", "terminal": deaf}) as page:
        page.output("t", b"deaf")
    data = base64.b64encode(b"x" * 60_000).decode()
    statuses = [
        dashboard.ask("POST", f"/terminals/{deaf}/input", {"writer": "test", "number": number, "data": data}).status
        for number in (1, 2, 3)
    ]
    assert (statuses[0], statuses[-1]) == (200, 503)


def test_input_that_is_sent_again_is_typed_once(dashboard: Dashboard, inside: str) -> None:
    shell = terminal(dashboard, inside, "cat")
    with Page(dashboard, {"id": "t", "kind": "terminal", "terminal": shell}) as page:
        assert dashboard.type(shell, 1, b"once\n") == {"number": 1}
        assert dashboard.type(shell, 1, b"once\n") == {"number": 1}
        dashboard.type(shell, 2, b"twice\n")
        seen = b""
        while seen.count(b"twice") < 2:
            seen += base64.b64decode(page.until(lambda frame: frame["kind"] == "output")["data"])
        assert (seen.count(b"once"), seen.count(b"twice")) == (2, 2)  # each by the terminal's echo and by cat


def test_a_terminal_goes_on_where_the_page_was_after_the_web_process_is_killed(
    dashboard: Dashboard, inside: str
) -> None:
    shell = terminal(dashboard, inside)
    with Page(dashboard, {"id": "t", "kind": "terminal", "terminal": shell}) as page:
        dashboard.type(shell, 1, b"echo fir''st\n")
        position = page.output("t", b"first")
        web = dashboard.published["pid"]
        os.kill(web, signal.SIGKILL)
        assert page.ended
    dashboard.await_web(but=web)
    assert os.listdir(dashboard.berth.home / "run" / "streams") == []

    dashboard.type(shell, 2, b"echo sec''ond\n")
    with Page(dashboard, {"id": "t", "kind": "terminal", "terminal": shell, "position": position}) as page:
        frame = page.until(lambda frame: frame["kind"] == "output")
        assert frame["missed"] == 0
        assert b"first" not in base64.b64decode(frame["data"])
        if b"second" not in base64.b64decode(frame["data"]):
            page.output("t", b"second")


def test_a_viewer_that_comes_too_late_sees_how_much_it_missed(dashboard: Dashboard, inside: str) -> None:
    lots = 3 * RING_BYTES
    shell = terminal(dashboard, inside, "sh", "-c", f"head -c {lots} /dev/zero | tr '\\0' x; echo; echo end")
    faults.wait_until(lambda: dashboard.get("/terminals")["terminals"][0]["ended"] == 0, "all was written")

    with Page(dashboard, {"id": "t", "kind": "terminal", "terminal": shell}) as page:
        first = page.until(lambda frame: frame["kind"] == "output")
        assert first["missed"] >= lots - 2 * RING_BYTES
        assert first["position"] == first["missed"] + len(base64.b64decode(first["data"]))
        page.output("t", b"end\r\n")


def test_a_program_waits_while_its_only_viewer_is_behind(dashboard: Dashboard, inside: str) -> None:
    shell = terminal(dashboard, inside, "sh", "-c", "n=0; while :; do n=$((n + 1)); echo $n; done")
    with Page(dashboard, {"id": "t", "kind": "terminal", "terminal": shell}) as page:
        page.until(lambda frame: frame["kind"] == "output")

        def cpu_time() -> float:
            processes = dashboard.get(f"/containers/{inside}/processes")["processes"]
            return float(max(process["cpu_time"] for process in processes))

        def stands_still() -> bool:
            before = cpu_time()
            time.sleep(0.3)  # what is looked for is that nothing happens in a time
            return cpu_time() == before

        faults.wait_until(stands_still, "the program waits for its viewer")
        frames = [page.until(lambda frame: frame["kind"] == "output") for _ in range(40)]
        assert [frame["missed"] for frame in frames] == [0] * len(frames)
        _, *whole, _ = b"".join(base64.b64decode(frame["data"]) for frame in frames).split(b"\r\n")
        numbers = [int(line) for line in whole]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_what_happens_is_told_as_it_happens(dashboard: Dashboard, rootfs: Factory) -> None:
    berth = dashboard.berth
    root = faults.write_init(rootfs("busybox"))
    with Page(dashboard, {"id": "e", "kind": "events"}) as page:
        state = page.next()
        assert (state["sub"], state["kind"], state["containers"]) == ("e", "state", [])
        berth.succeed("start", "told", "--rootfs", root)
        running = page.until(lambda frame: frame.get("event") == "running")
        assert (running["name"], running["container"]["state"]) == ("told", "running")
        dashboard.post("/containers/told/stop", {"timeout": 0}, 202)
        assert page.until(lambda frame: frame["kind"] == "operation")["operation"]["state"] == "running"
        page.until(lambda frame: frame.get("event") == "stopped")
        page.until(lambda frame: frame["kind"] == "operation" and frame["operation"]["state"] == "done")
        berth.succeed("rm", "told", "--yes")
        removed = page.until(lambda frame: frame.get("event") == "removed")
        assert (removed["name"], removed["container"]) == ("told", None)


def test_a_stream_is_changed_while_it_runs(dashboard: Dashboard, inside: str) -> None:
    with Page(dashboard) as page:
        page.change({"id": "s", "kind": "statistics", "containers": [inside], "seconds": 1})
        samples = [page.until(lambda frame: frame.get("sub") == "s") for _ in range(2)]
        assert samples[1]["at"] - samples[0]["at"] >= 0.9
        assert samples[0]["containers"][inside]["memory"] > 0
        page.change({"id": "x", "kind": "log", "container": "nothing"}, drop=("s",))
        assert "there is no container" in page.until(lambda frame: frame["kind"] == "error")["detail"]
    gone = dashboard.ask("POST", f"/streams/{page.id}/subscriptions", {"drop": ["s"]})
    faults.wait_until(
        lambda: dashboard.ask("POST", f"/streams/{page.id}/subscriptions", {}).status == 404, f"it has ended: {gone}"
    )


def test_a_log_goes_on_where_a_stream_had_come_to(dashboard: Dashboard, rootfs: Factory) -> None:
    wait = "while ! [ -e /go ]; do sleep 0.02; done"
    init = f"#!/bin/sh\ntrap 'exit 0' TERM\necho one\n{wait}\necho two\nsleep 1000 & wait $!\n"
    root = faults.write_init(rootfs("busybox"), init)
    dashboard.start("log", root)
    with Page(dashboard, {"id": "l", "kind": "log", "container": "log"}) as page:
        said, frame = said_in_log(page)
        assert said == b"one\r\n"
    (root / "go").touch()
    with Page(dashboard, {"id": "l", "kind": "log", "container": "log", "cursor": frame["cursor"]}) as page:
        said, again = said_in_log(page)
        assert (said, again["missed"]) == (b"two\r\n", False)
    with Page(dashboard, {"id": "l", "kind": "log", "container": "log", "cursor": "1:1"}) as page:
        assert page.until(lambda frame: frame["kind"] == "log")["missed"] is True
    dashboard.remove("log")


def said_in_log(page: Page) -> tuple[bytes, dict[str, Any]]:
    """Return the next line, which may come in pieces, and the frame that ends it; fails when one tells of a gap."""
    said, missed = b"", False
    while not said.endswith(b"\n"):
        frame = page.until(lambda frame: frame["kind"] == "log")
        said, missed = said + base64.b64decode(frame["data"]), missed or frame["missed"]
    return said, {**frame, "missed": missed}


def test_a_long_log_names_the_place_to_go_on_only_at_its_end(dashboard: Dashboard, rootfs: Factory) -> None:
    dashboard.start("long", faults.write_init(rootfs("busybox")))
    log = dashboard.berth.home / "containers" / "long" / "log"
    with log.open("ab") as file:
        file.write(b"a line that is told\n" * 5000)
    with Page(dashboard, {"id": "l", "kind": "log", "container": "long"}) as page:
        frames = [page.until(lambda frame: frame["kind"] == "log") for _ in range(4)]
    assert ["cursor" in frame for frame in frames] == [False, False, False, True]
    dashboard.remove("long")


def test_a_change_that_is_too_large_for_a_stream_leaves_it_as_it_is(dashboard: Dashboard) -> None:
    names = [f"{number:0>64}" for number in range(64)]
    many = [{"id": f"s{number}", "kind": "statistics", "containers": names} for number in range(32)]
    with Page(dashboard) as page:
        assert dashboard.ask("POST", f"/streams/{page.id}/subscriptions", {"add": many}).status == 400
        page.change({"id": "x", "kind": "log", "container": "nothing"})
        assert page.until(lambda frame: frame["sub"] == "x")["kind"] == "error"


def test_the_console_is_seen_and_typed_at(dashboard: Dashboard, rootfs: Factory) -> None:
    init = "#!/bin/sh\ntrap 'exit 0' TERM\necho ready\nread word < /dev/console\necho got $word\nsleep 1000 & wait $!\n"
    dashboard.start("console", faults.write_init(rootfs("busybox"), init))
    with Page(dashboard, {"id": "c", "kind": "console", "container": "console"}) as page:
        page.output("c", b"ready")
        data = base64.b64encode(b"a-word\n").decode()
        dashboard.post("/containers/console/console/input", {"data": data}, 204)
        page.output("c", b"got a-word")
        dashboard.finish(dashboard.post("/containers/console/stop", {"timeout": 0}, 202))
        page.until(lambda frame: frame["kind"] == "end")
    dashboard.delete("/containers/console")


@pytest.mark.parametrize("kind", ["log", "console"])
def test_a_trick_with_a_name_opens_no_source(dashboard: Dashboard, inside: str, kind: str) -> None:
    with Page(dashboard) as page:
        for name in ("", "..", f"../containers/{inside}", f"{inside}/", "a" * 64):
            page.change({"id": "x", "kind": kind, "container": name})
            assert page.until(lambda frame: frame["sub"] == "x")["kind"] == "error", name


def test_a_program_that_ignores_the_hang_up_is_killed(dashboard: Dashboard, inside: str) -> None:
    shell = terminal(dashboard, inside, "sh", "-c", "trap '' HUP; echo deaf; while :; do sleep 1000; done")
    with Page(dashboard, {"id": "t", "kind": "terminal", "terminal": shell}) as page:
        page.output("t", b"deaf")
        dashboard.delete(f"/terminals/{shell}", 204)
        assert page.until(lambda frame: frame["kind"] in ("end", "error"))
    faults.wait_until(lambda: not dashboard.get("/terminals")["terminals"], "the terminal is closed")
    assert dashboard.ask("DELETE", f"/terminals/{shell}").status == 404


def test_a_revoked_token_ends_its_streams(dashboard: Dashboard) -> None:
    kept = dashboard.token
    other = dashboard.post("/tokens", {"name": "other"}, 201)
    dashboard.token = other["token"]
    with Page(dashboard, {"id": "e", "kind": "events"}) as page:
        dashboard.token = kept
        dashboard.delete(f"/tokens/{other['id']}", 204)
        assert page.ended


def test_no_more_than_24_pages_stream_and_others_are_still_answered(dashboard: Dashboard) -> None:
    pages = [quick.wait_for(lambda: page_if_there_is_room(dashboard)) for _ in range(24)]
    refused = dashboard.ask("POST", "/streams", {"subscriptions": []})
    assert refused.status == 503
    assert dashboard.get("/containers") == {"containers": []}
    for page in pages:
        page.close()
    faults.wait_until(lambda: dashboard.ask("POST", "/streams", {"x": 1}).status == 400, "it answers")

    quick.wait_for(lambda: page_if_there_is_room(dashboard)).close()


def page_if_there_is_room(dashboard: Dashboard) -> Page | None:
    """Return a page; None where others that have gone have not yet made room."""
    try:
        return Page(dashboard)
    except AssertionError:
        return None
