"""Loop devices on the running kernel, by the new and the old ioctls."""

import contextlib
import ctypes
import errno
import fcntl
import os
import struct
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.kernel import loop
from berth.kernel.call import KernelError
from berth.kernel.loop import LoopInfo, attach, list_loops
from tests import faults
from tests.forked import in_child

pytestmark = pytest.mark.system

LOOP_CTL_REMOVE = 0x4C81  # linux/loop.h


@pytest.fixture
def backing(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "backing.img"
    path.write_bytes(b"berth".ljust(1 << 20, b"\0"))
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    yield fd
    os.close(fd)


def loops_on(fd: int, folder: Path) -> list[LoopInfo]:
    status = os.fstat(fd)
    return [info for info in list_loops(str(folder)) if (info.device, info.inode) == (status.st_dev, status.st_ino)]


def gone(fd: int, folder: Path) -> bool:
    """Whether the loop devices go: with the last process that looks at them, which may be another one just now."""
    deadline = time.monotonic() + faults.SECONDS
    while loops_on(fd, folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not loops_on(fd, folder)


def remove(numbers: set[int]) -> None:
    """Take the loop devices away that the kernel made for a test; one that somebody uses by now stays."""
    with open("/dev/loop-control") as control:
        for number in numbers:
            if number >= 8:
                with contextlib.suppress(OSError):
                    fcntl.ioctl(control, LOOP_CTL_REMOVE, number)


def refuse_ioctl(request: int, number: int) -> None:
    """Let ioctl(2) answer `number` to `request` in this process, as a kernel does that does not know it."""
    ioctl = {"x86_64": 16, "i686": 54, "aarch64": 29, "armv7l": 54, "riscv64": 29}[os.uname().machine]
    second_argument = 24  # offsetof(struct seccomp_data, args[1]), its low half on little-endian machines
    load, equal, answer = 0x20, 0x15, 0x06
    program = struct.pack(
        "=" + "HBBI" * 6,
        *(load, 0, 0, 0),
        *(equal, 0, 3, ioctl),
        *(load, 0, 0, second_argument),
        *(equal, 0, 1, request),
        *(answer, 0, 0, 0x00050000 | number),
        *(answer, 0, 0, 0x7FFF0000),
    )
    buffer = ctypes.create_string_buffer(program)
    head = ctypes.create_string_buffer(struct.pack("@HP", 6, ctypes.addressof(buffer)))
    libc = ctypes.CDLL(None, use_errno=True)
    pr_set_no_new_privs, pr_set_seccomp, seccomp_mode_filter = 38, 22, 2
    assert libc.prctl(pr_set_no_new_privs, 1, 0, 0, 0) == 0
    assert libc.prctl(pr_set_seccomp, seccomp_mode_filter, head) == 0, os.strerror(ctypes.get_errno())


def test_an_attached_file_is_read_through_the_loop_device(backing: int, tmp_path: Path) -> None:
    with attach(backing, read_only=False, name="/data/ubuntu.img", node_folder=str(tmp_path)) as device:
        assert os.pread(device.fd, 5, 0) == b"berth"
        with open(device.path, "rb") as stream:
            assert stream.read(5) == b"berth"
        assert [(info.number, info.read_only, info.name) for info in loops_on(backing, tmp_path)] == [
            (device.number, False, "/data/ubuntu.img")
        ]

    assert gone(backing, tmp_path)


def test_a_read_only_device_takes_no_write(backing: int, tmp_path: Path) -> None:
    with attach(backing, read_only=True, name="ro", node_folder=str(tmp_path)) as device:
        assert [info.read_only for info in loops_on(backing, tmp_path)] == [True]
        with pytest.raises(PermissionError), open(device.path, "wb", buffering=0) as stream:
            stream.write(bytes(512))

    assert gone(backing, tmp_path)


def test_a_device_goes_when_its_block_fails(backing: int, tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        attach(backing, read_only=False, name="x", node_folder=str(tmp_path)),
    ):
        raise ZeroDivisionError

    assert gone(backing, tmp_path)


def test_a_device_goes_when_its_process_is_killed(backing: int, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with attach(backing, read_only=False, name="x", node_folder=str(tmp_path)):
            os.write(writer, b"attached")
            os.kill(os.getpid(), 9)
    assert os.read(reader, 8) == b"attached"
    os.waitpid(pid, 0)
    os.close(reader)
    os.close(writer)

    assert gone(backing, tmp_path)


def test_the_lock_of_the_backing_file_lives_as_long_as_the_device(tmp_path: Path) -> None:
    path = tmp_path / "locked.img"
    path.write_bytes(bytes(1 << 20))
    fd = os.open(path, os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    other = os.open(path, os.O_RDWR)
    try:
        with attach(fd, read_only=False, name="x", node_folder=str(tmp_path)):
            os.close(fd)
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert gone(other, tmp_path)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(other)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTTY, errno.ENOSYS])
@pytest.mark.parametrize("read_only", [False, True])
def test_a_kernel_without_loop_configure_attaches_in_two_steps(
    backing: int, tmp_path: Path, number: int, read_only: bool
) -> None:
    def attach_the_old_way() -> None:
        refuse_ioctl(loop.LOOP_CONFIGURE, number)
        with attach(backing, read_only=read_only, name="old", node_folder=str(tmp_path)) as device:
            assert os.pread(device.fd, 5, 0) == b"berth"
            assert [(info.read_only, info.name) for info in loops_on(backing, tmp_path)] == [(read_only, "old")]
        assert gone(backing, tmp_path)

    in_child(attach_the_old_way)


def test_a_failure_between_the_two_steps_leaves_no_device(backing: int, tmp_path: Path) -> None:
    def fail_between() -> None:
        refuse_ioctl(loop.LOOP_CONFIGURE, errno.EINVAL)
        refuse_ioctl(loop.LOOP_SET_STATUS64, errno.EPERM)
        with (
            pytest.raises(KernelError, match="LOOP_SET_STATUS64") as raised,
            attach(backing, read_only=False, name="old", node_folder=str(tmp_path)),
        ):
            pass
        assert raised.value.errno == errno.EPERM

    in_child(fail_between)

    assert gone(backing, tmp_path)


def test_a_failed_attach_names_the_call_and_leaves_nothing(backing: int, tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))

    def fail() -> None:
        refuse_ioctl(loop.LOOP_CONFIGURE, errno.EPERM)
        fds = set(os.listdir("/proc/self/fd"))
        with (
            pytest.raises(KernelError, match="LOOP_CONFIGURE on loop"),
            attach(backing, read_only=False, name="x", node_folder=str(tmp_path)),
        ):
            pass
        assert set(os.listdir("/proc/self/fd")) == fds

    in_child(fail)

    assert gone(backing, tmp_path)
    assert set(os.listdir("/proc/self/fd")) == before


def test_more_devices_than_the_kernel_made_in_advance(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        numbers = set()
        for index in range(12):
            path = tmp_path / f"{index}.img"
            path.write_bytes(b"%04d".ljust(1 << 16, b"\0") % index)
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            device = stack.enter_context(attach(fd, read_only=False, name="x", node_folder=str(tmp_path)))
            assert os.pread(device.fd, 4, 0) == b"%04d" % index
            numbers.add(device.number)
        assert len(numbers) == 12
        assert max(numbers) >= 8
    remove(numbers)


def test_a_missing_node_is_made_and_taken_away_again(backing: int, tmp_path: Path) -> None:
    """As on Android before ueventd made it; in a mount namespace of its own, /dev becomes an empty tmpfs."""

    def attach_without_nodes() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        clone_newns, ms_rec_private, ms_nosuid = 0x20000, 0x44000, 2
        assert libc.unshare(clone_newns) == 0
        assert libc.mount(None, b"/", None, ms_rec_private, None) == 0
        assert libc.mount(b"tmpfs", b"/dev", b"tmpfs", ms_nosuid, None) == 0
        with attach(backing, read_only=False, name="x", node_folder=str(tmp_path)) as device:
            assert device.path == f"{tmp_path}/loop{device.number}"
            with open(device.path, "rb") as stream:
                assert stream.read(5) == b"berth"
            assert [info.number for info in loops_on(backing, tmp_path)] == [device.number]
            assert {entry.name for entry in tmp_path.iterdir()} == {"backing.img", f"loop{device.number}"}
        assert {entry.name for entry in tmp_path.iterdir()} == {"backing.img"}
        assert os.listdir("/dev") == []

        os.mkdir("/dev/block")
        number = device.number
        os.mknod(f"/dev/loop{number}", 0o60600, os.makedev(7, number + 1))  # somebody's wrong one
        os.mknod(f"/dev/block/loop{number}", 0o60600, os.makedev(7, number))
        with attach(backing, read_only=False, name="x", node_folder=str(tmp_path)) as device:
            assert device.path == f"/dev/block/loop{device.number}"

    in_child(attach_without_nodes)


def test_many_at_once_each_get_a_device_of_their_own(tmp_path: Path) -> None:
    """GET_FREE tells several the same number; whoever is late asks again."""
    start_reader, start_writer = os.pipe()
    end_reader, end_writer = os.pipe()
    reader, writer = os.pipe()
    pids = []
    for index in range(16):
        pid = os.fork()
        if pid == 0:
            try:
                os.close(start_writer)
                os.close(end_writer)
                path = tmp_path / f"{index}.img"
                path.write_bytes(bytes(1 << 16))
                fd = os.open(path, os.O_RDWR)
                os.read(start_reader, 1)
                with attach(fd, read_only=False, name="x", node_folder=str(tmp_path)) as device:
                    os.write(writer, b"%d\n" % device.number)
                    os.read(end_reader, 1)
            except BaseException:  # noqa: BLE001 - reported by the parent
                os.write(writer, traceback.format_exc().replace("\n", " | ").encode() + b"\n")
            finally:
                os._exit(0)
        pids.append(pid)
    os.close(writer)
    os.close(start_writer)
    with open(reader) as stream:
        lines = [stream.readline().strip() for _ in pids]
    os.close(end_writer)
    for pid in pids:
        os.waitpid(pid, 0)
    os.close(start_reader)
    os.close(end_reader)

    numbers = {int(line) for line in lines}
    remove(numbers)
    assert len(numbers) == 16
