"""Cgroups made, joined, killed and taken away in the hierarchies of the machine that runs the tests."""

import contextlib
import errno
import json
import os
import signal
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from berth.engine import cgroups
from berth.engine.cgroup_trees import identify, processes, read, remove, write
from berth.engine.journal import Effect, Journal, read_record
from berth.errors import BerthError
from berth.host import Host
from berth.kernel.call import KernelError
from berth.kernel.mounts import MS_PRIVATE, MS_REC, mount
from berth.kernel.namespaces import unshare
from berth.plan.cgroups import OWN_MOUNTS, own_path, plan_cgroups
from berth.plan.devices import plan_devices
from berth.plan.model import Cgroup, DevicePolicy
from berth.spec import Spec

pytestmark = pytest.mark.system

MOUNTS = cgroups.read_cgroup_mounts()
HOST = Host(kernel=(6, 1), machine="x86_64", cgroups=MOUNTS, filesystems=frozenset({"cgroup", "cgroup2"}))
NOBODY_KEEPS = DevicePolicy("none")


class Made:
    """Cgroups of one test, with the record that says how to take them back."""

    def __init__(self, record: str) -> None:
        self.name = f"test-{uuid.uuid4().hex[:12]}"
        self.record = record
        self.journal = Journal.create(record)

    def create(self, plan: tuple[Cgroup, ...], policy: DevicePolicy = NOBODY_KEEPS) -> tuple[Cgroup, ...]:
        cgroups.create(plan, policy, self.name, self.journal)
        return plan

    def planned(self, **limits: Any) -> tuple[Cgroup, ...]:
        return plan_cgroups(Spec(name=self.name, **limits), HOST, systemd=None)

    def effects(self) -> list[Effect]:
        return read_record(self.record)[1]

    def undo(self) -> None:
        for effect in reversed(self.effects()):
            cgroups.undo(effect.kind, effect.target, effect.identity)
            self.journal.undone(effect.number)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[], Made]]:
    everything: list[Made] = []

    def one() -> Made:
        everything.append(Made(str(tmp_path / f"journal{len(everything)}")))
        return everything[-1]

    yield one
    for made in everything:
        made.undo()
        os.close(made.journal.fd)
        assert not [mount.path for mount in MOUNTS if os.path.exists(f"{mount.path}/berth/{made.name}")]


@pytest.fixture
def made(make: Callable[[], Made]) -> Made:
    return make()


def in_child(work: Callable[[], Any]) -> Any:
    """Do `work` in a forked child and return its result; {"signal": N} when the child was killed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = {"result": work()}
        except BaseException as error:  # noqa: BLE001  # whatever it is, the parent shows it
            answer = {"error": repr(error)}
        os.write(writer, json.dumps(answer).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        raw = file.read()
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return {"signal": os.WTERMSIG(status)}
    answer = json.loads(raw)
    assert "error" not in answer, answer["error"]
    return answer["result"]


@contextlib.contextmanager
def sleeper(work: Callable[[], object]) -> Iterator[int]:
    """A child that has done `work` and then waits to be killed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work()
            os.write(writer, b"1")
            while True:
                signal.pause()
        finally:
            os._exit(1)
    try:
        assert os.read(reader, 1)
        yield child
    finally:
        os.close(reader)
        os.close(writer)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)


def folder(plan: tuple[Cgroup, ...], name: str, controller: str) -> Path:
    """`berth/NAME` in the hierarchy of a v1 controller, or in cgroup2."""
    found = next(c for c in plan if controller in c.controllers or (controller == "cgroup2" and c.version == 2))
    return Path(own_path(found), "berth", name)


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


def test_undo_leaves_nothing_and_removes_the_shared_folder_with_the_last_container(make: Callable[[], Made]) -> None:
    first, second = make(), make()
    plan = first.create(first.planned(pids_limit=9))
    second.create(second.planned())
    first.undo()
    assert not any(os.path.exists(path) for path in cgroups.paths(plan, first.name))
    assert all(os.path.exists(path) for path in cgroups.paths(plan, second.name))
    second.undo()
    for root in map(own_path, plan):
        shared = Path(root, "berth")
        assert not shared.exists() or any(entry.is_dir() for entry in shared.iterdir()), "only others may keep it"


def test_undo_a_second_time_finds_nothing_to_do(made: Made) -> None:
    made.create(made.planned())
    effects = made.effects()
    made.undo()
    for effect in effects:
        cgroups.undo(effect.kind, effect.target, effect.identity)


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


def test_a_memory_limit_is_kept(made: Made) -> None:
    plan = made.create(made.planned(memory=24 << 20))

    def fill() -> int:
        cgroups.join(plan, made.name)
        return len(b"x" * (64 << 20))

    assert in_child(fill) == {"signal": signal.SIGKILL}


def test_root_inside_can_t_lift_a_limit(made: Made, tmp_path: Path) -> None:
    """It owns the root of its cgroup namespace, and the limit is held above that."""
    plan = made.create(made.planned(pids_limit=4))

    def lift() -> list[str | int]:
        cgroups.join(plan, made.name)
        unshare("cgroup", "mount")
        mount(None, "/", None, MS_PRIVATE | MS_REC)
        mount("cgroup", str(tmp_path), "cgroup", 0, "pids")
        before = (tmp_path / "pids.max").read_text().strip()
        (tmp_path / "pids.max").write_text("max")
        (tmp_path / "below").mkdir()
        write(str(tmp_path / "below/cgroup.procs"), "0")
        (tmp_path / "below/pids.max").write_text("max")
        children = []
        try:
            for _ in range(20):
                child = os.fork()
                if child == 0:
                    signal.pause()
                    os._exit(0)
                children.append(child)
        except BlockingIOError:
            pass
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        write(str(tmp_path / "cgroup.procs"), "0")
        return [before, len(children)]

    before, forked = in_child(lift)
    assert before == "max", "the limit is not in the container's own root"
    assert forked == 3


@pytest.mark.parametrize("keeper", ["bpf", "v1"])
def test_devices_are_confined_by_either_keeper(made: Made, tmp_path: Path, keeper: str) -> None:
    host = Host(kernel=(6, 1), machine="x86_64", cgroups=MOUNTS, device_bpf=keeper == "bpf")
    policy = plan_devices(Spec(name=made.name), host)
    assert policy.keeper == keeper
    plan = made.create(made.planned(), policy)
    disk = tmp_path / "disk"

    def attempt() -> list[int]:
        cgroups.join(plan, made.name)
        os.close(os.open("/dev/null", os.O_RDWR))
        os.close(os.open("/dev/urandom", os.O_RDONLY))
        os.close(os.openpty()[0])
        os.mknod(disk, stat.S_IFBLK | 0o600, os.makedev(7, 0))
        os.mknod(f"{disk}-kmsg", stat.S_IFCHR | 0o600, os.makedev(1, 11))
        codes = []
        for path in (disk, f"{disk}-kmsg"):
            try:
                os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
                codes.append(0)
            except OSError as error:
                codes.append(error.errno or -1)
        return codes

    assert in_child(attempt) == [errno.EPERM, errno.EPERM]


def test_root_inside_can_t_allow_itself_a_device_in_v1(made: Made, tmp_path: Path) -> None:
    host = Host(kernel=(4, 9), machine="x86_64", cgroups=MOUNTS, device_bpf=False)
    plan = made.create(made.planned(), plan_devices(Spec(name=made.name), host))

    def allow() -> int:
        cgroups.join(plan, made.name)
        unshare("cgroup", "mount")
        mount(None, "/", None, MS_PRIVATE | MS_REC)
        mount("cgroup", str(tmp_path), "cgroup", 0, "devices")
        try:
            write(str(tmp_path / "devices.allow"), "b 7:0 rw")
        except KernelError as error:
            return error.errno or -1
        return 0

    assert in_child(allow) == errno.EPERM


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


@pytest.mark.parametrize("controller", ["cgroup2", "freezer", "pids"])
def test_kill_ends_a_tree_that_keeps_forking(made: Made, controller: str) -> None:
    plan = made.create(made.planned(pids_limit=40))
    group = folder(plan, made.name, controller)

    def breed() -> None:
        cgroups.join(plan, made.name)
        below = group / "payload" / "below"
        below.mkdir()
        if os.fork() == 0:
            write(f"{below}/cgroup.procs", "0")
            while True:
                with contextlib.suppress(BlockingIOError):
                    if os.fork() > 0:
                        os._exit(0)
                time.sleep(0.001)

    with sleeper(breed):
        assert cgroups.kill(str(group)) == ()
        assert processes(str(group)) == set()


def test_kill_reaches_what_the_container_has_frozen(made: Made) -> None:
    plan = made.create(made.planned())
    group = folder(plan, made.name, "freezer")

    def freeze() -> None:
        (group / "payload" / "below").mkdir()
        write(f"{group}/payload/below/tasks", "0")

    with sleeper(freeze):
        write(f"{group}/payload/below/freezer.state", "FROZEN")
        assert cgroups.kill(str(group)) == ()


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


def test_a_limit_that_the_kernel_lacks_names_the_flag_to_leave_out(made: Made) -> None:
    root = next(mount.path for mount in MOUNTS if "pids" in mount.controllers)
    wrong = (Cgroup(root, 1, ("cpu",), limits=(("cpu.cfs_quota_us", "1000"),)),)
    with pytest.raises(BerthError, match=r"cpu\.cfs_quota_us .*no such limit; start without --cpus"):
        made.create(wrong)


def test_a_limit_file_that_may_be_missing_is_passed_over(made: Made) -> None:
    root = next(mount.path for mount in MOUNTS if "pids" in mount.controllers)
    made.create((Cgroup(root, 1, ("pids",), limits=(("memory.swap.max", "1"), ("pids.max", "5"))),))
    assert Path(root, "berth", made.name, "pids.max").read_text().strip() == "5"


def test_a_limit_whose_controller_cgroup2_lacks_is_refused(made: Made) -> None:
    root = next(mount.path for mount in MOUNTS if mount.version == 2)
    with pytest.raises(BerthError, match="no memory controller; start without --memory"):
        made.create((Cgroup(root, 2, switch_on=("memory",), limits=(("memory.max", "1"),)),))


@pytest.fixture
def own_root() -> Iterator[str]:
    """A cgroup2 folder with a controller to give, in the place of a hierarchy's root: that one is everybody's."""
    root = next(mount.path for mount in MOUNTS if mount.version == 2)
    (controller, *_) = read(f"{root}/cgroup.controllers").split()
    was_on = controller in read(f"{root}/cgroup.subtree_control").split()
    write(f"{root}/cgroup.subtree_control", f"+{controller}")
    own = f"{root}/test-{uuid.uuid4().hex}"
    os.mkdir(own)
    yield own
    remove(own)
    if not was_on:
        with contextlib.suppress(KernelError):  # EBUSY: somebody else has come to use it
            write(f"{root}/cgroup.subtree_control", f"-{controller}")


def test_a_controller_is_switched_on_for_the_first_and_off_after_the_last(
    make: Callable[[], Made], own_root: str
) -> None:
    (controller,) = read(f"{own_root}/cgroup.controllers").split()
    plan = (Cgroup(own_root, 2, (controller,), switch_on=(controller, "io")),)
    first, second, third = make(), make(), make()
    first.create(plan)
    assert [effect.kind for effect in first.effects()] == ["cgroup", "controller"]
    second.create(plan)
    assert [effect.kind for effect in second.effects()] == ["cgroup"]
    assert read(f"{own_root}/berth/{second.name}/payload/cgroup.controllers") == controller
    first.undo()
    assert read(f"{own_root}/cgroup.subtree_control") == controller
    third.create(plan)
    second.undo()
    assert read(f"{own_root}/cgroup.subtree_control") == controller
    third.undo()
    assert read(f"{own_root}/cgroup.subtree_control") == ""


def test_a_controller_that_the_host_had_switched_on_stays_on(made: Made, own_root: str) -> None:
    (controller,) = read(f"{own_root}/cgroup.controllers").split()
    write(f"{own_root}/cgroup.subtree_control", f"+{controller}")
    made.create((Cgroup(own_root, 2, (controller,), switch_on=(controller,)),))
    made.undo()
    assert read(f"{own_root}/cgroup.subtree_control") == controller


def test_a_controller_left_on_by_a_crash_is_switched_off_by_its_record(own_root: str) -> None:
    (controller,) = read(f"{own_root}/cgroup.controllers").split()
    control = f"{own_root}/cgroup.subtree_control"
    write(control, f"+{controller}")
    cgroups.undo("controller", f"{control} +{controller}", "1:1")
    assert read(control) == controller, "a stranger's"
    cgroups.undo("controller", f"{control} +{controller}", identify(own_root))
    assert read(control) == ""


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
