"""Device programs on the running kernel."""

import errno
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from berth.engine.cgroup_mounts import read_cgroup_mounts
from berth.kernel.bpf import ProgramRefused, Rule, assemble_device_program, attach, load, probe_device_bpf
from tests.forked import errno_in_child

pytestmark = pytest.mark.system

MKNOD_AND_NULL = (Rule("a", None, None, "m"), Rule("c", 1, 3, "rw"))


@pytest.fixture
def cgroup() -> Iterator[Path]:
    root = next(mount.path for mount in read_cgroup_mounts() if mount.version == 2)
    group = Path(root, f"berth-test-{uuid.uuid4().hex}")
    group.mkdir()
    yield group
    for below in group.iterdir():
        if below.is_dir():
            below.rmdir()
    group.rmdir()


def confine(cgroup: Path, *rules: Rule) -> None:
    program = load(assemble_device_program(rules))
    directory = os.open(cgroup, os.O_RDONLY)
    attach(directory, program)
    os.close(directory)
    os.close(program)


def errno_in(cgroup: Path, work: Callable[[], object]) -> int:
    """Do `work` in a process in `cgroup` and return the errno with which it failed, 0 when it did not."""

    def inside() -> None:
        (cgroup / "cgroup.procs").write_text("0")
        work()

    return errno_in_child(inside)


def reading(path: Path | str) -> Callable[[], object]:
    return lambda: os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))


def test_this_kernel_has_device_programs() -> None:
    assert probe_device_bpf()


def test_a_confined_process_makes_a_node_of_the_disk_but_does_not_open_it(cgroup: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    os.mknod(disk, stat.S_IFBLK | 0o600, os.makedev(7, 0))
    assert errno_in(cgroup, reading(disk)) in (0, errno.ENXIO)
    confine(cgroup, *MKNOD_AND_NULL)
    assert errno_in(cgroup, reading(disk)) == errno.EPERM
    made = tmp_path / "made"
    assert errno_in(cgroup, lambda: os.mknod(made, stat.S_IFBLK | 0o600, os.makedev(7, 1))) == 0
    assert stat.S_ISBLK(made.stat().st_mode)
    assert errno_in(cgroup, reading(made)) == errno.EPERM


def test_a_confined_process_uses_what_is_allowed_and_no_more(cgroup: Path) -> None:
    confine(cgroup, *MKNOD_AND_NULL, Rule("c", 1, 5, "r"))
    assert errno_in(cgroup, lambda: os.close(os.open("/dev/null", os.O_RDWR))) == 0
    assert errno_in(cgroup, reading("/dev/zero")) == 0
    assert errno_in(cgroup, lambda: os.open("/dev/zero", os.O_WRONLY)) == errno.EPERM
    assert errno_in(cgroup, reading("/dev/full")) == errno.EPERM


def test_groups_below_are_confined_and_can_only_take_away(cgroup: Path) -> None:
    below = cgroup / "below"
    below.mkdir()
    confine(cgroup, *MKNOD_AND_NULL)
    assert errno_in(below, reading("/dev/full")) == errno.EPERM
    confine(below, Rule("c", 1, 7, "rw"))
    assert errno_in(below, reading("/dev/full")) == errno.EPERM
    assert errno_in(below, reading("/dev/null")) == errno.EPERM
    assert errno_in(cgroup, reading("/dev/null")) == 0


def test_the_verifier_takes_the_program_of_a_phone_full_of_devices() -> None:
    many = [Rule("c", major, minor, "rw") for major in range(200, 260) for minor in range(20)]
    os.close(load(assemble_device_program([*MKNOD_AND_NULL, *many])))


def test_a_program_that_the_kernel_refuses_shows_what_the_verifier_said() -> None:
    exit_only = bytes((0x95, 0, 0, 0, 0, 0, 0, 0))
    with pytest.raises(ProgramRefused, match="R0") as caught:
        load(exit_only)
    assert caught.value.errno == errno.EACCES
    assert "R0" in caught.value.log
