"""The history of what is used: only where it was switched on, bounded, and forgotten when it is switched off."""

from collections.abc import Callable
from pathlib import Path

import pytest

from berth.home import Home
from berth.web import history
from tests import faults
from tests.dashboard import serving
from tests.program import Berth

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]


def test_a_history_is_kept_where_it_was_switched_on_and_forgotten_when_off(berth: Berth, rootfs: Factory) -> None:
    with serving(berth) as dashboard:
        dashboard.start("written", faults.write_init(rootfs("busybox")))
        assert dashboard.get("/host/history") == {"on": False, "seconds": 300.0, "points": []}
        assert dashboard.get("/settings")["history"] is False

        assert dashboard.ask("PUT", "/settings", {"history": True}).body["history"] is True
        faults.wait_until(lambda: dashboard.get("/host/history")["points"], "the first moment is written down")
        (point,) = dashboard.get("/containers/written/history?hours=1")["points"]
        assert point["memory"] > 0
        assert point["cpu"] is None  # of no time yet
        assert dashboard.get("/host/history")["points"][0]["memory"] > point["memory"]
        assert dashboard.get("/containers/other/history")["points"][0]["memory"] is None
        assert dashboard.ask("GET", "/host/history?hours=x").status == 400
        assert (berth.home / "history").stat().st_mode & 0o777 == 0o600

        dashboard.ask("PUT", "/settings", {"history": False})
        assert dashboard.get("/host/history") == {"on": False, "seconds": 300.0, "points": []}
        faults.wait_until(lambda: not (berth.home / "history").exists(), "it is forgotten")
        dashboard.remove("written")


def test_a_history_never_grows_beyond_two_files(tmp_path: Path) -> None:
    home = Home(state=str(tmp_path), run=str(tmp_path))
    history.switch(home, on=True)
    use = {f"container-{number}": history.Use(1.0, 1) for number in range(100)}
    for number in range(2000):
        history.append(home, history.Moment(300.0 * number, history.Use(1.0, 1), use))

    size = sum(path.stat().st_size for path in tmp_path.glob("history*"))
    assert size < 1_100_000
    told = history.read(home, "", 9999, 300.0 * 2000).points
    assert len(told) <= 288
    assert told[-1].at > told[0].at
