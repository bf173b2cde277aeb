"""Cgroups made and joined in the hierarchies of the machine that runs the tests."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from berth.engine import cgroups
from berth.engine.cgroup_trees import identify, write
from berth.engine.journal import Journal, read_record
from berth.errors import BerthError
from berth.kernel.mounts import MS_PRIVATE, MS_REC, mount
from berth.kernel.namespaces import unshare
from berth.plan.cgroups import OWN_MOUNTS, own_path
from berth.plan.model import Cgroup
from tests.forked import in_child
from tests.groups import MOUNTS, NOBODY_KEEPS, Made, folder, sleeper

pytestmark = pytest.mark.system


def test_limits_are_written_where_the_controllers_are(made: Made) -> None:
    plan = made.create(made.planned(memory=64 << 20, cpus=1.5, pids_limit=50))
    assert (folder(plan, made.name, "memory") / "memory.limit_in_bytes").read_text().strip() == str(64 << 20)
    assert (folder(plan, made.name, "cpu") / "cpu.cfs_quota_us").read_text().strip() == "150000"
    assert (folder(plan, made.name, "pids") / "pids.max").read_text().strip() == "50"
    assert all(Path(path, "payload").is_dir() for path in cgroups.paths(plan, made.name))


def test_every_group_is_in_the_record_with_its_identity(made: Made) -> None:
    plan = made.create(made.planned())
    told = {effect.target: effect.identity for effect in made.effects() if effect.kind == "cgroup"}
    assert told == {path: identify(path) for path in cgroups.paths(plan, made.name)}


def test_a_process_that_joins_is_in_every_payload_and_leaves_to_every_root(made: Made) -> None:
    plan = made.create(made.planned())

    def move() -> list[list[str]]:
        cgroups.join(plan, made.name)
        inside = cgroups.current(os.getpid())
        cgroups.leave_to_root()
        return [inside, cgroups.current(os.getpid())]

    inside, outside = in_child(move)
    assert sorted(inside) == sorted(f"{path}/payload" for path in cgroups.paths(plan, made.name))
    assert sorted(outside) == sorted(mount.path for mount in MOUNTS)


def test_another_process_can_be_moved_and_then_be_followed(made: Made) -> None:
    plan = made.create(made.planned())
    with sleeper(lambda: None) as pid:
        cgroups.join(plan, made.name, pid)
        payload = folder(plan, made.name, "cgroup2") / "payload"
        (payload / "init.scope").mkdir()
        write(f"{payload}/init.scope/cgroup.procs", str(pid))

        def follow() -> list[str]:
            cgroups.enter_like(pid)
            return cgroups.current(os.getpid())

        assert in_child(follow) == cgroups.current(pid)
        assert f"{payload}/init.scope" in cgroups.current(pid)


def test_a_process_that_is_gone_is_nowhere() -> None:
    with sleeper(lambda: None) as pid:
        pass
    assert cgroups.current(pid) == []


def test_the_groups_of_a_running_container_are_never_taken_over(make: Callable[[], Made], tmp_path: Path) -> None:
    made = make()
    plan = made.create(made.planned())
    other = Journal.create(str(tmp_path / "other"))
    with sleeper(lambda: cgroups.join(plan, made.name)) as pid:
        with pytest.raises(BerthError, match=rf"still holds processes \(pid {pid}\); run `berth recover`"):
            cgroups.create(plan, NOBODY_KEEPS, made.name, other)
        assert read_record(str(tmp_path / "other"))[1] == []
    os.close(other.fd)


def test_empty_groups_left_by_a_crash_are_replaced(make: Callable[[], Made]) -> None:
    made = make()
    plan = made.create(made.planned(pids_limit=3))
    before = identify(str(folder(plan, made.name, "pids")))
    made.create(made.planned())
    assert identify(str(folder(plan, made.name, "pids"))) != before
    assert (folder(plan, made.name, "pids") / "pids.max").read_text().strip() == "max"


def test_a_second_life_finds_its_payload_as_new(made: Made) -> None:
    plan = made.create(made.planned(pids_limit=7))
    payload = folder(plan, made.name, "pids") / "payload"
    (payload / "system.slice" / "cron.service").mkdir(parents=True)
    with sleeper(lambda: write(f"{payload}/system.slice/cron.service/tasks", "0")) as pid:
        cgroups.empty(plan, made.name)
        assert os.waitpid(pid, 0)[0] == pid
    assert not (payload / "system.slice").exists()
    assert (payload.parent / "pids.max").read_text().strip() == "7"
    assert in_child(lambda: cgroups.join(plan, made.name)) is None


def test_fifty_containers_in_parallel_do_not_get_in_each_other_s_way(make: Callable[[], Made]) -> None:
    """Whoever leaves last removes the shared folder while others arrive."""
    everything = [make() for _ in range(50)]
    children = []
    for made in everything:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                for _ in range(2):
                    plan = made.create(made.planned(pids_limit=20))
                    made.undo()
                made.create(plan)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children} == {0}
    for made in everything:
        assert all(os.path.isdir(f"{path}/payload") for path in cgroups.paths(made.planned(), made.name))


def test_hierarchies_that_the_host_lacks_are_mounted_out_of_its_sight(made: Made) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    lacking = (Cgroup(None, 2), Cgroup(None, 1, (f"name=berth{os.getpid()}",)))

    def work() -> list[bool]:
        unshare("mount")
        mount(None, "/", None, MS_PRIVATE | MS_REC)
        cgroups.mount_missing(lacking)
        cgroups.mount_missing(lacking)
        made.create(lacking[:1])
        found = [os.path.isdir(f"{OWN_MOUNTS}/cgroup2/berth/{made.name}/payload")]
        found.append(os.path.exists(f"{own_path(lacking[1])}/release_agent"))
        made.undo()
        return [*found, os.path.exists(f"{OWN_MOUNTS}/cgroup2/berth/{made.name}")]

    assert in_child(work) == [True, True, False]
    assert Path("/proc/self/mountinfo").read_text() == before
    assert os.listdir(OWN_MOUNTS) == [] or not os.path.exists(f"{OWN_MOUNTS}/cgroup2")
