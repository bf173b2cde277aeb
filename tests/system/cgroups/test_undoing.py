"""Cgroups taken away with all that is in them, and strangers' left alone."""

import contextlib
import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from berth.engine import cgroup_trees, cgroups
from berth.engine.cgroup_trees import identify, processes, read, remove, write
from berth.kernel.call import KernelError
from berth.plan.cgroups import own_path
from tests.faults import SECONDS, wait_until
from tests.forked import in_child
from tests.groups import MOUNTS, Made, folder, sleeper

pytestmark = pytest.mark.system


def test_undo_leaves_nothing_and_removes_the_shared_folder_with_the_last_container(make: Callable[[], Made]) -> None:
    first, second = make(), make()
    plan = first.create(first.planned(pids_limit=9))
    second.create(second.planned())
    first.undo()
    assert not any(os.path.exists(path) for path in cgroups.paths(plan, first.name))
    assert all(os.path.exists(path) for path in cgroups.paths(plan, second.name))
    second.undo()
    shared = [Path(root, "berth") for root in map(own_path, plan)]
    wait_until(lambda: all(map(gone_or_in_use, shared)), "only others keep a folder that all share")


def gone_or_in_use(shared: Path) -> bool:
    """Others come and go meanwhile, and for a moment theirs is empty, too."""
    try:
        return any(entry.is_dir() for entry in shared.iterdir())
    except FileNotFoundError:
        return True


def test_undo_a_second_time_finds_nothing_to_do(made: Made) -> None:
    made.create(made.planned())
    effects = made.effects()
    made.undo()
    for effect in effects:
        cgroups.undo(effect.kind, effect.target, effect.identity)


def test_a_stranger_s_group_is_not_undone(made: Made) -> None:
    plan = made.create(made.planned())
    group = folder(plan, made.name, "pids")
    with sleeper(lambda: write(f"{group}/payload/cgroup.procs", "0")) as pid:
        cgroups.undo("cgroup", str(group), "1:1")
        cgroups.undo("cgroup", str(group), None)
        assert processes(str(group)) == {pid}


def test_a_group_whose_identity_was_never_written_down_is_undone_while_it_is_empty(made: Made) -> None:
    plan = made.create(made.planned())
    group = folder(plan, made.name, "pids")
    cgroups.undo("cgroup", str(group), None)
    assert not group.exists()


def test_undo_kills_what_is_in_the_groups(made: Made) -> None:
    plan = made.create(made.planned())

    def multiply() -> None:
        cgroups.join(plan, made.name)
        for _ in range(8):
            if os.fork() == 0:
                while True:
                    signal.pause()

    with sleeper(multiply) as pid:
        assert len(processes(str(folder(plan, made.name, "pids")))) == 9
        made.undo()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("controller", "newer"),
    [("cgroup2", ()), ("cgroup2", ("cgroup.kill",)), ("freezer", ()), ("pids", ())],
    ids=["cgroup2", "cgroup2-before-5.14", "freezer", "pids"],
)
def test_kill_ends_a_tree_that_keeps_forking(
    made: Made, monkeypatch: pytest.MonkeyPatch, controller: str, newer: tuple[str, ...]
) -> None:
    plan = made.create(made.planned(pids_limit=40))
    group = folder(plan, made.name, controller)

    def write_as_then(path: str, value: str) -> None:
        if os.path.basename(path) in newer:
            raise KernelError("write", errno.ENOENT, path)
        write(path, value)

    def breed() -> None:
        cgroups.join(plan, made.name)
        below = group / "payload" / "below"
        below.mkdir()
        if os.fork() == 0:
            write(f"{below}/cgroup.procs", "0")
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead make room at once
            while True:
                with contextlib.suppress(BlockingIOError):
                    os.fork()

    with sleeper(breed):
        wait_until(lambda: len(processes(str(group))) == 40, "there are as many as there may be")
        monkeypatch.setattr(cgroup_trees, "write", write_as_then)
        assert cgroups.kill(str(group), SECONDS) == ()
        assert processes(str(group)) == set()
    if controller == "pids":
        assert read(f"{group}/pids.max") == "0", "nobody could fork while the others were killed"


def test_kill_reaches_what_the_container_has_frozen(made: Made) -> None:
    plan = made.create(made.planned())
    group = folder(plan, made.name, "freezer")

    def freeze() -> None:
        (group / "payload" / "below").mkdir()
        write(f"{group}/payload/below/tasks", "0")

    with sleeper(freeze):
        write(f"{group}/payload/below/freezer.state", "FROZEN")
        assert cgroups.kill(str(group), SECONDS) == ()


def test_kill_leaves_no_descriptor_open(made: Made) -> None:
    plan = made.create(made.planned())
    before = os.listdir("/proc/self/fd")
    with sleeper(lambda: cgroups.join(plan, made.name)):
        assert cgroups.kill(str(folder(plan, made.name, "pids"))) == ()
    assert os.listdir("/proc/self/fd") == before


def test_kill_spares_the_caller(made: Made) -> None:
    plan = made.create(made.planned())
    group = str(folder(plan, made.name, "cgroup2"))

    def inside() -> list[int]:
        cgroups.join(plan, made.name)
        child = os.fork()
        if child == 0:
            signal.pause()
        cgroups.kill(group)
        return [os.waitpid(child, 0)[1]]

    assert in_child(inside) == [signal.SIGKILL]


def test_kill_and_remove_bear_a_group_that_is_not_there() -> None:
    gone = f"{MOUNTS[0].path}/berth-not-there"
    assert cgroups.kill(gone) == ()
    remove(gone)
    assert (processes(gone), identify(gone), read(f"{gone}/tasks")) == (set(), None, "")


def test_groups_nested_deeper_than_a_path_can_say_are_removed(made: Made) -> None:
    plan = made.create(made.planned())
    group = folder(plan, made.name, "cgroup2")
    at = os.open(group / "payload", os.O_RDONLY)
    name = "x" * 60
    for _ in range(100):
        os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    made.undo()
    assert not group.exists()


def test_a_group_in_use_is_reported_and_stays(made: Made) -> None:
    plan = made.create(made.planned())
    group = str(folder(plan, made.name, "pids"))
    with sleeper(lambda: write(f"{group}/payload/tasks", "0")):
        with pytest.raises(KernelError, match="rmdir") as caught:
            remove(group, patience=0.05)
        assert caught.value.errno == errno.EBUSY
