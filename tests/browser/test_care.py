"""What a user looks after: what did not start, who may come in, what was used in the last days, what takes long."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import PHONE, Snap, go
from tests.dashboard import Dashboard, raw_as, request, serving, status_of
from tests.program import Berth

pytestmark = pytest.mark.system

APP, STRANGER = 10777, 10888


def test_what_was_kept_back_is_named_and_tried_again_by_one_press(
    page: Page, dashboard: Dashboard, root: Path, snap: Snap
) -> None:
    dashboard.post("/containers", {"spec": {"name": "deadly", "rootfs": str(root), "autostart": True}}, 201)
    verdict = {"boot": "an earlier one", "deaths": 1, "kept_back": ["deadly"]}
    (dashboard.berth.home / "safe-mode.json").write_text(json.dumps(verdict))
    page.reload()
    page.get_by_role("link", name="Did not start with the device: deadly").click()
    expect(page.get_by_text("the phone went down while it was starting")).to_be_visible()
    expect(page.get_by_role("switch", name="Safe mode")).not_to_be_checked()
    snap(page, "kept-back")

    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("Did not start with the device: deadly")).to_have_count(0)
    assert dashboard.get("/settings")["kept_back"] == {}


def test_an_app_that_was_let_in_is_unpaired(page: Page, dashboard: Dashboard, snap: Snap) -> None:
    body = b'{"ticket":"%s"}' % dashboard.ticket(APP).encode()
    paired = raw_as(APP, dashboard.port, request("POST", "/api/v1/pair", dashboard.port, body=body))
    assert status_of(paired) == 201
    go(page, "settings")
    page.get_by_role("button", name=f"Unpair App {APP}").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("locked out at once")
    snap(page, "unpair")
    dialog.get_by_role("button", name="Unpair").click()

    expect(page.get_by_role("button", name=f"Unpair App {APP}")).to_have_count(0)
    expect(page.get_by_role("button", name="Unpair root")).to_be_visible()
    below = "card => card.getBoundingClientRect().bottom - card.lastElementChild.getBoundingClientRect().bottom"
    assert page.locator(".paired").first.evaluate(below) < 48  # a card is as large as what is in it
    assert raw_as(APP, dashboard.port, request("GET", "/", dashboard.port)) == b""


def test_what_starts_by_itself_what_keeps_the_device_awake_and_who_was_turned_away_are_told(
    page: Page, dashboard: Dashboard, root: Path, snap: Snap
) -> None:
    specs: tuple[dict[str, object], ...] = (
        {"name": "a-web", "autostart": True, "start_after": ["z-database"]},
        {"name": "z-database", "autostart": True, "wakelock": "charging"},
    )
    for spec in specs:
        dashboard.post("/containers", {"spec": {"rootfs": str(root), **spec}}, 201)
    assert raw_as(STRANGER, dashboard.port, request("GET", "/", dashboard.port)) == b""
    go(page, "settings")
    expect(page.locator("ol.points li")).to_have_text(["z-database", "a-web after z-database"])
    expect(page.locator("ul.points li")).to_have_text(["z-database while it runs and the device charges"])
    expect(page.locator(".refused")).to_contain_text(f"App {STRANGER}")
    snap(page, "settings")


@pytest.fixture
def cramped(scratch: Path) -> Iterator[Dashboard]:
    """A service that has hardly any room."""
    place = scratch / "cramped"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", place], check=True)
    try:
        with serving(Berth(place / "home")) as dashboard:
            yield dashboard
    finally:
        subprocess.run(["umount", place], check=True)


def test_what_a_device_lacks_is_told_with_what_that_costs_and_how_to_get_it(
    browser: Browser, cramped: Dashboard, snap: Snap
) -> None:
    (lacking,) = (one for one in cramped.get("/check")["requirements"] if one["state"] == "missing")
    with browser.new_context(viewport=PHONE, locale="en-GB") as context:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{cramped.port}/#ticket={cramped.ticket()}")
        page.get_by_role("link", name="Check").click()
        for words in (lacking["title"], lacking["cost"], lacking["remedy"]):
            expect(page.get_by_text(words, exact=True)).to_be_visible()
        snap(page, "lacking")


def test_a_history_is_switched_on_and_seen(page: Page, dashboard: Dashboard, root: Path, snap: Snap) -> None:
    dashboard.berth.succeed("start", "--name", "past", "--rootfs", root)
    go(page, "containers", "past", "statistics")
    page.get_by_role("button", name="Day").click()
    page.locator("main").get_by_role("link", name="Settings").click()
    page.get_by_role("switch", name="Keep a history").click()
    expect(page.get_by_role("switch", name="Keep a history")).to_be_checked()

    go(page, "containers", "past", "statistics")
    page.get_by_role("button", name="Week").click()
    expect(page.get_by_role("img", name="Memory")).to_be_visible()
    snap(page, "history")

    go(page, "settings")
    page.get_by_role("link", name="What the device used").click()
    expect(page.get_by_role("heading", name="What the device used")).to_be_visible()
    expect(page.get_by_role("img", name="Processor")).to_be_visible()
    page.get_by_role("button", name="Week").click()
    expect(page.get_by_role("img", name="Memory")).to_be_visible()
    snap(page, "device")
    dashboard.ask("PUT", "/settings", {"history": False})


def test_a_start_shows_what_it_is_at_and_is_cancelled(page: Page, dashboard: Dashboard, root: Path, snap: Snap) -> None:
    hook = root.parent / "slow-hook"
    hook.write_text("#!/bin/sh\nexec sleep 1000\n")
    hook.chmod(0o755)
    spec = {"name": "slow", "rootfs": str(root), "hooks": [{"stage": "prestart", "path": str(hook)}]}
    dashboard.post("/containers", {"spec": spec}, 201)
    page.get_by_role("button", name="Start slow").click()
    expect(page.get_by_role("status").get_by_text("Builds its root")).to_be_visible()

    go(page, "operations")
    card = page.get_by_role("listitem").filter(has_text="slow").first
    expect(card.get_by_role("progressbar")).to_have_attribute("value", "0.5714285714285714")
    card.get_by_text("Log", exact=True).click()
    expect(card.get_by_text("its control groups are made")).to_be_visible()
    snap(page, "progress")
    card.get_by_role("button", name="Cancel").click()
    expect(card.get_by_text("cancelled", exact=True)).to_be_visible()
    assert dashboard.get("/containers/slow")["details"]["state"] == "stopped"
