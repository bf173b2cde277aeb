"""The page in a root manager's web view: another origin, a `ksu` object that executes for real, TCP where it is let.

The web view is stood in for by Chromium with the manager's address answered from `webroot/` and the bridge's two calls.
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

import build
from tests.browser.conftest import PHONE, Snap, go
from tests.dashboard import Dashboard

pytestmark = pytest.mark.system

MANAGER = "https://mui.kernelsu.org"
TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".json": "application/json"}
# What KernelSU's web view offers: answers come by the name of a function, lines of a program by an object's name.
KSU = """
window.ksu = {
  exec(command, options, name) {
    executed(command).then(([code, output, complaint]) => window[name](code, output, complaint));
  },
  async spawn(command, words, options, name) {
    const program = await spawned(command);
    for (;;) {
      const [lines, code] = await printed(program);
      for (const line of lines) window[name].stdout.emit('data', line);
      if (code !== null) return window[name].emit('exit', code);
      await new Promise((keep) => setTimeout(keep, 20));
    }
  },
};
"""


class Bridge:
    """Executes what the page asks for, as root, like the manager's."""

    def __init__(self, dashboard: Dashboard) -> None:
        path = f"{build.BERTH.parent}:{os.environ['PATH']}"
        self.environment = {**dashboard.berth.environment, "PATH": path}
        self.programs: list[subprocess.Popen[bytes]] = []
        self.commands: list[str] = []

    def execute(self, command: str) -> tuple[int, str, str]:
        self.commands.append(command)
        done = subprocess.run(
            ["sh", "-c", command], check=False, env=self.environment, capture_output=True, text=True, timeout=30
        )
        return done.returncode, done.stdout, done.stderr

    def spawn(self, command: str) -> int:
        program = subprocess.Popen(
            ["sh", "-c", f"exec {command.partition(' ')[2]}"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert program.stdout is not None
        os.set_blocking(program.stdout.fileno(), False)
        self.programs.append(program)
        return len(self.programs) - 1

    def printed(self, number: int) -> tuple[list[str], int | None]:
        program = self.programs[number]
        assert program.stdout is not None
        text = b""
        while part := program.stdout.readline():
            text += part
        return text.decode().splitlines(), program.poll()

    def end(self) -> None:
        for program in self.programs:
            program.kill()
            program.wait()
            assert program.stdout is not None
            program.stdout.close()


@pytest.fixture
def bridge(dashboard: Dashboard) -> Iterator[Bridge]:
    bridge = Bridge(dashboard)
    yield bridge
    bridge.end()


@pytest.fixture
def in_manager(browser: Browser, bridge: Bridge) -> Iterator[Callable[[bool], Page]]:
    """Opens the page as the manager does; with TCP to 127.0.0.1, or with every attempt refused."""
    context = browser.new_context(viewport=PHONE, locale="en-GB", reduced_motion="reduce")
    errors: list[str] = []

    def serve(route: Route) -> None:
        name = route.request.url.removeprefix(MANAGER).partition("?")[0].lstrip("/") or "index.html"
        path = build.WEBROOT / name
        found = path.is_file()
        kind = TYPES.get(path.suffix, "image/svg+xml")
        route.fulfill(status=200, body=path.read_bytes() if found else b"", content_type=kind)

    def open_page(tcp: bool) -> Page:
        if tcp:  # Chrome asks its user; a web view has nobody to ask
            context.grant_permissions(["local-network-access"])
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.expose_function("executed", bridge.execute)
        page.expose_function("spawned", bridge.spawn)
        page.expose_function("printed", bridge.printed)
        page.add_init_script(KSU)
        page.route(f"{MANAGER}/**", serve)
        if not tcp:
            page.route("http://127.0.0.1:*/**", lambda route: route.abort())
        page.goto(f"{MANAGER}/index.html")
        page.get_by_role("heading", name="Containers").wait_for()
        return page

    yield open_page
    context.close()
    assert errors == []


def test_everything_works_where_tcp_is_refused(
    in_manager: Callable[[bool], Page], bridge: Bridge, dashboard: Dashboard, root: Path, snap: Snap
) -> None:
    page = in_manager(False)
    page.get_by_role("link", name="New container").click()
    page.get_by_label("Name", exact=True).fill("bridged")
    page.get_by_label("Directory", exact=True).fill(str(root))
    page.get_by_role("button", name="Review").click()
    page.get_by_role("button", name="Create and start").click()
    expect(page.get_by_text("running", exact=True)).to_be_visible()

    page.get_by_role("tab", name="Terminal").click()
    expect(page.locator(".xterm-rows")).to_contain_text("#")
    page.keyboard.type("echo $((6*7)) over the bridge\n")
    expect(page.locator(".xterm-rows")).to_contain_text("42 over the bridge")
    snap(page, "bridge-terminal")

    page.get_by_role("button", name="Stop bridged").click()
    expect(page.get_by_text("stopped", exact=True)).to_be_visible()
    go(page, "check")
    expect(page.get_by_text("This device can run containers")).to_be_visible()
    assert page.evaluate("sessionStorage.length + Object.keys(localStorage).filter(k => /token/.test(k)).length") == 0
    assert [command for command in bridge.commands if str(root) in command] == []  # what a user writes goes as base64


def test_a_refused_call_is_told_by_its_sentence(
    in_manager: Callable[[bool], Page], dashboard: Dashboard, root: Path
) -> None:
    dashboard.post("/containers", {"spec": {"name": "taken", "rootfs": str(root)}}, 201)
    dashboard.post("/containers", {"spec": {"name": "other", "rootfs": str(root)}}, 201)
    page = in_manager(False)
    go(page, "containers", "other")
    page.get_by_label("New name").fill("taken")
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("status").get_by_text("taken")).to_be_visible()


def test_a_web_view_that_may_use_tcp_does(
    in_manager: Callable[[bool], Page], bridge: Bridge, dashboard: Dashboard, root: Path
) -> None:
    page = in_manager(True)
    dashboard.berth.succeed("start", "--name", "near", "--rootfs", root)
    expect(page.get_by_text("near", exact=True)).to_be_visible()
    assert bridge.programs == []
    names = [token["name"] for token in dashboard.get("/tokens")["tokens"]]
    assert "manager" in names
    assert json.loads(page.evaluate("JSON.stringify(Object.keys(sessionStorage))")) == []
