"""The run record: what is written of a state, and what is read back of it."""

import multiprocessing
import os
import threading
from collections import Counter
from pathlib import Path

from msgspec.structs import replace

from berth.engine.containers import look_up
from berth.engine.journal import LONGEST, Journal, RunFolder, State, is_watched, read_record
from berth.engine.steps import Workshop
from berth.home import Home
from berth.host import Host
from berth.kernel.inotify import IN_DELETE, Inotify
from berth.kernel.processes import boot_id, start_time
from berth.plan.model import Plan
from berth.plan.one_off import plan_one_off
from berth.spec import Spec


def planned(*argv: str) -> Plan:
    host = Host(kernel=(6, 1), machine="x86_64")
    return plan_one_off(Spec(name="kept", rootfs="/"), argv, {}, host, terminal=False)


def state(stage: str, plan: Plan | None = None) -> State:
    return State(stage=stage, name="kept", boot="this", plan=plan)


def test_a_plan_is_written_once_and_belongs_to_all_later_states(tmp_path: Path) -> None:
    path, plan = tmp_path / "journal", planned("/bin/true")
    journal = Journal.create(str(path))
    for kept in (state("starting"), state("starting", plan), state("running", plan)):
        journal.save(kept)
    journal.close()

    assert read_record(str(path)) == (state("running", plan), [])
    assert path.read_text().count("/bin/true") == 1


def test_another_plan_takes_the_place_of_the_first(tmp_path: Path) -> None:
    path, first, second = tmp_path / "journal", planned("/bin/true"), planned("/bin/false")
    journal = Journal.create(str(path))
    for kept in (state("running", first), state("running", second), state("ended", second)):
        journal.save(kept)
    journal.close()

    assert read_record(str(path))[0] == state("ended", second)


def test_who_takes_a_record_over_keeps_its_plan(tmp_path: Path) -> None:
    path, plan = tmp_path / "journal", planned("/bin/true")
    journal = Journal.create(str(path))
    journal.save(state("running", plan))
    journal.close()

    heir = Journal.take_over(str(path))
    assert heir is not None
    heir.save(state("stuck", plan))
    heir.close()

    assert read_record(str(path))[0] == state("stuck", plan)


def test_a_torn_last_line_is_passed_over(tmp_path: Path) -> None:
    path, plan = tmp_path / "journal", planned("/bin/true")
    journal = Journal.create(str(path))
    journal.save(state("running", plan))
    number = journal.intend("folder", "/mnt/berth")
    journal.done(number, "1:2")
    journal.close()
    whole = path.read_bytes()

    path.write_bytes(whole[:-5])

    kept, effects = read_record(str(path))
    assert kept == state("running", plan)
    assert [(effect.target, effect.identity) for effect in effects] == [("/mnt/berth", None)]


def test_a_long_record_is_written_anew_and_says_the_same(tmp_path: Path) -> None:
    path, plan = tmp_path / "journal", planned("/bin/true")
    journal = Journal.create(str(path))
    kept, undone = journal.intend("folder", "/mnt/berth"), journal.intend("link", "veth0")
    journal.done(kept, "1:2")
    journal.undone(undone)
    while path.stat().st_size <= LONGEST:
        for stage in ("starting", "running"):
            journal.save(state(stage, plan))
    before = read_record(str(path))

    journal.shorten()

    assert path.stat().st_size < LONGEST / 8  # hardly more than one plan
    assert read_record(str(path)) == before
    assert is_watched(str(path))
    assert Journal.take_over(str(path)) is None
    later = journal.intend("folder", "/mnt/later")
    assert later == undone + 1
    assert [effect.target for effect in read_record(str(path))[1]] == ["/mnt/berth", "/mnt/later"]
    journal.close()
    assert not is_watched(str(path))
    assert [entry.name for entry in tmp_path.iterdir()] == ["journal"]


def test_a_short_record_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal.create(str(path))
    journal.save(state("running", planned("/bin/true")))
    before = path.stat()

    journal.shorten()
    journal.close()

    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_who_looks_while_a_record_is_written_anew_always_finds_it_watched(tmp_path: Path) -> None:
    path, plan = tmp_path / "journal", planned("/bin/true")
    journal = Journal.create(str(path))
    journal.save(state("running", plan))
    asked = threading.Event()

    def write() -> None:
        while not asked.is_set():
            journal.shorten(0)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = {(is_watched(str(path)), Journal.take_over(str(path))) for _ in range(2000)}
        states = {read_record(str(path))[0] == state("running", plan) for _ in range(500)}
    finally:
        asked.set()
        writer.join()
        journal.close()

    assert seen == {(True, None)}
    assert states == {True}


def test_what_a_stopped_container_left_is_gone_before_its_lock_is(tmp_path: Path) -> None:
    """Without its lock another start may be at work there, whose socket would be taken for the old one."""
    folder = RunFolder(Home(state=str(tmp_path), run=str(tmp_path / "run")), "box")
    folder.make()
    left = {f"left-{number}" for number in range(20)}
    for name in left:
        Path(folder.path, name).touch()

    with Inotify() as inotify:
        with folder.locked():
            inotify.watch(folder.path, IN_DELETE)
        gone = [event.name for event in inotify.read() if event.mask & IN_DELETE]

    assert set(gone[:-1]) == left
    assert gone[-1] == "lock"
    assert not Path(folder.path).exists()


def test_who_looks_while_containers_come_and_go_never_sees_a_crash(tmp_path: Path) -> None:
    home = Home(state=str(tmp_path), run=str(tmp_path / "run"))
    folder, own = RunFolder(home, "kept"), (os.getpid(), start_time(os.getpid()) or 0)
    folder.make()
    running = replace(state("running", planned("/bin/true")), boot=boot_id(), monitor=own)

    def come_and_go() -> None:
        while True:
            journal = Journal.create(folder.journal)
            journal.save(running)
            journal.remove()

    coming = multiprocessing.get_context("fork").Process(target=come_and_go)
    coming.start()
    seen = Counter[str]()
    try:
        while seen["running"] < 100:
            seen[look_up(home, "kept").condition] += 1
    finally:
        coming.kill()
        coming.join()

    assert seen.keys() <= {"stopped", "starting", "running"}


class Beaten(Journal):
    """Another container on this root makes each mount point in the moment in which this one notes its intent."""

    def intend(self, kind: str, target: str) -> int:
        Path(self.path).parent.joinpath(target.lstrip("/")).mkdir()
        return super().intend(kind, target)


def test_a_mount_point_that_another_container_was_faster_to_make_is_left_to_that(tmp_path: Path) -> None:
    journal = Beaten.create(str(tmp_path / "journal"))
    root = os.open(tmp_path, os.O_PATH)
    try:
        os.close(Workshop(root, "", journal).target("/made"))
    finally:
        os.close(root)
        journal.close()

    assert read_record(journal.path) == (None, [])
