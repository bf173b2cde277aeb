"""What is different for the page in a root manager's web view; every flow goes over its bridge as well (conftest)."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import PHONE, await_first_view, patient
from tests.browser.web_view import Bridge, manager_page
from tests.dashboard import Dashboard

pytestmark = pytest.mark.system

# Notes when, by the page's own clock, the bridge is asked for something, and when it has answered a command.
CLOCK = """
const { exec, spawn } = ksu;
window.asked = [];
window.answered = [];
ksu.exec = (command, options, name) => {
  asked.push(performance.now());
  const take = window[name];
  window[name] = (...told) => {
    answered.push(performance.now());
    take(...told);
  };
  exec(command, options, name);
};
ksu.spawn = (...words) => {
  asked.push(performance.now());
  return spawn(...words);
};
"""

# An answer by TCP may take more than the page's two seconds on a machine that does much else.
UNHURRIED = """
const { setTimeout: wait } = window;
window.setTimeout = (action, pause, ...rest) => wait(action, pause === 2000 ? 60000 : pause, ...rest);
"""


@pytest.fixture
def bridge(dashboard: Dashboard) -> Iterator[Bridge]:
    bridge = Bridge(dashboard)
    yield bridge
    bridge.end()


@pytest.fixture
def in_manager(browser: Browser, bridge: Bridge) -> Iterator[Callable[..., Page]]:
    """Opens the page as the manager does; with TCP to 127.0.0.1, or with every attempt refused or never answered."""
    context = patient(browser.new_context(viewport=PHONE, locale="en-GB", reduced_motion="reduce"))
    errors: list[str] = []
    context.on("weberror", lambda error: errors.append(str(error.error)))

    def open_page(tcp: bool, *, silent: bool = False) -> Page:
        page = manager_page(context, bridge, tcp=tcp)
        if tcp:
            page.add_init_script(UNHURRIED)
        if silent:
            page.route("http://127.0.0.1:*/**", lambda route: None)
            page.add_init_script(CLOCK)
        page.goto(bridge.address)
        await_first_view(page)
        return page

    yield open_page
    context.close()
    assert errors == []


def test_what_a_user_writes_never_meets_a_shell_and_no_key_is_kept(
    in_manager: Callable[..., Page], bridge: Bridge, root: Path
) -> None:
    page = in_manager(False)
    page.get_by_role("link", name="New container").click()
    page.get_by_label("Name", exact=True).fill("bridged")
    page.get_by_label("Directory", exact=True).fill(f"{root}/$(reboot)';`")
    page.get_by_role("button", name="Review").click()
    expect(page.get_by_role("alert")).to_contain_text("$(reboot)';`")

    assert [command for command in bridge.commands if str(root) in command] == []  # it goes as base64
    assert page.evaluate("sessionStorage.length + Object.keys(localStorage).filter(k => /token/.test(k)).length") == 0


def test_the_page_takes_the_managers_colours(in_manager: Callable[..., Page]) -> None:
    page = in_manager(False)

    demo = page.get_by_role("link", name="Try the demo")
    expect(demo).to_have_css("background-color", "rgb(18, 52, 86)")  # 0x12, 0x34, 0x56


def test_a_web_view_whose_tcp_is_never_answered_uses_the_bridge_after_two_seconds(
    in_manager: Callable[..., Page], bridge: Bridge
) -> None:
    page = in_manager(False, silent=True)
    expect(page.get_by_text("Linux, berthed on your device")).to_be_visible()
    took = page.evaluate("asked[2] - answered[1]")  # the first two are about the port, and a key for it
    assert 1999 < took < 8000  # a proof alone may take 10 s
    assert bridge.programs != {}


def test_a_web_view_that_may_use_tcp_does(
    in_manager: Callable[..., Page], bridge: Bridge, dashboard: Dashboard, root: Path
) -> None:
    page = in_manager(True)
    dashboard.berth.succeed("start", "--name", "near", "--rootfs", root)
    expect(page.get_by_text("near", exact=True)).to_be_visible()
    assert bridge.programs == {}
    names = [token["name"] for token in dashboard.get("/tokens")["tokens"]]
    assert "manager" in names
    assert json.loads(page.evaluate("JSON.stringify(Object.keys(sessionStorage))")) == []
