"""An image for each test, the way to mount it, and the proof that nothing of it is left."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.kernel.mounts import MNT_DETACH, umount
from berth.spec import FsckPolicy
from berth.storage.images import MountedImage, mount_image
from tests.disks import E2FSCK, Mount, gone, mounts_under


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean image with a file in it, made once."""
    folder = tmp_path_factory.mktemp("clean")
    root = folder / "root"
    root.mkdir()
    (root / "hello").write_text("from the image")
    subprocess.run(["/sbin/mkfs.ext4", "-q", "-F", "-d", root, folder / "clean.img", "8M"], check=True)
    return folder / "clean.img"


@pytest.fixture
def image(clean: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(clean, tmp_path / "ubuntu.img"))


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path) -> Iterator[None]:
    """Whatever a test does, after its unmounts no mount, loop device or descriptor of it is left."""
    fds = set(os.listdir("/proc/self/fd"))
    yield
    for entry in reversed(mounts_under(tmp_path)):
        umount(entry.target, MNT_DETACH)
    for path in tmp_path.rglob("*.img"):
        assert gone(path, tmp_path)
    assert set(os.listdir("/proc/self/fd")) == fds


@pytest.fixture
def mounted(tmp_path: Path) -> Mount:
    """Mount an image at the folder `at`."""

    def mount_at(
        image: Path | str,
        at: str = "a",
        *,
        policy: FsckPolicy = "auto",
        read_only: bool = False,
        tools: dict[str, str] | None = None,
        now: int | None = None,
    ) -> MountedImage:
        target = tmp_path / "mnt" / at
        target.mkdir(parents=True, exist_ok=True)
        return mount_image(
            str(image),
            str(target),
            policy=policy,
            read_only=read_only,
            tools={"e2fsck": E2FSCK} if tools is None else tools,
            now=int(time.time()) if now is None else now,
            node_folder=str(tmp_path),
        )

    return mount_at
