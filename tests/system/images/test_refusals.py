"""What is no image, or a broken one: one sentence, and nothing left."""

import os
import shutil
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from berth.errors import BerthError, UsageError
from berth.spec import FsckPolicy
from berth.storage.images import mount_image
from tests.disks import Mount, gone, refused

pytestmark = pytest.mark.system


def test_a_directory_is_pointed_to_rootfs(tmp_path: Path, mounted: Mount) -> None:
    refused(mounted, tmp_path, tmp_path, "--rootfs")
    with pytest.raises(UsageError):
        mounted(tmp_path)


def test_a_pipe_and_a_character_device_are_refused_without_being_opened(tmp_path: Path, mounted: Mount) -> None:
    os.mkfifo(tmp_path / "pipe")

    refused(mounted, tmp_path, tmp_path / "pipe", "neither a file nor a block device")
    refused(mounted, tmp_path, "/dev/zero", "neither a file nor a block device")


def test_a_missing_image_is_named(tmp_path: Path, mounted: Mount) -> None:
    refused(mounted, tmp_path, tmp_path / "nowhere.img", "there is no such file")


@pytest.mark.parametrize("content", [b"", b"short", bytes(8 << 20)], ids=["empty", "short", "zeros"])
def test_a_file_without_a_file_system_is_refused(tmp_path: Path, mounted: Mount, content: bytes) -> None:
    path = tmp_path / "x.img"
    path.write_bytes(content)

    refused(mounted, tmp_path, path, 'no ext4 file system found; make one with "mkfs.ext4"')


def test_an_archive_is_refused_with_the_way_to_unpack_it(tmp_path: Path, mounted: Mount) -> None:
    path = tmp_path / "rootfs.img"
    with tarfile.open(path, "w") as archive:
        archive.add("/etc/passwd")

    refused(mounted, tmp_path, path, "no ext4 file system found; it is a tar archive; unpack it into a folder")


def test_a_fat_image_is_refused(tmp_path: Path, mounted: Mount) -> None:
    boot = bytearray(512)
    boot[0:3] = b"\xeb\x3c\x90"
    boot[3:11] = b"mkfs.fat"
    boot[54:62] = b"FAT16   "
    boot[510:512] = b"\x55\xaa"
    path = tmp_path / "fat.img"
    path.write_bytes(bytes(boot).ljust(8 << 20, b"\0"))

    refused(mounted, tmp_path, path, "no ext4 file system found")


def test_half_a_download_is_refused(image: Path, tmp_path: Path, mounted: Mount) -> None:
    os.truncate(image, 4 << 20)

    refused(mounted, tmp_path, image, "8388608 bytes but only 4194304", "download it again")


@pytest.mark.parametrize("policy", ["auto", "never"])
@pytest.mark.parametrize("read_only", [False, True])
def test_a_corrupt_superblock_ends_in_one_sentence(
    image: Path, tmp_path: Path, mounted: Mount, policy: FsckPolicy, read_only: bool
) -> None:
    with image.open("r+b") as stream:
        stream.seek(1024 + 0x20)  # blocks, clusters and inodes per group; magic, state and size stay as they are
        stream.write(b"\xff" * 12)

    refused(mounted, tmp_path, image, "--fsck=always", policy=policy, read_only=read_only)


def test_what_mount_refuses_always_repairs(tmp_path: Path, mounted: Mount) -> None:
    """Where the checksum of the superblock is wrong, mount fails; e2fsck falls back on a copy (from 8 MB up)."""
    image = tmp_path / "16M.img"
    subprocess.run(["/sbin/mkfs.ext4", "-q", "-F", image, "16M"], check=True)
    with image.open("r+b") as stream:
        stream.seek(1024 + 0x3FC)
        stream.write(b"\0\0\0\0")
    refused(mounted, tmp_path, image, "--fsck=always")

    mounted(image, policy="always")

    assert (tmp_path / "mnt/a/lost+found").is_dir()


def test_an_image_on_a_read_only_file_system_starts_volatile_only(image: Path, tmp_path: Path, mounted: Mount) -> None:
    inner = tmp_path / "outer.img"
    root = tmp_path / "outer"
    root.mkdir()
    shutil.copy(image, root / "inner.img")
    subprocess.run(["/sbin/mkfs.ext4", "-q", "-F", "-d", root, inner, "32M"], check=True)
    mounted(inner, "outer", read_only=True)
    inner_image = tmp_path / "mnt/outer/inner.img"

    refused(mounted, tmp_path, inner_image, "can only be read", "--volatile")
    mounted(inner_image, "inner", read_only=True)

    assert (tmp_path / "mnt/inner/hello").exists()


def test_a_missing_target_leaves_no_loop_device(image: Path, tmp_path: Path) -> None:
    with pytest.raises(BerthError, match="No such file"):
        mount_image(
            str(image),
            str(tmp_path / "nowhere"),
            policy="auto",
            read_only=False,
            tools={},
            now=int(time.time()),
            node_folder=str(tmp_path),
        )

    assert gone(image, tmp_path)
