"""When an image is checked before it is mounted, and what the check's answer leads to."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from berth.kernel.mounts import umount
from berth.spec import FsckPolicy
from tests.disks import DAY, Mount, debugfs, header, refused, spying_e2fsck

pytestmark = pytest.mark.system


def test_recorded_errors_are_repaired_first(image: Path, tmp_path: Path, mounted: Mount) -> None:
    debugfs(image, "set_super_value state 2")
    tools, log = spying_e2fsck(tmp_path)

    result = mounted(image, tools=tools)

    assert log.read_text().splitlines() == [f"-f -y /dev/loop{result.loop}", "LC_ALL=C HOME="]
    assert "errors were recorded" in result.warnings[0]
    assert "repaired" in result.warnings[0]
    umount(str(tmp_path / "mnt/a"))
    assert "Filesystem state:         clean\n" in header(image)


def test_a_damaged_directory_is_repaired_first(image: Path, tmp_path: Path, mounted: Mount) -> None:
    debugfs(image, "set_inode_field hello links_count 7")

    result = mounted(image, policy="always")

    assert "repaired" in result.warnings[0]
    assert (tmp_path / "mnt/a/hello").stat().st_nlink == 1


def test_an_unclean_image_is_checked(image: Path, tmp_path: Path, mounted: Mount) -> None:
    debugfs(image, "set_super_value state 0")
    tools, log = spying_e2fsck(tmp_path)

    assert "not unmounted cleanly" in mounted(image, tools=tools).warnings[0]
    assert log.exists()


def test_a_journal_is_replayed_by_the_mount_without_a_check(image: Path, tmp_path: Path, mounted: Mount) -> None:
    """The image is copied while a file was just synced to it, as a phone leaves it whose battery ran out."""
    mounted(image)
    (tmp_path / "mnt/a/synced").write_text("in the journal")
    fd = os.open(tmp_path / "mnt/a/synced", os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    crashed = Path(shutil.copy(image, tmp_path / "crashed.img"))
    assert "needs_recovery" in header(crashed)
    tools, log = spying_e2fsck(tmp_path)

    result = mounted(crashed, "b", tools=tools)

    assert (tmp_path / "mnt/b/synced").read_text() == "in the journal"
    assert result.warnings == ()
    assert not log.exists()


@pytest.mark.parametrize(("days", "checked"), [(29, False), (31, True)])
def test_an_image_is_checked_after_thirty_days(
    image: Path, tmp_path: Path, mounted: Mount, days: int, checked: bool
) -> None:
    tools, log = spying_e2fsck(tmp_path)

    result = mounted(image, tools=tools, now=int(time.time()) + days * DAY)

    assert log.exists() == checked
    assert result.warnings == ()


def test_a_check_that_was_made_is_not_due_again(image: Path, tmp_path: Path, mounted: Mount) -> None:
    year_2020 = "20200101000000"
    debugfs(image, f"set_super_value lastcheck {year_2020}", f"set_super_value mkfs_time {year_2020}")
    tools, log = spying_e2fsck(tmp_path)

    for _ in range(2):
        mounted(image, tools=tools)
        umount(str(tmp_path / "mnt/a"))

    assert len(log.read_text().splitlines()) == 2  # arguments and environment of one run


def test_a_clock_in_1970_does_not_cause_a_check(image: Path, tmp_path: Path, mounted: Mount) -> None:
    tools, log = spying_e2fsck(tmp_path)

    mounted(image, tools=tools, now=60)

    assert not log.exists()


def test_never_mounts_errors_with_a_warning(image: Path, tmp_path: Path, mounted: Mount) -> None:
    debugfs(image, "set_super_value state 2")
    tools, log = spying_e2fsck(tmp_path)

    result = mounted(image, policy="never", tools=tools)

    assert "--fsck=never" in result.warnings[0]
    assert not log.exists()


@pytest.mark.parametrize(("status", "text"), [(4, "could not repair"), (8, "can't work on"), (32, "cancelled")])
def test_an_image_that_e2fsck_gives_up_is_not_mounted(
    image: Path, tmp_path: Path, mounted: Mount, status: int, text: str
) -> None:
    tools, _ = spying_e2fsck(tmp_path, status)

    refused(mounted, tmp_path, image, text, "--fsck=never", policy="always", tools=tools)


@pytest.mark.parametrize("status", [1, 2, 3])
def test_an_image_that_e2fsck_repaired_is_mounted(image: Path, tmp_path: Path, mounted: Mount, status: int) -> None:
    tools, _ = spying_e2fsck(tmp_path, status)

    assert "repaired" in mounted(image, policy="always", tools=tools).warnings[0]


def test_e2fsck_killed_by_a_signal_is_a_refusal(image: Path, tmp_path: Path, mounted: Mount) -> None:
    script = tmp_path / "e2fsck"
    script.write_text(f"#!/bin/sh\nkill -{signal.SIGKILL.value} $$\n")
    script.chmod(0o755)

    refused(mounted, tmp_path, image, "signal 9", policy="always", tools={"e2fsck": str(script)})


def test_endless_output_of_e2fsck_is_drained(image: Path, tmp_path: Path, mounted: Mount) -> None:
    script = tmp_path / "e2fsck"
    script.write_text("#!/bin/sh\nhead -c 3000000 /dev/zero | tr '\\0' x\necho\necho the last line\nexit 4\n")
    script.chmod(0o755)

    refused(mounted, tmp_path, image, "(the last line)", policy="always", tools={"e2fsck": str(script)})


@pytest.mark.parametrize("policy", ["auto", "always"])
def test_without_e2fsck_an_image_with_errors_is_refused(
    image: Path, tmp_path: Path, mounted: Mount, policy: FsckPolicy
) -> None:
    debugfs(image, "set_super_value state 2")

    refused(mounted, tmp_path, image, "errors were recorded", "install e2fsprogs", policy=policy, tools={})


def test_without_e2fsck_a_stale_image_is_mounted_with_a_warning(image: Path, mounted: Mount) -> None:
    result = mounted(image, tools={}, now=int(time.time()) + 40 * DAY)

    assert "not checked for 40 days" in result.warnings[0]


def test_a_check_before_a_read_only_mount_only_looks(image: Path, tmp_path: Path, mounted: Mount) -> None:
    debugfs(image, "set_super_value state 2")
    before = image.read_bytes()
    tools, log = spying_e2fsck(tmp_path)

    mounted(image, read_only=True, tools=tools)
    umount(str(tmp_path / "mnt/a"))

    assert log.read_text().startswith("-f -n ")
    assert image.read_bytes() == before


def test_damage_is_no_base_for_a_read_only_mount(image: Path, tmp_path: Path, mounted: Mount) -> None:
    debugfs(image, "set_super_value state 2", "set_inode_field hello links_count 7")

    refused(mounted, tmp_path, image, "start it once without --volatile", read_only=True)
