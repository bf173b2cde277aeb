"""What a user does with the page, from the first link to the last container, with real containers."""

import json
import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests import faults
from tests.browser.conftest import Door, Factory, Snap, close_notice, go
from tests.dashboard import Dashboard

pytestmark = pytest.mark.system


@pytest.mark.address
def test_a_ticket_is_used_once_and_leaves_no_trace_in_the_address(page: Page, dashboard: Dashboard) -> None:
    assert page.url == f"http://127.0.0.1:{dashboard.port}/"
    page.go_back()
    assert page.url == "about:blank"  # there is no way back to it, either
    page.go_forward()
    assert page.url == f"http://127.0.0.1:{dashboard.port}/"
    page.reload()  # the token of this tab is enough
    expect(page.get_by_text("Linux, berthed on your device")).to_be_visible()


@pytest.mark.address
def test_a_page_without_a_ticket_says_how_to_open_it(page: Page, dashboard: Dashboard, snap: Snap) -> None:
    page.evaluate("sessionStorage.clear()")
    page.reload()
    expect(page.get_by_text("berth dashboard")).to_be_visible()
    expect(page.get_by_role("navigation")).to_have_count(0)
    snap(page, "locked")

    page.goto("about:blank")
    page.goto(f"http://127.0.0.1:{dashboard.port}/#ticket={'x' * 43}")
    expect(page.get_by_role("alert")).to_be_visible()


def test_a_newcomer_gets_from_an_empty_list_to_a_running_container(page: Page, root: Path, snap: Snap) -> None:
    expect(page.get_by_text("Linux, berthed on your device")).to_be_visible()
    snap(page, "welcome")
    page.get_by_role("link", name="New container").click()
    page.get_by_label("Name", exact=True).fill("first")
    page.get_by_label("Directory", exact=True).fill(str(root))
    snap(page, "create")
    page.get_by_role("button", name="Review").click()

    expect(page.get_by_text("Root file system")).to_be_visible()
    expect(page.get_by_text(f"directory {root}")).to_be_visible()
    snap(page, "plan")
    page.get_by_role("button", name="Create and start").click()

    expect(page.get_by_role("heading", name="first")).to_be_visible()
    expect(page.get_by_text("running", exact=True)).to_be_visible()


def test_a_newcomer_gets_from_an_empty_list_to_a_shell_in_the_demo(
    page: Page, dashboard: Dashboard, snap: Snap
) -> None:
    page.get_by_role("link", name="Try the demo").click()
    page.get_by_role("button", name="Review").click()
    snap(page, "demo")
    page.get_by_role("button", name="Create and start").click()
    expect(page.get_by_text("running", exact=True)).to_be_visible()
    page.get_by_role("tab", name="Terminal").click()
    expect(page.locator(".xterm-rows")).to_contain_text("#")
    page.keyboard.type("cat /etc/hostname; echo in $((40+2))\n")
    expect(page.locator(".xterm-rows")).to_contain_text("in 42")
    shutil.rmtree(dashboard.berth.home / "rootfs")


def test_what_can_do_harm_or_lasts_for_one_start_is_asked_of_a_new_container_before_its_plan(
    page: Page, dashboard: Dashboard, root: Path
) -> None:
    page.get_by_role("link", name="New container").click()
    page.get_by_label("Name", exact=True).fill("fleeting")
    page.get_by_label("Directory", exact=True).fill(str(root))
    page.get_by_role("switch", name="Forget changes").check()
    page.get_by_label("Room for changes").fill("16M")
    page.get_by_text("Protection", exact=True).click()
    page.get_by_role("switch", name="Show kernel files").check()
    page.get_by_role("button", name="Review").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("can crash it")
    assert dashboard.get("/containers") == {"containers": []}
    dialog.get_by_role("button", name="I trust it").click()
    expect(page.get_by_text("overlay with 16M of memory for changes")).to_be_visible()
    page.get_by_role("button", name="Create and start").click()

    expect(page.get_by_text("running", exact=True)).to_be_visible()
    dashboard.berth.succeed("run", "fleeting", "--", "touch", "/written")
    assert not (root / "written").exists()
    assert dashboard.get("/containers/fleeting")["spec"]["privileged"] == ["nomask"]


def test_a_container_of_droidspaces_is_filled_in_from_its_file(
    page: Page, dashboard: Dashboard, root: Path, snap: Snap
) -> None:
    conf = root.parent / "container.config"
    conf.write_text(
        f"name=moved over\nrootfs_path={root}\nhostname=old-phone\nmemory_limit=268435456\nenable_gpu_mode=1\n"
    )
    page.get_by_role("link", name="New container").click()
    page.get_by_text("Fill in from a file").click()
    path = page.locator(".from-file").first.get_by_label("Path on the device")
    path.fill(f"{conf}.gone")
    path.press("Enter")
    expect(page.get_by_text("is no file of this device")).to_be_visible()
    path.fill(str(conf))
    page.get_by_role("button", name="Read", exact=True).click()

    expect(page.get_by_text("enable_gpu_mode is kept, but Berth does not know it")).to_be_visible()
    expect(page.get_by_label("Name", exact=True)).to_have_value("moved-over")
    expect(page.get_by_label("Directory", exact=True)).to_have_value(str(root))
    page.get_by_text("Limits", exact=True).click()
    expect(page.get_by_label("Memory", exact=True)).to_have_value("256M")
    snap(page, "filled-in")
    page.get_by_role("button", name="Review").click()
    page.get_by_role("button", name="Create", exact=True).click()
    expect(page.get_by_role("heading", name="moved-over", exact=True)).to_be_visible()
    spec = dashboard.get("/containers/moved-over")["spec"]
    assert spec["extra"] == {"enable_gpu_mode": "1"}
    assert (spec["hostname"], spec["memory"]) == ("old-phone", 256 << 20)


def test_an_image_is_created_with_variables_from_a_file_and_started(
    page: Page, dashboard: Dashboard, image: Factory, scratch: Path
) -> None:
    page.get_by_role("link", name="New container").click()
    page.get_by_text("An image file").click()
    page.get_by_label("Name", exact=True).fill("imaged")
    page.get_by_label("Image file", exact=True).fill(str(image("busybox")))
    page.get_by_text("Start", exact=True).click()
    page.get_by_label("Variables", exact=True).fill("COLOUR=red")
    page.get_by_text("Read variables from a file").click()
    reading = page.locator(".from-file").filter(has_text="Read variables")
    reading.get_by_label("Or its text").fill("# of a friend\nexport COLOUR=blue\nSHAPE='round'\n")
    reading.get_by_role("button", name="Read", exact=True).click()
    expect(page.get_by_label("Variables", exact=True)).to_have_value("COLOUR=red\nSHAPE=round")
    page.get_by_role("button", name="Review").click()
    page.get_by_role("button", name="Create and start").click()

    expect(page.get_by_text("running", exact=True)).to_be_visible()
    told = dashboard.get("/containers/imaged")
    assert told["spec"]["env"] == {"COLOUR": "red", "SHAPE": "round"}
    assert told["details"]["state"] == "running"


def test_what_is_no_size_is_refused_with_a_sentence_and_not_taken_for_no_limit(
    page: Page, dashboard: Dashboard, root: Path
) -> None:
    dashboard.post("/containers", {"spec": {"name": "odd", "rootfs": str(root)}}, 201)
    go(page, "containers", "odd", "configuration")
    page.get_by_text("Limits", exact=True).click()
    page.get_by_label("Memory", exact=True).fill("much")
    expect(page.get_by_text("Not a size.")).to_be_visible()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("status").get_by_text("spec.memory")).to_be_visible()


def test_a_container_that_can_not_start_is_explained(page: Page, scratch: Path) -> None:
    page.get_by_role("link", name="New container").click()
    page.get_by_label("Name", exact=True).fill("broken")
    page.get_by_label("Directory", exact=True).fill(str(scratch / "nowhere"))
    page.get_by_role("button", name="Review").click()

    expect(page.get_by_role("alert")).to_contain_text("nowhere")
    expect(page.get_by_role("button", name="Create and start")).to_be_disabled()


def test_what_runs_is_seen_and_steered_from_its_card(
    desktop: Page, dashboard: Dashboard, door: Door, root: Path, snap: Snap
) -> None:
    name = f"steered-{door.name}"  # what was done behind the other door is remembered as well
    dashboard.berth.succeed("start", "--name", name, "--rootfs", root)

    expect(desktop.get_by_text("running", exact=True)).to_be_visible()  # without a reload
    expect(desktop.locator(".sparkline path").first).to_be_visible()
    expect(desktop.locator(".tile").filter(has_text="Processor")).to_contain_text("%")
    expect(desktop.locator(".tile").filter(has_text="Storage")).to_contain_text("free")
    snap(desktop, "overview")

    pid = dashboard.get(f"/containers/{name}")["details"]["pid"]
    os.kill(pid, signal.SIGSTOP)  # so that the restart goes on for as long as it takes to see that
    desktop.get_by_role("button", name=f"Restart {name}").click()
    expect(desktop.get_by_role("button", name=f"Restart {name}")).to_have_count(0)
    os.kill(pid, signal.SIGCONT)
    expect(desktop.get_by_role("button", name=f"Restart {name}")).to_be_visible()
    assert dashboard.get(f"/containers/{name}")["details"]["pid"] != pid

    desktop.get_by_role("button", name=f"Stop {name}").click()
    expect(desktop.get_by_text("stopped", exact=True)).to_be_visible()
    desktop.get_by_role("button", name=f"Start {name}").click()
    expect(desktop.get_by_text("running", exact=True)).to_be_visible()

    go(desktop, "operations")
    expect(desktop.get_by_text(f"Start {name}", exact=True)).to_be_visible()
    own = desktop.get_by_role("listitem").filter(has_text=name)
    expect(own.get_by_text("done", exact=True)).to_have_count(3)


def test_several_containers_are_started_and_stopped_at_once(page: Page, dashboard: Dashboard, root: Path) -> None:
    for name in ("red", "green", "blue"):
        dashboard.post("/containers", {"spec": {"name": name, "rootfs": str(root)}}, 201)
    page.get_by_role("button", name="Select").click()
    page.get_by_role("checkbox", name="Select red").check()
    page.get_by_role("checkbox", name="Select blue").check()
    page.get_by_role("toolbar").get_by_role("button", name="Start", exact=True).click()

    expect(page.get_by_text("running", exact=True)).to_have_count(2)
    expect(page.get_by_role("button", name="Start green")).to_be_visible()


def test_what_can_do_harm_is_asked_for_twice(page: Page, dashboard: Dashboard, root: Path, snap: Snap) -> None:
    dashboard.post("/containers", {"spec": {"name": "bold", "rootfs": str(root)}}, 201)
    go(page, "containers", "bold", "configuration")
    page.get_by_text("Protection", exact=True).click()
    page.get_by_role("switch", name="Allow all devices").check()
    page.get_by_role("button", name="Save", exact=True).click()

    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("read and overwrite every partition")
    snap(page, "danger")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert "privileged" not in dashboard.get("/containers/bold")["spec"]

    page.get_by_role("button", name="Save", exact=True).click()
    dialog.get_by_role("button", name="I trust it").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    assert dashboard.get("/containers/bold")["spec"]["privileged"] == ["unfiltered-dev"]


def test_a_configuration_is_changed_as_a_form_and_raw_and_explained(
    page: Page, dashboard: Dashboard, root: Path, snap: Snap
) -> None:
    dashboard.post("/containers", {"spec": {"name": "formed", "rootfs": str(root)}}, 201)
    go(page, "containers", "formed", "configuration")
    page.get_by_text("Limits", exact=True).click()
    page.get_by_label("Memory", exact=True).fill("256M")
    page.get_by_text("Storage", exact=True).click()
    page.get_by_label("Shared folders").fill(f"{root}:/mnt/root:ro")
    snap(page, "configuration")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    close_notice(page)
    spec = dashboard.get("/containers/formed")["spec"]
    assert spec["memory"] == 256 << 20
    assert spec["binds"] == [{"source": str(root), "destination": "/mnt/root", "read_only": True}]

    page.get_by_role("button", name="Raw").click()
    page.get_by_role("textbox", name="Raw").fill(json.dumps(spec | {"hostname": "raw"}))
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("button", name="Save", exact=True)).to_have_count(0)
    assert dashboard.get("/containers/formed")["spec"]["hostname"] == "raw"

    page.get_by_role("button", name="Plan").click()
    page.get_by_text("Rights of root inside").click()
    expect(page.get_by_text("without SYS_MODULE")).to_be_visible()


def test_a_container_is_renamed_and_removed_by_typing_its_name(
    page: Page, dashboard: Dashboard, root: Path, snap: Snap
) -> None:
    dashboard.post("/containers", {"spec": {"name": "old", "rootfs": str(root)}}, 201)
    go(page, "containers", "old")
    page.get_by_label("New name").fill("new")
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("heading", name="new", exact=True)).to_be_visible()
    close_notice(page)

    page.get_by_role("button", name="Remove").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox").fill("old")
    dialog.get_by_role("button", name="Remove").click()
    expect(dialog).to_be_visible()  # that is not its name
    snap(page, "remove")
    dialog.get_by_role("textbox").fill("new")
    dialog.get_by_role("button", name="Remove").click()

    expect(page.get_by_text("Linux, berthed on your device")).to_be_visible()
    assert dashboard.get("/containers") == {"containers": []}
    assert root.is_dir()


def test_settings_are_kept_and_shown_in_the_language_of_the_user(page: Page, dashboard: Dashboard, snap: Snap) -> None:
    go(page, "settings")
    page.get_by_role("switch", name="Safe mode").click()
    expect(page.get_by_role("switch", name="Safe mode")).to_be_checked()  # which is before the service has heard
    faults.wait_until(lambda: _settings(page, dashboard)["safe_mode"], "it is saved")
    page.get_by_label("Language").select_option("zh-CN")
    expect(page.get_by_role("heading", name="设置")).to_be_visible()
    page.get_by_role("button", name="纯黑").click()
    snap(page, "settings-chinese")
    page.reload()
    expect(page.get_by_role("heading", name="设置")).to_be_visible()
    assert page.evaluate("document.documentElement.dataset.theme") == "amoled"
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    go(page)
    expect(page.get_by_text("安全模式已开启")).to_be_visible()
    assert dashboard.get("/settings")["safe_mode"] is True


def _settings(page: Page, dashboard: Dashboard) -> dict[str, Any]:
    page.wait_for_timeout(1)  # what the page asks of the bridge is done by this thread, in a call of page
    settings: dict[str, Any] = dashboard.get("/settings")
    return settings


def test_check_and_about_tell_of_the_device(page: Page, dashboard: Dashboard, snap: Snap) -> None:
    go(page, "check")
    titles = [one["title"] for one in dashboard.get("/check")["requirements"]]
    for title in titles:
        expect(page.get_by_text(title, exact=True).first).to_be_attached()
    snap(page, "check")
    go(page, "about")
    expect(page.get_by_text(dashboard.get("/service")["version"], exact=True)).to_be_visible()
    page.get_by_role("button", name="Look for updates").click()
    expect(page.get_by_text("this build does not say where newer ones are published")).to_be_visible()
    page.get_by_role("button", name="Make a report").click()
    expect(page.get_by_role("region", name="Report a problem")).to_contain_text("kernel")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save").click()
    assert download.value.suggested_filename == "berth-report.txt"
    licence = page.get_by_role("group").filter(has_text="preact").first
    licence.locator("summary").click()
    expect(licence.get_by_text("MIT License")).to_be_visible()
    snap(page, "about")


@pytest.mark.address
def test_a_key_that_is_taken_away_locks_its_page(page: Page, dashboard: Dashboard) -> None:
    go(page, "settings")
    row = page.locator(".tokens li").filter(has_text="this page")
    row.get_by_role("button").click()
    # An app that is not paired any more gets no file, either.
    page.route(re.compile(r"\.(css|js|json|svg)$"), lambda route: route.abort())
    page.get_by_role("dialog").get_by_role("button", name="Take away").click()
    expect(page.get_by_text("This page needs to be opened by Berth")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0
    page.unroute_all()
