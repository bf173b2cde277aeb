"""A port that a dead service has left belongs to whoever takes it: the page must not tell that one its token.

These tests kill the service, so each has one of its own.
"""

import contextlib
import hashlib
import hmac
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

import build
from tests import faults, squatter
from tests.browser.conftest import PHONE, await_first_view, patient
from tests.dashboard import Dashboard, raw_as, request, serving, status_of
from tests.program import Berth

pytestmark = pytest.mark.system

STRANGER = 10999
NONCE = "ab" * 32


@pytest.fixture
def own(scratch: Path) -> Iterator[Dashboard]:
    build.make_dashboard()
    with serving(Berth(scratch / "home")) as dashboard:
        yield dashboard


@contextlib.contextmanager
def squatting(port: int) -> Iterator[Path]:
    """Have another user's process listen on `port`; gives its folder."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o711)
        command = [sys.executable, squatter.__file__, str(STRANGER), str(port), folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == b"listens\n"
                yield Path(folder)
            finally:
                process.kill()


@contextlib.contextmanager
def paired(browser: Browser, dashboard: Dashboard) -> Iterator[Page]:
    """Open the page as `berth dashboard` does."""
    with patient(browser.new_context(viewport=PHONE, locale="en-GB")) as context:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{dashboard.port}/#ticket={dashboard.ticket()}")
        await_first_view(page)
        yield page


def kill_service(dashboard: Dashboard) -> int:
    """Kill it, wait until its port is free, and return the web process that was."""
    web = int(dashboard.published["pid"])
    os.kill(dashboard.service, signal.SIGKILL)
    faults.wait_until(lambda: not faults.is_alive(web), "the web process has ended")
    return web


def serve_again(dashboard: Dashboard, web: int) -> None:
    dashboard.berth.succeed("serve", "--background")
    dashboard.await_web(but=web)


def secret_of(page: Page) -> str:
    kept: str = page.evaluate("sessionStorage.getItem('berth.token')")
    assert len(kept.split(" ")[1]) == 43
    return kept.split(" ")[1]


def test_a_squatter_on_a_dead_services_port_never_hears_the_token(browser: Browser, own: Dashboard) -> None:
    with paired(browser, own) as page:
        port, secret = own.port, secret_of(page)
        web = kill_service(own)
        with squatting(port) as folder:
            expect(page.get_by_role("alert")).to_contain_text("Another program answers")
            page.evaluate("location.hash = '#/check'")  # a view whose module has not been loaded yet
            expect(page.locator("main").get_by_role("alert")).to_contain_text("Another program answers")
            told = (folder / "heard").read_text()
        assert "POST /api/v1/proof" in told
        assert ".js" not in told  # what it would answer could read the token
        assert secret not in told
        assert "authorization" not in told.lower()
        assert set(re.findall(r" (/api/\S+)$", told, re.MULTILINE)) == {"/api/v1/proof"}

        serve_again(own, web)  # on the same port, which is free again
        assert own.port == port
        page.evaluate("location.hash = '#/'")
        expect(page.get_by_text("Another program answers")).to_have_count(0)
        expect(page.get_by_text("Linux, berthed on your device")).to_be_visible()


def test_a_squatter_that_asks_the_service_elsewhere_gets_nothing_from_it(browser: Browser, own: Dashboard) -> None:
    with paired(browser, own) as page:
        port, secret = own.port, secret_of(page)
        web = kill_service(own)
        with squatting(port) as folder:
            serve_again(own, web)
            assert own.port != port
            (folder / "other").write_text(str(own.port))
            heard = folder / "heard"
            expect(page.get_by_role("alert")).to_contain_text("berth dashboard")
            faults.wait_until(lambda: b"relayed" in heard.read_bytes(), "the squatter has passed the question on")
            told = heard.read_text()
        assert "relayed: \n" in told  # the connection of its uid is closed without a word
        assert secret not in told
    assert [token["name"] for token in own.get("/tokens")["tokens"]] == ["test"]  # those of pages are worthless now


def test_a_proof_is_for_one_port_one_token_and_one_app(own: Dashboard) -> None:
    token, app = own.token, 10555
    identity = next(one["id"] for one in own.get("/tokens")["tokens"] if one["current"])
    proof = own.post("/proof", {"id": identity, "nonce": NONCE})["proof"]
    key = hashlib.sha256(token.encode()).digest()
    assert proof == hmac.new(key, f"berth 127.0.0.1:{own.port} {NONCE}".encode(), "sha256").hexdigest()
    assert own.post("/proof", {"id": identity, "nonce": "cd" * 32})["proof"] != proof
    assert own.ask("POST", "/proof", {"id": "0" * 12, "nonce": NONCE}).status == 401
    assert own.ask("POST", "/proof", {"id": identity, "nonce": "short"}).status == 400

    question = b'{"id":"%s","nonce":"%s"}' % (identity.encode(), NONCE.encode())
    asked = request("POST", "/api/v1/proof", own.port, body=question)
    assert raw_as(app, own.port, asked) == b""
    own.ticket(app)  # that app may be paired now, and still gets no proof for another's token
    assert status_of(raw_as(app, own.port, asked)) == 401


def test_a_managers_page_tells_a_squatter_nothing(browser: Browser, own: Dashboard) -> None:
    """Its port comes from the bridge; by the time it is asked it may be another's."""
    web = kill_service(own)
    with squatting(own.port) as folder, patient(browser.new_context(viewport=PHONE)) as context:
        context.grant_permissions(["local-network-access"])
        page = context.new_page()

        def serve(route: Route) -> None:
            path = build.WEBROOT / (route.request.url.partition("mui.kernelsu.org/")[2] or "index.html")
            kind = {".js": "text/javascript", ".html": "text/html", ".css": "text/css"}.get(path.suffix, "text/plain")
            route.fulfill(body=path.read_bytes() if path.is_file() else b"", content_type=kind)

        page.route("https://mui.kernelsu.org/**", serve)
        page.goto("https://mui.kernelsu.org/index.html")
        problem = page.evaluate(
            """async (base) => {
                 const { HttpDoor } = await import("/api/http.js");
                 const door = new HttpDoor(base, { id: "0123456789ab", token: "the-secret-token" });
                 return door.call("GET", "/service").catch((problem) => problem.constructor.name);
               }""",
            f"http://127.0.0.1:{own.port}",
        )
        assert problem in ("Stranger", "Problem")  # without the right headers a browser does not even hand it over
        assert "the-secret-token" not in (folder / "heard").read_text()
    serve_again(own, web)
