"""What a user looks after: what did not start, who may come in, what was used in the last days, what takes long."""

import json
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import faults
from tests.browser.conftest import PHONE, Snap, go, patient
from tests.dashboard import Dashboard, raw_as, request, serving, status_of
from tests.program import Berth
from tests.publisher import make_certificate, publishing

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
    expect(page.locator(".chosen ol a")).to_have_text(["z-database", "a-webafter z-database"])
    expect(page.get_by_label("When z-database keeps the device awake")).to_have_value("charging")
    expect(page.locator(".refused")).to_contain_text(f"App {STRANGER}")
    snap(page, "settings")


def test_the_order_of_the_starts_is_changed_by_keyboard_alone(page: Page, dashboard: Dashboard, root: Path) -> None:
    for name in ("a", "b", "c", "other"):
        dashboard.post("/containers", {"spec": {"name": name, "rootfs": str(root), "autostart": name != "other"}}, 201)

    def order() -> list[str]:
        return [entry["name"] for entry in dashboard.get("/settings")["autostart"]]

    go(page, "settings")
    page.get_by_role("button", name="Move c up").press("Enter")
    expect(page.get_by_role("button", name="Move c up")).to_be_focused()
    page.keyboard.press("Enter")  # while the first change is still under way, perhaps
    expect(page.get_by_role("button", name="Move c down")).to_be_focused()  # it can't go up any more
    expect(page.get_by_role("status").get_by_text("c is number 1 of 3.")).to_be_attached()
    expect(page.locator(".chosen ol a")).to_have_text(["c", "aafter c", "bafter a"])
    assert order() == ["c", "a", "b"]

    page.get_by_role("button", name="Don't start a with the device").press("Enter")
    expect(page.get_by_role("region", name="Started with the device")).to_be_focused()
    expect(page.locator(".chosen ol a")).to_have_text(["b", "c"])  # b waited for a alone
    adding = page.get_by_role("region", name="Started with the device")
    adding.get_by_label("Start another one").select_option("other")
    adding.get_by_role("button", name="Add other").press("Enter")
    expect(page.locator(".chosen ol a")).to_have_text(["b", "c", "other"])
    assert order() == ["b", "c", "other"]


def test_what_keeps_the_device_awake_is_chosen_for_each_container(page: Page, dashboard: Dashboard, root: Path) -> None:
    dashboard.berth.succeed("start", "--name", "busy", "--rootfs", root, "--hostname", "stays")
    go(page, "settings")
    section = page.get_by_role("region", name="Keep the device awake")
    section.get_by_role("button", name="Add busy").click()
    policy = page.get_by_label("When busy keeps the device awake")
    expect(page.get_by_text("It holds from the next start on.")).to_be_visible()  # for some seconds
    expect(policy).to_have_value("running")
    policy.select_option("charging")
    expect(policy).to_have_value("charging")
    faults.wait_until(lambda: _wakelock(page, dashboard) == "charging", "it is saved")

    policy.select_option("never")
    expect(policy).to_have_count(0)
    expect(section).to_be_focused()
    spec = dashboard.get("/containers/busy")["spec"]
    assert (spec["hostname"], spec.get("wakelock")) == ("stays", None)


def _wakelock(page: Page, dashboard: Dashboard) -> object:
    page.wait_for_timeout(1)  # what the page asks of the bridge is done by this thread, in a call of page
    return dashboard.get("/containers/busy")["spec"].get("wakelock")


class Sensors:
    """A phone's battery and sensors, as far as a service sees them: files in the place of the kernel's."""

    show = 'mount --bind "$1/supplies" /sys/class/power_supply; mount --bind "$1/zones" /sys/class/thermal; shift; "$@"'

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for supply, kind in (("battery", "Battery"), ("usb", "USB")):
            self.write(f"supplies/{supply}/type", kind)
        for number, degrees in enumerate((31_000, 45_300, -274_000)):  # the last is a sensor that is not there
            self.write(f"zones/thermal_zone{number}/type", f"zone-{number}")
            self.write(f"zones/thermal_zone{number}/temp", str(degrees))

    def write(self, path: str, text: str) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(f"{text}\n")

    def tell(self, capacity: int, status: str) -> None:
        self.write("supplies/battery/capacity", str(capacity))
        self.write("supplies/battery/status", status)

    def seen_by(self, berth: Berth) -> Berth:
        """The same command for which these files are in the kernel's place, in a mount namespace of its own."""
        words = ["unshare", "--mount", "--propagation=slave", "sh", "-c", self.show, "sh", str(self.folder)]
        berth.command = [*words, *berth.command]
        return berth


def test_battery_and_temperature_are_shown_as_they_change(browser: Browser, scratch: Path, snap: Snap) -> None:
    sensors = Sensors(scratch / "sys")
    sensors.tell(73, "Charging")
    with (
        serving(sensors.seen_by(Berth(scratch / "home"))) as dashboard,
        patient(browser.new_context(viewport=PHONE)) as context,
    ):
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{dashboard.port}/#ticket={dashboard.ticket()}")
        expect(page.locator(".tile").filter(has_text="Charging")).to_contain_text("73 %")
        expect(page.locator(".tile").filter(has_text="Temperature")).to_contain_text("45 °C")
        snap(page, "sensors")
        sensors.tell(9, "Discharging")
        sensors.write("zones/thermal_zone0/temp", "61700")
        expect(page.locator(".tile").filter(has_text="Battery")).to_contain_text("9")
        expect(page.locator(".tile").filter(has_text="Temperature")).to_contain_text("62 °C")


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
        umount = partial(subprocess.run, ["umount", place], check=False, stderr=subprocess.DEVNULL)
        faults.wait_until(lambda: umount().returncode == 0, "the last of the service has let go of its disk")


def test_what_a_device_lacks_is_told_with_what_that_costs_and_how_to_get_it(
    browser: Browser, cramped: Dashboard, snap: Snap
) -> None:
    (lacking,) = (one for one in cramped.get("/check")["requirements"] if one["state"] == "missing")
    with patient(browser.new_context(viewport=PHONE, locale="en-GB")) as context:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{cramped.port}/#ticket={cramped.ticket()}")
        page.get_by_role("link", name="Check").click()
        for words in (lacking["title"], lacking["cost"], lacking["remedy"]):
            expect(page.get_by_text(words, exact=True)).to_be_visible()
        snap(page, "lacking")


def test_a_newer_version_is_looked_for_and_still_told_of_after_a_reload(
    browser: Browser, scratch: Path, snap: Snap
) -> None:
    certificate = make_certificate(scratch)
    berth = Berth(scratch / "home")
    berth.environment |= {"BERTH_MODULE": str(scratch), "SSL_CERT_FILE": str(certificate[0])}
    with publishing(certificate) as site, serving(berth) as dashboard:
        (scratch / "module.prop").write_text(f"versionCode=100\nupdateJson={site.address}/held\n")
        with patient(browser.new_context(viewport=PHONE, locale="en-GB")) as context:
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{dashboard.port}/#ticket={dashboard.ticket()}")
            go(page, "about")
            look = page.get_by_role("button", name="Look for updates")
            look.click()
            expect(page.get_by_role("status").filter(has_text="Look for a newer version")).to_be_visible()
            assert site.asked.wait(faults.SECONDS)
            page.reload()
            page.get_by_role("button", name="Cancel").click()
            expect(look).to_be_visible()
            assert site.left.wait(faults.SECONDS)
            expect(page.get_by_text("Asks once, where this build came from.")).to_be_visible()

            (scratch / "module.prop").write_text(f"versionCode=100\nupdateJson={site.address}/update.json\n")
            look.click()
            download = page.get_by_role("link", name="Download")
            expect(download).to_have_attribute("href", "https://example.org/berth.zip")
            expect(download).to_have_attribute("rel", "noopener noreferrer")
            page.reload()
            expect(download).to_be_visible()
            expect(page.get_by_text("Last looked")).to_be_visible()
            go(page)
            page.reload()
            expect(page.get_by_role("link", name="Version v9.9.9 is there.")).to_be_visible()
            snap(page, "newer")

            (scratch / "module.prop").write_text(f"versionCode=90909\nupdateJson={site.address}/update.json\n")
            go(page, "about")
            look.click()
            expect(page.get_by_text("This is the latest version.")).to_be_visible()


def test_a_history_is_switched_on_and_seen(page: Page, dashboard: Dashboard, root: Path, snap: Snap) -> None:
    dashboard.berth.succeed("start", "--name", "past", "--rootfs", root)
    go(page, "containers", "past", "statistics")
    page.get_by_role("button", name="Day").click()
    page.locator("main").get_by_role("link", name="Settings").click()
    page.get_by_role("switch", name="Keep a history").click()
    expect(page.get_by_role("switch", name="Keep a history")).to_be_checked()  # which is before the service has heard
    faults.wait_until(lambda: _history(page, dashboard), "the first moment is written down")

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


def _history(page: Page, dashboard: Dashboard) -> object:
    page.wait_for_timeout(1)  # what the page asks of the bridge is done by this thread, in a call of page
    return dashboard.get("/containers/past/history")["points"]


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
