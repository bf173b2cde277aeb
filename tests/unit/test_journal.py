"""The run record: what is written of a state, and what is read back of it."""

from pathlib import Path

from berth.engine.journal import Journal, State, read_record
from berth.host import Host
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
