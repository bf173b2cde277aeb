"""The dashboard of a phone that nobody has touched since the reboot, through both of its doors."""

import pytest

from tests.device.phone.doors import BROWSER, SHELL, Door, bridge, ticket_shown
from tests.device.phone.machine import HOME, Phone
from tests.device.phone.scene import MODULE, state

pytestmark = [pytest.mark.device, pytest.mark.timeout(900)]

ROOT = 0
OTHER_APP = 10236


def test_its_port_answers_and_tells_nothing_without_a_token(phone: Phone) -> None:
    computer = Door(phone, SHELL)

    page, refused = computer.ask("GET", "/"), computer.api("GET", "/containers")

    assert (page.status, page.kind.partition(";")[0]) == (200, "text/html")
    assert b"main.js" in page.text
    assert (refused.status, refused.kind) == (401, "application/problem+json")
    assert computer.api("GET", "/containers", token="wrong").status == 401


def test_another_app_is_not_even_answered(phone: Phone) -> None:
    assert Door(phone, OTHER_APP).ask("GET", "/").status == 0


def test_the_modules_button_opens_it_in_the_users_browser_and_in_no_other(phone: Phone) -> None:
    phone.wait_until(lambda: phone.run("ls", f"{HOME}/run/web.json").code == 0, "the dashboard is served")

    said = phone.script(f"{MODULE}/action.sh")

    assert "The dashboard opens in org.example.browser." in said
    assert f"In a root shell: {MODULE}/bin/berth" in said
    ticket, browser = ticket_shown(phone), Door(phone, BROWSER)
    assert Door(phone, OTHER_APP).api("POST", "/pair", {"ticket": ticket}).status == 0
    assert browser.ask("GET", "/").status == 200
    paired = browser.api("POST", "/pair", {"ticket": ticket})
    assert paired.status == 201
    assert browser.api("POST", "/pair", {"ticket": ticket}).status == 403
    (box,) = browser.api("GET", "/containers", token=paired.body["token"]).body["containers"]
    assert (box["name"], box["state"]) == ("box", "running")


def test_both_doors_tell_and_do_the_same(phone: Phone) -> None:
    # The token is for who made it: over this bridge, root.
    token = bridge(phone, "POST", "/tokens", {"name": "manager"}).body["token"]
    port = Door(phone, ROOT)

    assert bridge(phone, "GET", "/service").body["port"] == port.there
    assert bridge(phone, "GET", "/containers/nothing").status == 404
    assert Door(phone, SHELL).api("GET", "/containers", token=token).status == 401
    stopping = bridge(phone, "POST", "/containers/box/stop", {})
    assert stopping.status == 202
    path = f"/operations/{stopping.body['id']}"
    phone.wait_until(lambda: port.api("GET", path, token=token).body["state"] == "done", "the container has ended")
    assert state(phone, "box") == "stopped"
    assert port.api("POST", "/containers/box/start", {}, token).status == 202
    phone.wait_until(lambda: bridge(phone, "GET", "/containers").body["containers"][0]["state"] == "running", "it runs")
    assert port.api("GET", "/containers", token=token).body["containers"][0]["state"] == "running"


def test_a_newer_version_is_looked_for_over_the_bridge_with_the_modules_own_tls(phone: Phone) -> None:
    kept = f"{MODULE}/module.prop.kept"
    phone.run("cp", "-p", f"{MODULE}/module.prop", kept)
    # Where nobody can be trusted, which is said by what does the rest by TLS, too.
    phone.run("sh", "-c", f"echo updateJson=http://127.0.0.1/ >> {MODULE}/module.prop")
    try:
        looking = bridge(phone, "POST", "/updates", {})
        assert (looking.status, looking.body["kind"]) == (202, "updates")
        path = f"/operations/{looking.body['id']}"
        phone.wait_until(lambda: bridge(phone, "GET", path).body["state"] == "failed", "it has looked")
        assert "does not begin with https://" in bridge(phone, "GET", path).body["sentence"]
        assert bridge(phone, "GET", "/updates").body["latest"] == ""
    finally:
        phone.run("mv", kept, f"{MODULE}/module.prop")
