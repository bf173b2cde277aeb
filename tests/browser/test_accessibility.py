"""That everybody can use the page: axe finds nothing, everything can be reached by keyboard and hit by a thumb."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

import build
from packing import front_end
from tests import faults
from tests.browser.conftest import COMPUTER, PHONE, Opener, Snap, go
from tests.dashboard import Dashboard

pytestmark = [pytest.mark.system, pytest.mark.address]

THUMB = 48  # pixels in both directions, as Material asks; WCAG 2.5.5 is content with 44
VIEWS = {
    "overview": (),
    "create": ("create",),
    "operations": ("operations",),
    "check": ("check",),
    "settings": ("settings",),
    "about": ("about",),
    "device": ("device",),
    "container": ("containers", "seen"),
    "configuration": ("containers", "seen", "configuration"),
    "logs": ("containers", "seen", "logs"),
    "statistics": ("containers", "seen", "statistics"),
    "history": ("containers", "seen", "statistics"),
    "processes": ("containers", "seen", "processes"),
    "terminal": ("containers", "seen", "terminal"),
}


LOOKS = [("light", "en"), ("light", "zh-CN"), ("dark", "zh-CN"), ("amoled", "en")]
PAST = {"device": 0, "history": 1}


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, by locked hash."""
    lock = front_end.read_lock(Path(__file__).parent / "packages.lock")
    archive = front_end.fetched("axe-core", *lock["axe-core"], build.CACHE / "packages")
    with tarfile.open(archive) as package:
        file = package.extractfile("package/axe.min.js")
        assert file is not None
        return file.read().decode()


@pytest.fixture
def seen(dashboard: Dashboard, root: Path) -> Iterator[None]:
    """A container that runs, starts with the device, keeps it awake, and has a history."""
    words = ("--autostart", "--wakelock", "charging")
    dashboard.berth.succeed("start", "--name", "seen", "--rootfs", root, *words)
    dashboard.ask("PUT", "/settings", {"history": True})
    faults.wait_until(lambda: dashboard.get("/containers/seen/history")["points"], "the first moment is written down")
    yield
    dashboard.ask("PUT", "/settings", {"history": False})


def complaints(page: Page, rules: list[str]) -> list[str]:
    """What axe says by `rules`, by all of them where there are none; xterm has a mode of its own for readers."""
    found: dict[str, Any] = page.evaluate(
        "rules => axe.run({exclude: [['.xterm']]}, rules.length ? {runOnly: rules} : {})", rules
    )
    return [
        f"{violation['id']}: {node['html'][:160]} {node.get('failureSummary', '')}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


def small(page: Page) -> list[str]:
    """What can be pressed and is too small for a thumb."""
    found: list[str] = page.evaluate(
        """least => [...document.querySelectorAll('button, select, input, summary, nav a, .tabs a, a[class]')]
            .map(one => one.closest('label') ?? one)
            .map(one => [one, one.getBoundingClientRect()])
            .filter(([one, box]) => box.width && !one.closest('.xterm, .hidden') && !one.classList.contains('skip'))
            .filter(([, box]) => box.width < least || box.height < least)
            .map(([one, box]) => `${box.width}x${box.height} ${one.outerHTML.slice(0, 120)}`)""",
        THUMB,
    )
    return found


def unfold(page: Page) -> None:
    """Open all that is folded, or nobody looks at it."""
    page.evaluate("document.querySelectorAll('main details').forEach((one) => { one.open = true; })")


def settle(page: Page) -> None:
    """Wait until the view and what it asks for are there."""
    expect(page.locator("main h1").first).to_be_visible()
    expect(page.locator(".waiting")).to_have_count(0)
    expect(page.locator(".icon path:not([d])")).to_have_count(0)  # each view has brought its icons along


@pytest.mark.parametrize("look", LOOKS, ids="-".join)
def test_axe_finds_nothing_and_a_thumb_finds_everything(
    opened: Opener, seen: None, axe: str, snap: Snap, look: tuple[str, str]
) -> None:
    theme, language = look
    rules = [] if theme == "light" else ["color-contrast"]  # the rest is the same in every theme
    page = opened(PHONE)
    page.evaluate(
        "kept => Object.entries(kept).forEach(([key, value]) => localStorage.setItem(key, value))",
        {
            "berth.theme": theme,
            "berth.language": language,
        },
    )
    page.reload()
    page.evaluate(axe)
    for name, parts in VIEWS.items():
        go(page, *parts)
        settle(page)
        if name in PAST:  # the button of the day
            page.locator(".segments button").nth(PAST[name]).click()
            expect(page.locator(".chart canvas").last).to_be_visible()
        unfold(page)
        settle(page)  # what is folded out may ask for something, too
        snap(page, f"{theme}-{name}-{language}")
        assert complaints(page, rules) == [], name
        assert small(page) == [], name
        assert page.evaluate("document.documentElement.scrollWidth") == 360, name


def test_every_view_fits_a_computer(opened: Opener, seen: None, snap: Snap) -> None:
    page = opened(COMPUTER)
    for name, parts in VIEWS.items():
        go(page, *parts)
        settle(page)
        snap(page, f"computer-{name}")
        assert page.evaluate("document.documentElement.scrollWidth") == 1280, name
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        expect(page.get_by_role("link", name="Settings", exact=True).first).to_be_in_viewport()


def test_a_container_is_stopped_by_keyboard_alone(desktop: Page, dashboard: Dashboard, seen: None) -> None:
    expect(desktop.get_by_role("button", name="Stop seen")).to_be_visible()
    desktop.keyboard.press("Tab")
    expect(desktop.get_by_role("link", name="Skip to the content")).to_be_focused()
    desktop.keyboard.press("Enter")
    for _ in range(20):
        desktop.keyboard.press("Tab")
        if desktop.evaluate("document.activeElement.getAttribute('aria-label')") == "Stop seen":
            break
    desktop.keyboard.press("Enter")
    expect(desktop.get_by_role("button", name="Start seen")).to_be_visible()


def test_arrow_keys_walk_through_the_tabs(desktop: Page, seen: None) -> None:
    go(desktop, "containers", "seen")
    desktop.get_by_role("tab", name="Overview").focus()
    desktop.keyboard.press("ArrowLeft")
    expect(desktop.get_by_role("tab", name="Console")).to_have_attribute("aria-selected", "true")
    expect(desktop.locator(".keys")).to_be_visible()  # the console is open
    expect(desktop.get_by_role("tab", name="Console")).to_be_focused()
    desktop.keyboard.press("ArrowRight")
    expect(desktop.get_by_role("tab", name="Overview")).to_have_attribute("aria-selected", "true")


def test_a_question_keeps_the_keyboard_and_gives_it_back(page: Page, dashboard: Dashboard, root: Path) -> None:
    dashboard.post("/containers", {"spec": {"name": "asked", "rootfs": str(root)}}, 201)
    go(page, "containers", "asked")
    page.get_by_role("button", name="Remove").press("Enter")
    dialog = page.get_by_role("dialog")
    for _ in range(6):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement === document.body || !!document.activeElement.closest('dialog')")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("button", name="Remove")).to_be_focused()


def test_nothing_moves_for_those_who_ask_for_that(page: Page) -> None:
    moving = page.evaluate(
        """[...document.querySelectorAll('*')].filter(one => {
          const style = getComputedStyle(one);
          return style.animationName !== 'none' && parseFloat(style.animationDuration) > 0
            || style.transitionProperty !== 'none' && parseFloat(style.transitionDuration) > 0;
        }).length"""
    )
    assert moving == 0
