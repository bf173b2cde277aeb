"""Block devices mounted like images."""

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from berth.errors import BerthError
from berth.kernel.loop import attach
from berth.kernel.mounts import MNT_DETACH, umount
from tests.disks import Mount, debugfs, mounts_under, refused, spying_e2fsck

pytestmark = pytest.mark.system


@pytest.fixture
def block_device(image: Path, tmp_path: Path) -> Iterator[str]:
    """The image as a block device; it is a loop device only because this machine has no other to give."""
    fd = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        with attach(fd, read_only=False, name="disk", node_folder=str(tmp_path)) as device:
            yield device.path
            for entry in reversed(mounts_under(tmp_path)):
                umount(entry.target, MNT_DETACH)
    finally:
        os.close(fd)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_block_device_is_mounted_without_a_loop_device(
    block_device: str, tmp_path: Path, mounted: Mount, read_only: bool
) -> None:
    result = mounted(block_device, read_only=read_only)

    assert result.loop is None
    (entry,) = mounts_under(tmp_path)
    assert entry.device == os.stat(block_device).st_rdev
    assert (entry.source, entry.options[0]) == (block_device, "ro" if read_only else "rw")


def test_a_block_device_with_errors_is_checked(block_device: str, image: Path, tmp_path: Path, mounted: Mount) -> None:
    debugfs(Path(block_device), "set_super_value state 2")
    tools, log = spying_e2fsck(tmp_path)

    result = mounted(block_device, tools=tools)

    assert log.read_text().startswith(f"-f -y {block_device}\n")
    assert "repaired" in result.warnings[0]


@pytest.mark.parametrize(("first", "second"), [(False, False), (False, True), (True, False)])
def test_a_block_device_has_one_writer(
    block_device: str, tmp_path: Path, mounted: Mount, first: bool, second: bool
) -> None:
    mounted(block_device, "a", read_only=first)
    node = tmp_path / "another-node"
    os.mknod(node, stat.S_IFBLK | 0o600, os.stat(block_device).st_rdev)

    refused(mounted, tmp_path, block_device, "mounted or held by something else", read_only=second)
    refused(mounted, tmp_path, node, "mounted or held by something else", read_only=second)


class Settling:
    """Takes the place of the time that passes between two tries: `then` happens at its end, by the try's number."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **then: Callable[[], object]) -> None:
        self.passed = 0
        self.synced = 0
        self._then = then
        monkeypatch.setattr(time, "sleep", self._pass)
        monkeypatch.setattr(os, "sync", self._sync)

    def _pass(self, seconds: float) -> None:
        assert 0 < seconds < 1
        self.passed += 1
        self._then.get(f"after_{self.passed}", lambda: None)()

    def _sync(self) -> None:
        self.synced += 1


def test_a_device_that_is_busy_for_a_moment_is_tried_three_times(
    block_device: str, tmp_path: Path, mounted: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = os.open(block_device, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
    settling = Settling(monkeypatch, after_2=lambda: os.close(holder))

    mounted(block_device)

    assert settling.passed == 2
    assert len(mounts_under(tmp_path)) == 1


def test_a_device_that_stays_busy_is_refused_after_three_tries(
    block_device: str, tmp_path: Path, mounted: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = os.open(block_device, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
    settling = Settling(monkeypatch)
    try:
        with pytest.raises(BerthError, match="mounted or held by something else; end that first"):
            mounted(block_device)
    finally:
        os.close(holder)

    assert settling.passed == 2
    assert mounts_under(tmp_path) == []


def test_a_mount_that_is_busy_for_a_moment_is_tried_three_times_with_a_sync(
    block_device: str, tmp_path: Path, mounted: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel answers EBUSY to a second mount of the same device at the same place."""
    mounted(block_device, "a", read_only=True)
    settling = Settling(monkeypatch, after_2=lambda: umount(str(tmp_path / "mnt/a")))

    mounted(block_device, "a", read_only=True)

    assert (settling.passed, settling.synced) == (2, 2)
    assert len(mounts_under(tmp_path)) == 1


def test_a_block_device_is_read_by_several(block_device: str, tmp_path: Path, mounted: Mount) -> None:
    mounted(block_device, "a", read_only=True)
    mounted(block_device, "b", read_only=True)

    assert len(mounts_under(tmp_path)) == 2


def test_of_two_starts_of_a_block_device_exactly_one_wins(block_device: str, tmp_path: Path, mounted: Mount) -> None:
    node = tmp_path / "another-node"
    os.mknod(node, stat.S_IFBLK | 0o600, os.stat(block_device).st_rdev)
    for _ in range(5):
        gate = threading.Barrier(2)
        errors: list[BerthError] = []

        def start(path: str, name: str, gate: threading.Barrier = gate, errors: list[BerthError] = errors) -> None:
            gate.wait()
            try:
                mounted(path, name)
            except BerthError as error:
                errors.append(error)

        threads = [threading.Thread(target=start, args=args) for args in ((block_device, "a"), (str(node), "b"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        (entry,) = mounts_under(tmp_path)
        assert len(errors) == 1
        umount(entry.target)


def test_a_file_and_the_block_device_on_it_are_one_image(
    block_device: str, image: Path, tmp_path: Path, mounted: Mount
) -> None:
    refused(mounted, tmp_path, image, "in use writable by loop device")
    fd = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        with attach(fd, read_only=False, name="second", node_folder=str(tmp_path)) as second:
            refused(mounted, tmp_path, block_device, f"by loop device {second.number}")
    finally:
        os.close(fd)
