"""A volatile start: changes live in memory, are gone after the stop, and what lies below is unchanged."""

import hashlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import quick
from tests.program import Berth

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_changes_to_a_directory_are_gone_after_the_stop(berth: Berth, rootfs: Factory, scratch: Path) -> None:
    root = rootfs("busybox")
    init = quick.write_init(root)
    (scratch / "shown").mkdir()
    before = {path: path.lstat().st_mtime_ns for path in root.rglob("*")}
    berth.succeed("start", "quay", "--rootfs", root, "--init", init, "-V", "-B", f"{scratch}/shown:/opt/new/place")

    quick.shell(berth, "echo x > /root/made; rm /etc/group; echo y >> /etc/passwd; ls /opt/new/place")
    assert quick.shell(berth, "cat /root/made; test -e /etc/group || echo gone") == "x\ngone"
    assert quick.info(berth)["volatile"] is True
    berth.succeed("stop", "quay")

    assert {path: path.lstat().st_mtime_ns for path in root.rglob("*")} == before


def test_volatile_is_for_one_start_only(berth: Berth, rootfs: Factory) -> None:
    root = rootfs("busybox")
    quick.start(berth, root, "--volatile")
    berth.succeed("stop", "quay")

    berth.succeed("start", "quay")
    quick.shell(berth, "echo x > /root/made")
    berth.succeed("stop", "quay")

    assert (root / "root/made").exists()


def test_a_volatile_image_is_not_changed_by_a_byte(berth: Berth, image: Factory) -> None:
    file = image("busybox")
    before = digest(file)
    berth.succeed("start", "quay", "--rootfs-img", file, "--volatile")

    quick.shell(berth, "echo x > /root/made; sync")
    assert quick.info(berth)["image"]["read_only"] is True
    berth.succeed("stop", "quay")

    assert digest(file) == before


def test_two_containers_share_an_image_that_both_only_read(berth: Berth, image: Factory) -> None:
    file = image("busybox")
    for name in ("one", "two"):
        berth.succeed("start", name, "--rootfs-img", file, "--volatile")

    quick.shell(berth, "echo x > /root/made", "one")
    assert quick.shell(berth, "ls /root", "two") == ""
    berth.succeed("stop", "one,two")


def test_the_size_limit_of_the_changes_holds(berth: Berth, rootfs: Factory) -> None:
    quick.start(berth, rootfs("busybox"), "--volatile", "--volatile-size", "8M")

    quick.shell(berth, "dd if=/dev/zero of=/root/fits bs=1M count=4; rm /root/fits")
    full = berth("run", "quay", "--", "dd", "if=/dev/zero", "of=/root/too-much", "bs=1M", "count=16")

    assert full.returncode != 0
    assert "No space left on device" in full.stderr
    berth.succeed("stop", "quay")


def test_what_is_made_inside_has_the_right_owner_and_mode(berth: Berth, rootfs: Factory) -> None:
    """The overlay is mounted by the host's root, with its umask and credentials; inside nothing of that must show."""
    quick.start(berth, rootfs("busybox"), "--volatile")

    assert (
        quick.shell(berth, "mkdir /root/d; touch /root/d/f; stat -c %a:%u /root/d /root/d/f /") == "755:0\n644:0\n755:0"
    )
    berth.succeed("stop", "quay")


@pytest.fixture
def shared_storage(image: Factory, scratch: Path) -> Iterator[Path]:
    """A busybox on a file system in user space, as Android's shared storage is one."""
    folder = scratch / "shared"
    folder.mkdir()
    subprocess.run(["fuse2fs", "-o", "ro,allow_other", image("busybox"), folder], check=True, capture_output=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_file_system_that_can_not_be_below_an_overlay_is_told_before_anything_is_done(
    berth: Berth, shared_storage: Path
) -> None:
    refused = berth("start", "quay", "--rootfs", shared_storage, "--volatile")

    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert "fuse" in refused.stderr
    assert "--rootfs-img" in refused.stderr
    assert not (berth.home / "containers/quay").exists()
