"""Which root file systems may be started volatile."""

import pytest

from berth.host import Rootfs
from berth.plan.overlay import overlay_objection


def rootfs(filesystem: str, casefold: bool = False) -> Rootfs:
    return Rootfs(init="/sbin/init", filesystem=filesystem, casefold=casefold)


@pytest.mark.parametrize("filesystem", ["ext4", "f2fs", "xfs", "btrfs", "erofs", "squashfs", "tmpfs", "nfs", "overlay"])
def test_a_file_system_that_tells_case_apart_carries_an_overlay(filesystem: str) -> None:
    assert overlay_objection(rootfs(filesystem)) is None


@pytest.mark.parametrize(
    ("filesystem", "casefold"),
    [
        ("f2fs", True),
        ("ext4", True),
        ("vfat", False),
        ("exfat", False),
        ("ntfs", False),
        ("ntfs3", False),
        ("sdcardfs", False),
        ("fuse", False),
        ("fuseblk", False),
        ("fuse.sshfs", False),
    ],
)
def test_the_others_are_refused_in_a_sentence_with_the_way_out(filesystem: str, casefold: bool) -> None:
    objection = overlay_objection(rootfs(filesystem, casefold))

    assert objection is not None
    assert f"is on {filesystem}" in objection
    assert "--rootfs-img" in objection
    assert "without --volatile" in objection
