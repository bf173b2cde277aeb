"""Looking for a newer version as an operation: over real TLS, by the page's call and by the command."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from tests import faults
from tests.dashboard import Dashboard, serving
from tests.program import Berth
from tests.publisher import BROKEN, PUBLISHED, Site, make_certificate, publishing

pytestmark = pytest.mark.system


class Module(NamedTuple):
    """A service that was started by a module in `folder`, and where newer versions of that are published."""

    folder: Path
    site: Site
    dashboard: Dashboard

    def asks(self, path: str, number: int = 100) -> None:
        """Have module.prop lead to `path` of the site, for a module whose version has this number."""
        (self.folder / "module.prop").write_text(f"versionCode={number}\nupdateJson={self.site.address}{path}\n")

    def look(self) -> dict[str, Any]:
        """Look for a newer version as the page does, and return how that ended."""
        return self.dashboard.finish(self.dashboard.post("/updates", {}, 202))

    @property
    def told(self) -> dict[str, Any]:
        """What the page tells of it."""
        told: dict[str, Any] = self.dashboard.get("/updates")
        return told


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Module]:
    folder = tmp_path_factory.mktemp("module")
    certificate = make_certificate(folder)
    berth = Berth(folder / "home")
    berth.environment |= {"BERTH_MODULE": str(folder), "SSL_CERT_FILE": str(certificate[0])}
    with publishing(certificate) as site, serving(berth) as dashboard:
        yield Module(folder, site, dashboard)


@pytest.fixture(autouse=True)
def nobody_has_looked(module: Module) -> None:
    (module.dashboard.berth.home / "updates.json").unlink(missing_ok=True)


def test_a_newer_version_is_found_by_an_operation_and_told_of_from_then_on(module: Module) -> None:
    module.asks("/update.json")
    version = module.dashboard.get("/service")["version"]
    assert module.told == {
        "version": version,
        "latest": "",
        "newer": False,
        "zip": "",
        "changelog": "",
        "looked_at": None,
    }

    ended = module.look()
    sentence = f"version v9.9.9 is there, this one is {version}; get it from {PUBLISHED['zipUrl']}"
    assert (ended["kind"], ended["container"], ended["state"]) == ("updates", "", "done")
    assert (ended["sentence"], ended["log"]) == (sentence, f"{sentence}\n")
    looked_at = module.told["looked_at"]
    found = {
        "version": version,
        "latest": "v9.9.9",
        "looked_at": looked_at,
        "newer": True,
        "zip": PUBLISHED["zipUrl"],
        "changelog": "",
    }
    assert module.told == found
    assert ended["started_at"] - 1 < looked_at < ended["ended_at"] + 1

    web = module.dashboard.published["pid"]
    os.kill(web, signal.SIGKILL)
    module.dashboard.await_web(but=web)
    assert module.told == found

    module.asks("/update.json", number=90909)
    assert module.told == {**found, "newer": False}, "it was flashed"


def test_the_command_tells_the_same(module: Module) -> None:
    module.asks("/update.json")
    berth = module.dashboard.berth
    assert json.loads(berth.succeed("updates", "--json")) == module.told
    assert berth.succeed("updates").startswith("version v9.9.9 is there, this one is ")
    module.asks("/update.json", number=90909)
    assert berth.succeed("updates") == f"{module.told['version']} is the latest version\n"


def test_a_root_managers_page_looks_over_the_bridge(module: Module) -> None:
    module.asks("/update.json")
    berth = module.dashboard.berth
    begun = json.loads(berth.succeed("api", "POST", "/api/v1/updates", "e30="))
    assert (begun["status"], begun["body"]["kind"]) == (202, "updates")
    module.dashboard.finish(begun["body"])
    assert json.loads(berth.succeed("api", "GET", "/api/v1/updates"))["body"]["latest"] == "v9.9.9"


ANSWERS = {
    **dict.fromkeys(BROKEN, "tells of no version; try again later"),
    "/other": "does not speak HTTP; try again later",
    "/silent": "closed connection without response",
    "/nothing": "localhost answers 404; try again later",
    "/round": "one address leads to the next",
    "/plain": "does not begin with https://",
}


@pytest.mark.parametrize("path", ANSWERS)
def test_a_broken_answer_is_told_in_a_sentence_and_not_kept(module: Module, path: str) -> None:
    module.asks(path)
    ended = module.look()
    assert ended["state"] == "failed"
    assert ended["sentence"].startswith("updates: ")
    assert ANSWERS[path] in ended["sentence"]
    assert ended["log"] == f"berth: {ended['sentence']}\n"
    assert module.told["latest"] == ""


def test_a_module_that_does_not_say_where_is_told_in_a_sentence(module: Module) -> None:
    (module.folder / "module.prop").write_text("id=berth\n")
    assert "this build does not say where newer ones are published" in module.look()["sentence"]
    (module.folder / "module.prop").unlink()
    ended = module.look()
    assert ended["sentence"] == f"updates: {module.folder}/module.prop can't be read: No such file or directory"


def test_a_process_of_its_own_looks_which_is_cancelled_and_leaves_nothing(module: Module) -> None:
    module.asks("/held")
    begun = module.dashboard.post("/updates", {}, 202)
    assert module.site.asked.wait(faults.SECONDS)
    assert module.dashboard.get(f"/operations/{begun['id']}")["state"] == "running"
    (asker,) = askers(module.site)
    assert Path(f"/proc/{asker}/comm").read_text() == "berth: worker\n", "megabytes of TLS end with it"

    module.dashboard.post(f"/operations/{begun['id']}/cancel", {}, 202)

    ended = module.dashboard.finish(begun)
    assert (ended["state"], ended["sentence"]) == ("cancelled", "updates: was cancelled")
    assert ended["ended_at"] - ended["started_at"] < 12, "it did not wait for its own end, which comes after 15 s"
    assert module.site.left.wait(faults.SECONDS), "its connection is closed"
    faults.wait_until(lambda: not faults.is_alive(asker), "its process has ended")
    assert module.told["latest"] == ""


def askers(site: Site) -> list[int]:
    """The processes that are connected to it."""
    found = psutil.net_connections("tcp")
    return [one.pid for one in found if one.pid and one.raddr and one.raddr.port == site.server_address[1]]
