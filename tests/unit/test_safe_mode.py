"""What safe mode concludes from markers; that it does so on a phone is shown by the device tests."""

import errno
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import MethodType

import pytest

from berth.engine import launch, probation, safe_mode
from berth.engine.events import Event
from berth.engine.safe_mode import Verdict, judge
from berth.errors import BerthError, UsageError
from berth.home import Home
from berth.kernel.processes import boot_id
from berth.service.autostart import BOOTED, RECOVERED, UNLOCKED, Autostart, in_order, queued, waiting_for
from berth.spec import Bind, Spec
from berth.store import save_spec

DIED = {"web": "boot-1"}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(str(tmp_path), f"{tmp_path}/run")


def test_a_marker_of_an_earlier_boot_keeps_its_container_back() -> None:
    assert judge(Verdict("boot-1"), DIED, "boot-2", asked_for=False) == Verdict("boot-2", 1, ("web",))


def test_a_marker_of_this_boot_says_nothing() -> None:
    assert judge(Verdict("boot-1"), {"web": "boot-2"}, "boot-2", asked_for=False) == Verdict("boot-2")


def test_a_boot_is_judged_once_however_often_the_service_starts() -> None:
    judged = Verdict("boot-2", 1, ("web",))

    assert judge(judged, {"db": "boot-1"}, "boot-2", asked_for=False) == judged


def test_whoever_turns_the_phone_off_has_not_been_failed_by_it() -> None:
    assert judge(Verdict("boot-1"), DIED, "boot-2", asked_for=True) == Verdict("boot-2")


def test_two_deaths_in_a_row_are_counted_and_stay_until_someone_asks() -> None:
    second = judge(Verdict("boot-2", 1, ("web",)), {"db": "boot-2"}, "boot-3", asked_for=False)

    assert second == Verdict("boot-3", 2, ("db", "web"))
    assert judge(second, {}, "boot-4", asked_for=False) == Verdict("boot-4", 2, ("db", "web"))


def test_after_two_deaths_everything_is_kept_back_and_those_that_died_are_named(home: Home) -> None:
    for name in ("db", "mail", "web"):
        save_spec(home, Spec(name=name, rootfs="/srv", autostart=True))
    Path(home.state, "safe-mode.json").write_text('{"boot": "boot-2", "deaths": 1, "kept_back": ["web"]}')
    Path(home.state, "starting").mkdir()
    Path(home.state, "starting", "db").write_text("boot-2\n")

    safe_mode.judge_this_boot(home, asked_for=False)

    why = "the phone went down 2 times in a row while containers were starting: db, web"
    assert safe_mode.kept_back(home) == dict.fromkeys(("db", "mail", "web"), why)
    assert safe_mode.summary(home) == f"Safe mode: nothing starts by itself, because {why}"


def test_a_good_boot_in_between_begins_the_count_anew_but_forgets_no_container() -> None:
    good = judge(Verdict("boot-2", 1, ("web",)), {}, "boot-3", asked_for=False)

    assert good == Verdict("boot-3", 0, ("web",))
    assert judge(good, {"db": "boot-3"}, "boot-4", asked_for=False).deaths == 1


def test_a_marker_is_judged_and_taken_away(home: Home) -> None:
    Path(home.state, "starting").mkdir()
    Path(home.state, "starting", "web").write_text("an earlier boot\n")

    safe_mode.judge_this_boot(home, asked_for=False)

    assert safe_mode.kept_back(home) == {"web": "the phone went down while it was starting"}
    assert probation.markers(home) == {}
    assert safe_mode.read_verdict(home).boot == boot_id()


def test_a_marker_of_this_boot_stays_until_it_is_taken_away(home: Home) -> None:
    probation.mark(home, "web")

    safe_mode.judge_this_boot(home, asked_for=False)
    assert probation.is_marked(home, "web")

    probation.unmark(home, "web")
    assert not probation.is_marked(home, "web")


def test_the_end_of_a_container_takes_no_marker_away_that_has_yet_to_be_judged(home: Home) -> None:
    Path(home.state, "starting").mkdir()
    Path(home.state, "starting", "web").write_text("an earlier boot\n")

    probation.end(home, "web")
    probation.end(home, "db")

    assert probation.markers(home) == {"web": "an earlier boot"}


def test_a_start_that_is_refused_beside_another_one_leaves_the_marker_of_that(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise BerthError("it is starting already")

    save_spec(home, Spec(name="web", rootfs="/srv"))
    probation.mark(home, "web")
    monkeypatch.setattr(launch, "_refuse_second_start", refuse)

    with pytest.raises(BerthError, match="starting already"):
        safe_mode.start_on_probation(home, "web")

    assert probation.is_marked(home, "web")


def test_a_start_is_marked_while_it_is_under_way_and_no_longer_when_it_has_failed(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        assert probation.markers(home) == {"web": boot_id()}
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    save_spec(home, Spec(name="web", rootfs="/srv"))
    monkeypatch.setattr(launch, "Expected", fail)

    with pytest.raises(BerthError, match="container web"):
        safe_mode.start_on_probation(home, "web")

    assert probation.markers(home) == {}


def test_the_marker_of_a_start_that_was_killed_goes_too(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    save_spec(home, Spec(name="web", rootfs="/srv", autostart=True))
    pids = iter(range(1, 9))
    under_way: dict[str, int] = {}

    def fork(action: Callable[[], None]) -> int:
        assert isinstance(action, partial | MethodType)
        pid = next(pids)
        under_way[str(action.args[-1]) if isinstance(action, partial) else "gate"] = pid
        return pid

    autostart = Autostart(home, fork, lambda _: None)
    autostart.begin()
    for pid in tuple(under_way.values()):
        autostart.ended(pid)
    probation.mark(home, "web")  # as it does first
    autostart.ended(under_way["web"])

    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 121)
    autostart.end_probations()

    assert not probation.is_marked(home, "web")


def test_a_marker_cut_short_is_taken_for_one_of_an_earlier_boot(home: Home) -> None:
    Path(home.state, "starting").mkdir()
    Path(home.state, "starting", "web").touch()

    safe_mode.judge_this_boot(home, asked_for=False)

    assert list(safe_mode.kept_back(home)) == ["web"]


def test_the_users_file_keeps_everything_back_until_it_is_tried_again(home: Home) -> None:
    for name in ("db", "web"):
        save_spec(home, Spec(name=name, rootfs="/srv", autostart=True))
    save_spec(home, Spec(name="by-hand", rootfs="/srv"))
    switch = Path(home.state, "safe")
    switch.touch()

    assert list(safe_mode.kept_back(home)) == ["db", "web"]
    assert str(switch) in safe_mode.summary(home)

    safe_mode.try_again(home)

    assert safe_mode.kept_back(home) == {}
    assert safe_mode.summary(home) == ""
    assert not switch.exists()


def test_a_marker_goes_when_the_phone_has_lived_with_the_container_for_two_minutes(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    autostart = Autostart(home, lambda _: 0, lambda _: None)
    probation.mark(home, "web")

    autostart.take_note(Event("running", "web", at=0))
    autostart.end_probations()

    assert probation.is_marked(home, "web")
    left = autostart.milliseconds()
    assert left is not None
    assert 110_000 < left < 120_002
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 121)
    autostart.end_probations()
    assert not probation.is_marked(home, "web")
    assert autostart.milliseconds() is None


def test_what_was_kept_back_and_is_tried_again_waits_for_what_it_would_have_waited_for(home: Home) -> None:
    save_spec(home, Spec(name="web", rootfs="/srv", autostart=True, start_after=("db",)))
    save_spec(home, Spec(name="db", rootfs="/srv", autostart=True))
    Path(home.state, "safe").touch()
    forked: list[str] = []

    def fork(action: Callable[[], None]) -> int:
        assert isinstance(action, partial | MethodType)
        forked.append(str(action.args[-1]) if isinstance(action, partial) else action.__name__)
        return len(forked)

    autostart = Autostart(home, fork, lambda _: None)
    autostart.begin()
    autostart.ended(1)
    assert forked == ["_recover"]

    safe_mode.try_again(home)
    autostart.try_again()

    assert "wait_until_booted" in forked[1]
    assert len(forked) == 2
    autostart.ended(2)
    assert forked[2:] == ["db"]
    autostart.ended(3)
    assert forked[2:] == ["db", "web"]
    autostart.try_again()
    assert len(forked) == 4


def test_a_verdict_that_can_not_be_read_holds_nothing_up(home: Home) -> None:
    Path(home.state, "safe-mode.json").write_text("{half")

    assert safe_mode.kept_back(home) == {}


def test_autostart_waits_for_the_recovery_and_the_end_of_the_boot() -> None:
    specs = [Spec(name="web", rootfs="/srv", autostart=True), Spec(name="other", rootfs="/srv")]

    assert waiting_for(specs, (), encrypted=True) == {"web": {RECOVERED, BOOTED}}


def test_the_order_of_starts_is_that_of_waiting() -> None:
    def spec(name: str, *after: str, autostart: bool = True) -> Spec:
        return Spec(name=name, rootfs="/srv", autostart=autostart, start_after=after)

    specs = [spec("a", "web"), spec("web", "db", "absent"), spec("db"), spec("cache"), spec("absent", autostart=False)]
    ring = [spec("b", "c"), spec("c", "b"), spec("d", "c")]

    assert in_order(specs) == ["cache", "db", "web", "a"]
    assert in_order(ring) == ["b", "c", "d"]


def test_an_order_is_kept_by_each_waiting_for_the_one_before_it() -> None:
    def spec(name: str, *after: str, autostart: bool = True) -> Spec:
        return Spec(name=name, rootfs="/srv", autostart=autostart, start_after=after)

    specs = [spec("a"), spec("b", "c", "absent"), spec("c"), spec("absent", autostart=False)]
    wanted = ["b", "c", "a"]

    changed = {one.name: one.start_after for one in queued(specs, wanted)}

    assert changed == {"b": ("absent",), "c": ("b",), "a": ("c",)}
    after = [Spec(name=one.name, rootfs="/srv", autostart=True, start_after=changed[one.name]) for one in specs[:3]]
    assert in_order(after) == wanted
    assert queued(after, wanted) == []
    assert queued(specs, ["a", "c", "b"]) == []  # as it is anyway: nobody waits for more than before


def test_an_order_of_others_or_of_a_client_before_its_router_is_refused() -> None:
    router = Spec(name="router", rootfs="/srv", autostart=True)
    client = Spec(name="client", rootfs="/srv", autostart=True, net="gateway", gateway="router")

    for names in (["router"], ["router", "client", "x"], ["client", "client"]):
        with pytest.raises(UsageError, match="load it again"):
            queued([router, client], names)
    with pytest.raises(UsageError, match="router is the router of client, so it has to start first"):
        queued([router, client], ["client", "router"])


@pytest.mark.parametrize(
    "spec",
    [
        Spec(name="web", rootfs="/data/media/0/web", autostart=True),
        Spec(name="web", image="/sdcard/web.img", autostart=True),
        Spec(name="web", rootfs="/srv", binds=(Bind("/storage", "/mnt"),), autostart=True),
    ],
    ids=["rootfs", "image", "bind"],
)
def test_what_lies_in_encrypted_storage_waits_for_the_first_unlock(spec: Spec) -> None:
    assert waiting_for([spec], (), encrypted=True) == {"web": {RECOVERED, BOOTED, UNLOCKED}}
    assert waiting_for([spec], (), encrypted=False) == {"web": {RECOVERED, BOOTED}}


def test_the_unlock_is_not_for_folders_that_only_begin_alike() -> None:
    spec = Spec(name="web", rootfs="/data/mediation", autostart=True)

    assert waiting_for([spec], (), encrypted=True) == {"web": {RECOVERED, BOOTED}}


def test_what_is_kept_back_is_not_waited_for_either() -> None:
    specs = [
        Spec(name="web", rootfs="/srv", autostart=True, start_after=("db",)),
        Spec(name="db", rootfs="/srv", autostart=True),
    ]

    assert waiting_for(specs, ("db",), encrypted=False) == {"web": {RECOVERED, BOOTED}}


def test_a_container_starts_after_its_gateway_where_that_starts_by_itself() -> None:
    gateway = Spec(name="wrt", rootfs="/r", autostart=True, net="nat")
    client = Spec(name="web", rootfs="/r", autostart=True, net="gateway", gateway="wrt")

    assert waiting_for([client, gateway], (), encrypted=False)["web"] == {RECOVERED, BOOTED, "wrt"}
    assert waiting_for([client], (), encrypted=False)["web"] == {RECOVERED, BOOTED}
