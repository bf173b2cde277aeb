"""What goes wrong under a page, and what is typed that nobody expects: it stays usable and says what is the matter."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests import faults
from tests.browser.conftest import PATIENCE, PHONE, await_first_view, go, patient
from tests.browser.web_view import Bridge, manager_page
from tests.dashboard import Dashboard, serving
from tests.program import Berth

pytestmark = pytest.mark.system

ONLINE = "() => void dispatchEvent(new Event('online'))"  # as when a phone finds its network: it is tried at once
HIDE = """hidden => {
  Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
  document.dispatchEvent(new Event('visibilitychange'));
}"""


@pytest.fixture
def own(browser: Browser, scratch: Path) -> Iterator[tuple[Page, Dashboard]]:
    """A page of a service that is the test's own, and may be killed."""
    with (
        serving(Berth(scratch / "home")) as dashboard,
        patient(browser.new_context(viewport=PHONE, locale="en-GB")) as context,
    ):
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{dashboard.port}/#ticket={dashboard.ticket()}")
        await_first_view(page)
        yield page, dashboard


def unfold(page: Page, group: str) -> None:
    """Open a group of options."""
    page.locator("summary").filter(has=page.get_by_text(group, exact=True)).click()


def test_a_page_asks_again_and_follows_what_happens_after_its_service_was_killed_and_started_again(
    own: tuple[Page, Dashboard], root: Path
) -> None:
    page, dashboard = own
    web = int(dashboard.published["pid"])
    os.kill(dashboard.service, signal.SIGKILL)
    expect(page.get_by_text("Trying again … If this stays, open the page anew")).to_be_visible()
    faults.wait_until(lambda: not faults.is_alive(web), "the web process has ended")
    go(page, "check")
    expect(page.get_by_role("alert")).to_contain_text("The service does not answer.")
    dashboard.berth.succeed("serve", "--background")
    dashboard.await_web(but=web)
    page.evaluate(ONLINE)
    expect(page.get_by_role("heading", name="Check")).to_be_visible()
    expect(page.get_by_text("The service does not answer")).to_have_count(0)
    go(page)
    dashboard.post("/containers", {"spec": {"name": "afterwards", "rootfs": str(root)}}, 201)
    expect(page.get_by_text("afterwards", exact=True)).to_be_visible()


def test_a_container_may_be_called_as_what_every_object_of_javascript_has(
    page: Page, dashboard: Dashboard, root: Path
) -> None:
    go(page, "containers", "constructor")
    expect(page.get_by_role("heading", name="There is no container constructor")).to_be_visible()
    go(page, "create")
    page.get_by_label("Name", exact=True).fill("constructor")
    expect(page.get_by_text("What you call it. It can be changed later.")).to_be_visible()

    go(page)
    for name in ("constructor", "valueOf"):
        dashboard.berth.succeed("start", "--name", name, "--rootfs", root)
    expect(page.locator(".container-card.running")).to_have_count(2)
    expect(page.locator(".sparkline path").first).to_be_attached()
    go(page, "containers", "valueOf", "statistics")
    expect(page.get_by_text("100 % is one processor.")).to_be_visible()


def test_what_is_told_of_a_container_changes_when_it_starts_and_what_is_being_written_stays(
    page: Page, dashboard: Dashboard, root: Path
) -> None:
    dashboard.post("/containers", {"spec": {"name": "turned", "rootfs": str(root)}}, 201)
    go(page, "containers", "turned")
    expect(page.get_by_text("Process on the device")).to_have_count(0)
    page.get_by_role("button", name="Start turned").click()
    expect(page.get_by_text("Process on the device")).to_be_visible()

    go(page, "containers", "turned", "configuration")
    unfold(page, "Limits")
    page.get_by_label("Memory", exact=True).fill("256M")
    page.get_by_role("button", name="Stop turned").click()
    expect(page.get_by_role("button", name="Start turned")).to_be_visible()
    expect(page.get_by_label("Memory", exact=True)).to_have_value("256M")


@pytest.mark.address
def test_what_is_discarded_is_gone_from_the_form(page: Page, dashboard: Dashboard, root: Path) -> None:
    dashboard.post("/containers", {"spec": {"name": "undone", "rootfs": str(root), "hostname": "before"}}, 201)
    go(page, "containers", "undone", "configuration")
    unfold(page, "Network")
    page.get_by_label("Host name").fill("after")
    page.get_by_role("button", name="Discard").click()
    unfold(page, "Network")
    expect(page.get_by_label("Host name")).to_have_value("before")

    page.get_by_role("button", name="Raw").click()
    page.get_by_role("textbox", name="Raw").fill("{}")
    page.get_by_role("button", name="Discard").click()
    expect(page.get_by_role("textbox", name="Raw")).to_have_value(
        json.dumps(dashboard.get("/containers/undone")["spec"], indent=2)
    )


@pytest.mark.address
def test_a_form_that_nobody_has_changed_shows_what_somebody_else_has_saved(
    page: Page, dashboard: Dashboard, root: Path
) -> None:
    spec = {"name": "shared", "rootfs": str(root), "hostname": "before"}
    dashboard.post("/containers", {"spec": spec}, 201)
    go(page, "containers", "shared", "configuration")
    expect(page.get_by_label("Host name")).to_have_value("before")
    assert dashboard.ask("PUT", "/containers/shared", {"spec": spec | {"hostname": "after"}}).status == 200
    page.get_by_role("button", name="Start shared").click()
    expect(page.get_by_label("Host name")).to_have_value("after")
    expect(page.get_by_role("button", name="Save", exact=True)).to_have_count(0)


@pytest.mark.address
def test_what_is_no_spec_is_neither_saved_nor_shown_as_a_form(page: Page, dashboard: Dashboard, root: Path) -> None:
    dashboard.post("/containers", {"spec": {"name": "written", "rootfs": str(root)}}, 201)
    go(page, "containers", "written", "configuration")
    for text in ("null", "[]", "7", '{"privileged": 5}', '{"env": null}', "{"):
        page.get_by_role("button", name="Raw", exact=True).click()
        field = page.get_by_role("textbox", name="Raw")
        field.fill('{"name": "written", "hostname": "half"}')
        field.fill(text)
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(page.get_by_role("button", name="Save", exact=True)).to_be_disabled()
        page.get_by_role("button", name="Form", exact=True).click()
        unfold(page, "Limits")
        expect(page.get_by_label("Memory", exact=True)).to_be_visible()


@pytest.mark.address
def test_several_ports_are_shown_one_below_the_other(page: Page, dashboard: Dashboard, root: Path) -> None:
    ports = [{"host": 8080, "container": 80}, {"host": 5353, "container": 53, "protocol": "udp"}]
    dashboard.post("/containers", {"spec": {"name": "open", "rootfs": str(root), "net": "nat", "ports": ports}}, 201)
    go(page, "containers", "open", "configuration")
    unfold(page, "Network")
    field = page.get_by_label("Ports", exact=True)
    expect(field).to_have_value("8080:80\n5353:53/udp")
    field.press("End")
    field.fill("8080:80\n5353:53/udp\n2222:22")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("button", name="Save", exact=True)).to_have_count(0)
    assert [port["host"] for port in dashboard.get("/containers/open")["spec"]["ports"]] == [8080, 5353, 2222]


@pytest.mark.address
def test_what_is_no_number_is_refused_and_not_taken_for_no_limit(page: Page, dashboard: Dashboard, root: Path) -> None:
    dashboard.post("/containers", {"spec": {"name": "odd", "rootfs": str(root), "cpus": 2}}, 201)
    go(page, "containers", "odd", "configuration")
    unfold(page, "Limits")
    page.get_by_label("Processors", exact=True).fill("")
    page.get_by_label("Processors", exact=True).press_sequentially("1e")
    expect(page.get_by_text("Not a number.")).to_be_visible()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("status").get_by_text("spec.cpus")).to_be_visible()
    assert dashboard.get("/containers/odd")["spec"]["cpus"] == 2


def test_processes_are_asked_for_again_when_the_page_is_seen_again(
    browser: Browser, dashboard: Dashboard, root: Path
) -> None:
    dashboard.berth.succeed("start", "--name", "seen", "--rootfs", root)
    with patient(browser.new_context(viewport=PHONE, locale="en-GB")) as context:
        page = context.new_page()
        page.clock.install()
        page.goto(f"http://127.0.0.1:{dashboard.port}/#ticket={dashboard.ticket()}")
        await_first_view(page)
        go(page, "containers", "seen", "processes")
        expect(page.get_by_role("columnheader", name="PID")).to_be_visible()
        page.evaluate(HIDE, True)
        page.clock.run_for(10_000)
        dashboard.berth.succeed("run", "seen", "--", "sh", "-c", "sleep 4321 >/dev/null 2>&1 &")
        page.evaluate(HIDE, False)
        expect(page.get_by_text("sleep 4321")).to_be_visible()


@pytest.mark.address
def test_back_says_no_to_a_question(page: Page, dashboard: Dashboard, root: Path) -> None:
    dashboard.post("/containers", {"spec": {"name": "asked", "rootfs": str(root)}}, 201)
    page.get_by_role("link", name="asked").click()
    page.get_by_role("button", name="Remove …").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("heading", name="Containers")).to_be_visible()
    assert dashboard.get("/containers/asked")["spec"]["name"] == "asked"


@pytest.mark.address
def test_the_language_is_changed_without_losing_the_place(page: Page, dashboard: Dashboard) -> None:
    go(page, "settings")
    choice = page.get_by_label("Language")
    choice.focus()
    choice.select_option("zh-CN")
    expect(page.get_by_role("heading", name="设置")).to_be_visible()
    expect(page.get_by_label("语言")).to_be_focused()
    page.route("**/vendor/words/en.first.json", lambda route: route.abort())
    page.get_by_label("语言").select_option("en")
    expect(page.get_by_role("status").get_by_text("Failed to fetch")).to_be_visible()
    page.unroute("**/vendor/words/en.first.json")


@pytest.mark.address
def test_a_view_that_could_not_be_loaded_is_loaded_at_the_next_attempt(page: Page) -> None:
    page.route("**/views.css", lambda route: route.abort(), times=1)
    go(page, "operations")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", name="Operations")).to_be_visible()


@pytest.mark.address
def test_an_answer_that_was_cut_short_is_none_and_can_be_asked_for_again(page: Page) -> None:
    page.route("**/api/v1/check", lambda route: route.fulfill(status=200, body='{"fulfilled": tr'))
    go(page, "check")
    expect(page.get_by_role("alert")).to_contain_text("The service does not answer.")
    page.unroute("**/api/v1/check")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", name="Check")).to_be_visible()


@pytest.mark.address
def test_terminals_that_were_closed_stay_closed_and_one_is_left_by_keyboard(
    page: Page, dashboard: Dashboard, root: Path
) -> None:
    dashboard.berth.succeed("start", "--name", "several", "--rootfs", root)
    go(page, "containers", "several", "terminal")
    expect(page.locator(".xterm-rows")).to_contain_text("#")
    page.get_by_role("button", name="New terminal").click()
    expect(page.locator(".session")).to_have_count(2)
    page.get_by_role("button", name="Close terminal 1").click()
    expect(page.locator(".session")).to_have_count(1)
    expect(page.locator(".xterm-rows")).to_contain_text("#")
    page.locator(".xterm-helper-textarea").focus()
    page.keyboard.press("Shift+Escape")
    expect(page.get_by_role("button", name="Esc", exact=True)).to_be_focused()
    page.locator(".xterm-helper-textarea").focus()
    page.keyboard.type("exit\n")
    expect(page.get_by_text("No terminal is open.")).to_be_visible()


@pytest.mark.address
def test_who_only_passes_the_terminal_on_the_way_opens_no_shell(page: Page, dashboard: Dashboard, root: Path) -> None:
    dashboard.berth.succeed("start", "--name", "passed", "--rootfs", root)
    go(page, "containers", "passed", "terminal")
    expect(page.locator(".session")).to_have_count(1)
    page.get_by_role("button", name="Close terminal 1").click()
    expect(page.get_by_text("No terminal is open.")).to_be_visible()
    asked: list[Route] = []
    opened: list[str] = []

    def hold(route: Route) -> None:
        if route.request.method == "GET":
            asked.append(route)
        else:
            opened.append(route.request.method)
            route.abort()

    page.route("**/api/v1/terminals", hold)
    go(page, "containers", "passed")
    expect(page.get_by_text("Process on the device")).to_be_visible()
    with page.expect_request("**/api/v1/terminals"):
        go(page, "containers", "passed", "terminal")
    go(page, "containers", "passed", "logs")
    expect(page.get_by_label("Search the log")).to_be_visible()
    with page.expect_response("**/api/v1/terminals"):
        asked[0].continue_()
    go(page, "containers", "passed")
    expect(page.get_by_text("Process on the device")).to_be_visible()
    page.unroute("**/api/v1/terminals")
    assert opened == []


@pytest.mark.address
def test_a_console_is_told_once_after_the_web_process_was_killed(page: Page, dashboard: Dashboard, root: Path) -> None:
    faults.write_init(root, "#!/bin/sh\ntrap 'exit 0' TERM\necho told once\nsleep 1000 & wait $!\n")
    dashboard.berth.succeed("start", "--name", "told", "--rootfs", root)
    go(page, "containers", "told", "console")
    screen = page.locator(".xterm-rows")
    expect(screen).to_contain_text("told once")
    killed = dashboard.published["pid"]
    with page.expect_request("**/api/v1/streams"):
        os.kill(killed, signal.SIGKILL)
        dashboard.await_web(but=killed)
    expect(page.get_by_text("The service does not answer")).to_have_count(0)
    dashboard.post("/containers/told/console/input", {"data": "bm93Cg=="}, 204)
    expect(screen).to_contain_text("now")
    assert screen.inner_text().count("told once") == 1


@pytest.mark.address
def test_a_log_that_can_not_be_had_is_explained(page: Page, dashboard: Dashboard, root: Path) -> None:
    dashboard.berth.succeed("start", "--name", "lost", "--rootfs", root)
    (dashboard.berth.home / "containers" / "lost").rename(root.parent / "found")
    go(page, "containers", "lost", "logs")
    expect(page.get_by_role("alert")).to_contain_text("has no log")


@pytest.mark.address
def test_a_demo_whose_options_are_refused_is_there_to_be_changed(page: Page, dashboard: Dashboard) -> None:
    go(page, "create", "demo")
    unfold(page, "Limits")
    page.get_by_label("Memory", exact=True).fill("much")
    page.get_by_role("button", name="Review").click()
    page.get_by_role("button", name="Create and start").click()
    expect(page.get_by_role("status").get_by_text("spec.memory")).to_be_visible()
    expect(page.get_by_role("tab", name="Configuration")).to_have_attribute("aria-selected", "true")
    assert dashboard.get("/containers/demo")["details"]["state"] == "stopped"


def test_a_managers_page_works_where_no_key_can_be_kept_and_says_when_the_service_is_gone(
    browser: Browser, scratch: Path
) -> None:
    with (
        serving(Berth(scratch / "home")) as dashboard,
        patient(browser.new_context(locale="en-GB")) as context,
    ):
        (scratch / "home" / "access.json").write_text("[")
        bridge = Bridge(dashboard)
        try:
            page = manager_page(context, bridge, tcp=True)
            page.goto(bridge.address)
            expect(page.get_by_text("Linux, berthed on your device")).to_be_visible()
            web = dashboard.published["pid"]
            os.kill(dashboard.service, signal.SIGKILL)
            expect(page.get_by_text("the service does not run")).to_be_visible()
            faults.wait_until(lambda: not faults.is_alive(web), "the web process has ended")
            dashboard.berth.succeed("serve", "--background")
            page.evaluate(ONLINE)
            expect(page.get_by_text("the service does not run")).to_have_count(0, timeout=2 * PATIENCE)
        finally:
            bridge.end()
