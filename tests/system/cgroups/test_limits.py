"""Limits and devices that are kept, controllers that come and go, and what the kernel lacks."""

import contextlib
import errno
import os
import signal
import stat
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from berth.engine import cgroups
from berth.engine.cgroup_trees import identify, read, remove, write
from berth.errors import BerthError
from berth.host import Host
from berth.kernel.call import KernelError
from berth.kernel.mounts import MS_PRIVATE, MS_REC, mount
from berth.kernel.namespaces import unshare
from berth.plan.devices import plan_devices
from berth.plan.model import Cgroup
from berth.spec import Spec
from tests.forked import Child, in_child
from tests.groups import MOUNTS, Made

pytestmark = pytest.mark.system


def test_a_memory_limit_is_kept(made: Made) -> None:
    plan = made.create(made.planned(memory=24 << 20))

    def fill() -> int:
        cgroups.join(plan, made.name)
        return len(b"x" * (64 << 20))

    assert Child(fill).exit_code() == -signal.SIGKILL


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
