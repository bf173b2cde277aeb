"""The page itself in a browser, with a phone behind it: by the dashboard's port, and by a root manager's bridge."""

import shlex
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

import build
from tests.browser.conftest import CHROMIUM, FLAGS, PHONE
from tests.browser.web_view import KSU, MANAGER, TYPES
from tests.device.phone.doors import BROWSER, Door, ticket_shown
from tests.device.phone.machine import Phone
from tests.device.phone.scene import MODULE

pytestmark = [pytest.mark.device, pytest.mark.full, pytest.mark.timeout(900), pytest.mark.only(kernel="6.1")]

PATIENCE = 120_000  # milliseconds: the processor is emulated
Opener = Callable[..., Browser]


@pytest.fixture
def browser() -> Iterator[Opener]:
    """Starts Chromium with further flags."""
    build.make_dashboard()
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        started = []

        def start(*flags: str) -> Browser:
            started.append(playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags]))
            return started[-1]

        yield start
        for one in started:
            one.close()


def opened(browser: Browser) -> Page:
    page = browser.new_context(viewport=PHONE, locale="en-GB", reduced_motion="reduce").new_page()
    page.set_default_timeout(PATIENCE)
    return page


def use(page: Page) -> None:
    """See the phone's charge and the container, look into that by a terminal, and stop it."""
    page.get_by_role("heading", name="Containers").wait_for()
    expect(page.get_by_text("running", exact=True)).to_be_visible()
    expect(page.locator(".tile", has_text="Battery")).to_contain_text("60 %")
    expect(page.locator(".tile", has_text="Temperature")).to_contain_text("37 °C")
    page.evaluate("location.hash = '#/containers/box'")
    page.get_by_role("tab", name="Terminal").click()
    expect(page.locator(".xterm-rows")).to_contain_text("#")
    page.keyboard.type("echo $((6*7)) on the phone\n")
    expect(page.locator(".xterm-rows")).to_contain_text("42 on the phone")
    page.get_by_role("button", name="Stop box").click()
    expect(page.get_by_text("stopped", exact=True)).to_be_visible()


def test_the_link_that_android_is_told_to_open_shows_the_page(phone: Phone, browser: Opener) -> None:
    door = Door(phone, BROWSER)
    page = opened(browser(f"--host-resolver-rules=MAP 127.0.0.1:{door.there} 127.0.0.1:{door.here}"))
    phone.script(f"{MODULE}/action.sh")

    page.goto(f"http://127.0.0.1:{door.there}/#ticket={ticket_shown(phone)}")

    use(page)


class Bridge:
    """The two calls of a root manager's web view, carried out on the phone as root."""

    def __init__(self, phone: Phone) -> None:
        self._phone = phone
        self._seen: list[int] = []

    def execute(self, command: str) -> tuple[int, str, str]:
        done = self._phone.sh(command)
        return done.code, done.out, done.err

    def spawn(self, command: str) -> int:
        number = len(self._seen)
        self._seen.append(0)
        words = shlex.join(("sh", "-c", command))
        self._phone.output("sh", "-c", f"setsid {words} </dev/null >/dev/spawned-{number} 2>/dev/null &")
        return number

    def printed(self, number: int) -> tuple[list[str], int | None]:
        """Return the whole lines that have come since."""
        text = self._phone.sh(f"tail -c +{self._seen[number] + 1} /dev/spawned-{number}").out
        whole = text[: text.rfind("\n") + 1]
        self._seen[number] += len(whole.encode())
        return whole.splitlines(), None


def test_where_a_web_view_may_not_use_tcp_all_goes_over_the_bridge(phone: Phone, browser: Opener) -> None:
    page, bridge = opened(browser()), Bridge(phone)

    def serve(route: Route) -> None:
        path = build.WEBROOT / (route.request.url.removeprefix(MANAGER).partition("?")[0].lstrip("/") or "index.html")
        found = path.is_file()
        kind = TYPES.get(path.suffix, "image/svg+xml")
        route.fulfill(status=200, body=path.read_bytes() if found else b"", content_type=kind)

    page.expose_function("executed", bridge.execute)
    page.expose_function("spawned", bridge.spawn)
    page.expose_function("printed", bridge.printed)
    page.add_init_script(KSU)
    page.route(f"{MANAGER}/**", serve)
    page.route("http://127.0.0.1:*/**", lambda route: route.abort())

    page.goto(f"{MANAGER}/index.html")

    use(page)
