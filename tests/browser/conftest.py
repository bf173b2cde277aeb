"""The page in Debian's Chromium, against the real service.

A test of `page` runs twice: as a browser opens the page by its address, as large as a computer's, and as a root manager
does on a phone, where all goes over the bridge.  `desktop` is a computer's behind both doors.  An error in the browser
fails the test.  `snap(page, NAME)` keeps a picture in `.cache/screenshots/`.
"""

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Error,
    Page,
    ViewportSize,
    expect,
    sync_playwright,
)

import build
from tests import faults
from tests.browser.web_view import Bridge, manager_page
from tests.dashboard import Dashboard, serving
from tests.program import Berth

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE = ViewportSize(width=360, height=740)
COMPUTER = ViewportSize(width=1280, height=800)
PATIENCE = 60_000  # milliseconds, for a machine that does much else; nothing waits longer than it has to
NOTICE = 6_000  # milliseconds: for as long at most, and a little, a notice stays that tells of no error
PICTURES = build.CACHE / "screenshots"

# A request that is refused is told by the page; Chromium reports it as well.
REFUSED = re.compile(r"Failed to load resource: the server responded with a status of 4\d\d")
GONE = re.compile(r"ERR_(CONNECTION_|INCOMPLETE_|EMPTY_|INTERNET_)|net::ERR_")

Factory = Callable[[str], Path]
Opener = Callable[[ViewportSize], Page]
Snap = Callable[[Page, str], None]


DOORS = ("address", "bridge")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have what uses a door use both, but for a test of what only a page with an address has."""
    if "door" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("address")
        metafunc.parametrize("door", DOORS[:1] if only else DOORS, indirect=True, scope="session")


def go(page: Page, *parts: str) -> None:
    """Go to another view, as a link does; the old one is gone when this returns."""
    page.evaluate(
        """hash => new Promise(done => {
            if (location.hash === hash) return done();
            addEventListener('hashchange', () => setTimeout(done), { once: true });
            location.hash = hash;
        })""",
        "#/" + "/".join(parts),
    )


def close_notice(page: Page) -> None:
    """Press a notice away, which lies over what is at the bottom; on a slow machine it may have gone by itself."""
    with contextlib.suppress(Error):
        page.get_by_role("button", name="Close", exact=True).click(timeout=NOTICE)
    expect(page.locator(".notice")).to_have_count(0)


def patient(context: BrowserContext) -> BrowserContext:
    """Have what is done in `context` wait for as long as what is expected."""
    context.set_default_timeout(PATIENCE)
    return context


def await_first_view(page: Page) -> None:
    """Return when the list of containers and the device's figures are there: the stream is open, all else is asked for.

    What a test does to requests, or to the service, then happens to what comes after that.
    """
    expect(page.get_by_role("heading", name="Containers")).to_be_visible()
    expect(page.locator(".waiting")).to_have_count(0)
    expect(page.locator(".strip[aria-busy]")).to_have_count(0)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    build.make_dashboard()
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def service(berth_home: Path) -> Iterator[Dashboard]:
    """One service for all tests of the page, which is what makes them quick."""
    with serving(Berth(berth_home)) as dashboard:
        yield dashboard


@pytest.fixture
def dashboard(service: Dashboard) -> Iterator[Dashboard]:
    """The service without containers, terminals or settings of an earlier test."""
    yield service
    for terminal in service.get("/terminals")["terminals"]:
        service.delete(f"/terminals/{terminal['id']}", 204)
    if any(one["state"] != "stopped" for one in service.get("/containers")["containers"]):
        service.berth("stop", "--all", "--timeout", "2")
    shutil.rmtree(service.berth.home / "containers", ignore_errors=True)
    service.ask("PUT", "/settings", {"safe_mode": False})


@pytest.fixture
def root(rootfs: Factory) -> Path:
    """A root file system whose init ends when it is told to."""
    return faults.write_init(rootfs("busybox"))


class Door:
    """A tab that one test after the other opens the page in, which is quicker than a tab for each.

    Its `name` is one of `DOORS`: by the page's address, as `berth dashboard` opens it, or over the bridge, as a root
    manager does, with TCP blocked.
    """

    def __init__(self, name: str, browser: Browser, service: Dashboard) -> None:
        self.name = name
        self.bridge = Bridge(service) if name == "bridge" else None
        self.errors: list[str] = []
        self._browser = browser
        self._service = service
        self._tab: Page | None = None

    def open(self, size: ViewportSize) -> Page:
        """Open the page anew, `size` large, as somebody who has never seen it; what it first asks for is there."""
        if self._tab is None:
            self._tab = self._new_tab()
        self._tab.set_viewport_size(size)
        if self.bridge is not None:
            self._tab.goto(self.bridge.address)
        else:
            self._tab.goto(f"http://127.0.0.1:{self._service.port}/#ticket={self._service.ticket()}")
        await_first_view(self._tab)
        return self._tab

    def _new_tab(self) -> Page:
        context = patient(self._browser.new_context(locale="en-GB", reduced_motion="reduce"))
        context.on("console", self._note)
        context.on("weberror", lambda error: self.errors.append(str(error.error)))
        page = context.new_page() if self.bridge is None else manager_page(context, self.bridge, tcp=False)
        page.on("dialog", self._refuse)
        return page

    def _refuse(self, dialog: Dialog) -> None:
        """Nothing of ours opens one of the browser's own: a script that got in does."""
        self.errors.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not REFUSED.search(message.text) and not GONE.search(message.text):
            self.errors.append(message.text)

    def leave(self) -> None:
        """Forget what the page has kept, and end what it has begun; a page that is beyond that is closed."""
        if self._tab is None:
            return
        try:
            self._tab.evaluate("() => { sessionStorage.clear(); localStorage.clear(); }")
            self._tab.goto("about:blank")
            self._tab.context.clear_permissions()
        except Error:
            self.close()
        if self.bridge is not None:
            self.bridge.end()

    def close(self) -> None:
        """Close the tab; the next test gets another one."""
        if self._tab is not None:
            with contextlib.suppress(Error):
                self._tab.context.close()
            self._tab = None


@pytest.fixture(scope="session")
def door(browser: Browser, service: Dashboard, request: pytest.FixtureRequest) -> Iterator[Door]:
    """One of `DOORS`."""
    door = Door(request.param, browser, service)
    yield door
    door.close()


@pytest.fixture
def opened(door: Door, dashboard: Dashboard) -> Iterator[Opener]:
    """Opens the page in a size of the test's own; errors that the browser reports fail the test."""
    door.errors.clear()
    yield door.open
    door.leave()
    assert door.errors == []


@pytest.fixture
def page(opened: Opener, door: Door) -> Page:
    return opened(COMPUTER if door.bridge is None else PHONE)


@pytest.fixture
def desktop(opened: Opener) -> Page:
    return opened(COMPUTER)


@pytest.fixture
def snap() -> Snap:
    PICTURES.mkdir(parents=True, exist_ok=True)

    def take(page: Page, name: str) -> None:
        size = page.viewport_size
        large = "phone" if size is not None and size["width"] == PHONE["width"] else "computer"
        page.screenshot(path=PICTURES / f"{name}-{large}.png")

    return take
