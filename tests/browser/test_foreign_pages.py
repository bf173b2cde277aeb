"""What another's page in the user's own browser gets of the dashboard: nothing, whatever name it comes by."""

import pytest
from playwright.sync_api import Browser, Route

from tests.browser.conftest import patient
from tests.dashboard import Dashboard

pytestmark = pytest.mark.system

EVIL = "https://evil.example"
ASK = """async ([address, token]) =>
  (await fetch(address, { headers: { Authorization: `Bearer ${token}` } })).status"""
TRY = """async ([base, token]) => {
  const asked = (path, options) => fetch(base + path, options).then((answer) => answer.type, () => "refused");
  const loaded = (tag, key, path) => new Promise((keep) => {
    const one = document.createElement(tag);
    one.onload = () => keep("loaded");
    one.onerror = () => keep("refused");
    one[key] = base + path;
    document.body.append(one);
  });
  return {
    read: await asked("/api/v1/containers", { headers: { Authorization: `Bearer ${token}` } }),
    sent: await asked("/api/v1/containers", { method: "POST", mode: "no-cors", body: "{}" }),
    script: await loaded("script", "src", "/main.js"),
    image: await loaded("img", "src", "/icon.svg"),
  };
}"""


def test_a_name_that_was_made_to_lead_here_is_not_ours(browser: Browser, service: Dashboard) -> None:
    """DNS rebinding: the browser takes the page for another's, and its name is what gives it away."""
    with patient(browser.new_context()) as context:
        page = context.new_page()
        rebound = f"http://rebound.localhost:{service.port}"  # such names lead to this machine
        opened = page.goto(f"{rebound}/")
        assert opened is not None
        assert opened.status == 421
        for path in ("/api/v1/containers", "/api/v1/openapi.json", "/main.js"):
            assert page.evaluate(ASK, [f"{rebound}{path}", service.token]) == 421


def test_a_page_from_elsewhere_reads_nothing_does_nothing_and_shows_nothing_of_ours(
    browser: Browser, service: Dashboard
) -> None:
    def serve(route: Route) -> None:
        route.fulfill(body="<!doctype html><title>evil</title><body>", content_type="text/html")

    base = f"http://127.0.0.1:{service.port}"
    with patient(browser.new_context()) as context:
        context.grant_permissions(["local-network-access"])  # the user may have said yes to that
        page = context.new_page()
        page.route(f"{EVIL}/**", serve)
        page.goto(f"{EVIL}/")
        told = page.evaluate(TRY, [base, service.token])
        assert told == {"read": "refused", "sent": "refused", "script": "refused", "image": "refused"}
        page.evaluate(
            "src => document.body.append(Object.assign(document.createElement('iframe'), { src }))", f"{base}/"
        )
        page.wait_for_function("frames.length === 1")
        framed = page.frames[1]
        framed.wait_for_load_state()
        assert framed.locator("#app").count() == 0
    refused = [(entry["what"], entry["status"]) for entry in service.get("/audit")["entries"]]
    assert ("POST /api/v1/containers", 403) in refused
    assert service.get("/containers") == {"containers": []}
