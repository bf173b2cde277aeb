"""The page in Debian's Chromium, against the real service.

`page` is a phone's, `desktop` a computer's; both have paired, and fail a test in which the browser reported an error.
`snap(page, NAME)` keeps a picture in `.cache/screenshots/`.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

import build
from tests import faults
from tests.browser.web_view import Bridge, open_in_manager
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
PATIENCE = 20_000  # milliseconds, for a machine that does much else; nothing waits longer than it has to
PICTURES = build.CACHE / "screenshots"

# A request that is refused is told by the page; Chromium reports it as well.
REFUSED = re.compile(r"Failed to load resource: the server responded with a status of 4\d\d")
GONE = re.compile(r"ERR_(CONNECTION_|INCOMPLETE_|EMPTY_|INTERNET_)|net::ERR_")

Factory = Callable[[str], Path]
Opener = Callable[[ViewportSize], Page]
Snap = Callable[[Page, str], None]


def go(page: Page, *parts: str) -> None:
    """Go to another view, as a link does."""
    page.evaluate("hash => { location.hash = hash; }", "#/" + "/".join(parts))


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
    service.berth("stop", "--all", "--timeout", "2")
    shutil.rmtree(service.berth.home / "containers", ignore_errors=True)
    service.ask("PUT", "/settings", {"safe_mode": False})


@pytest.fixture
def root(rootfs: Factory) -> Path:
    """A root file system whose init ends when it is told to."""
    return faults.write_init(rootfs("busybox"))


@pytest.fixture
def opened(browser: Browser, dashboard: Dashboard, request: pytest.FixtureRequest) -> Iterator[Opener]:
    """Opens the page as `berth dashboard` does, in a browser of its own; errors that it reports fail the test.

    With `--door=bridge` it is opened as a root manager does, with TCP blocked.
    """
    contexts = []
    errors: list[str] = []
    bridge = Bridge(dashboard) if request.config.getoption("door") == "bridge" else None

    def note(kind: str, text: str) -> None:
        if kind == "error" and not REFUSED.search(text) and not GONE.search(text):
            errors.append(text)

    def open_page(size: ViewportSize) -> Page:
        context = browser.new_context(viewport=size, locale="en-GB", reduced_motion="reduce")
        contexts.append(context)
        context.on("console", lambda message: note(message.type, message.text))
        context.on("weberror", lambda error: errors.append(str(error.error)))
        if bridge is not None:
            return open_in_manager(context, bridge, tcp=False)
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{dashboard.port}/#ticket={dashboard.ticket()}")
        page.get_by_role("heading", name="Containers").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    if bridge is not None:
        bridge.end()
    assert errors == []


@pytest.fixture
def page(opened: Opener) -> Page:
    return opened(PHONE)


@pytest.fixture
def desktop(opened: Opener) -> Page:
    return opened(COMPUTER)


@pytest.fixture
def snap() -> Snap:
    PICTURES.mkdir(parents=True, exist_ok=True)

    def take(page: Page, name: str) -> None:
        page.screenshot(path=PICTURES / f"{name}.png")

    return take
