"""What tests of images share: how one is damaged and looked at, what is mounted, and how a refusal reads."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from berth.errors import BerthError
from berth.kernel.loop import list_loops
from berth.kernel.mounts import MountEntry, read_mounts
from berth.storage.images import MountedImage
from tests import faults

E2FSCK = "/sbin/e2fsck"
DAY = 86400
Mount = Callable[..., MountedImage]


def mounts_under(folder: Path) -> list[MountEntry]:
    return [entry for entry in read_mounts() if entry.target.startswith(f"{folder}/")]


def loops_on(path: Path, folder: Path) -> list[int]:
    status = path.stat()
    return [
        loop.number for loop in list_loops(str(folder)) if (loop.device, loop.inode) == (status.st_dev, status.st_ino)
    ]


def gone(path: Path, folder: Path) -> bool:
    """Whether its loop devices go: with the last who looks at them, or with a namespace, which a kernel thread ends."""
    deadline = time.monotonic() + faults.SECONDS
    while loops_on(path, folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not loops_on(path, folder)


def debugfs(image: Path, *requests: str) -> None:
    for request in requests:
        subprocess.run(["/sbin/debugfs", "-w", "-R", request, image], check=True, capture_output=True)


def header(image: Path) -> str:
    return subprocess.run(["/sbin/dumpe2fs", "-h", image], check=True, capture_output=True, text=True).stdout


def spying_e2fsck(folder: Path, status: int | None = None) -> tuple[dict[str, str], Path]:
    """An e2fsck that notes its arguments and environment, then is the real one or ends with `status`."""
    script, log = folder / "e2fsck", folder / "e2fsck.log"
    end = f'exec {E2FSCK} "$@"' if status is None else f"exit {status}"
    script.write_text(f'#!/bin/sh\n{{ echo "$@"; echo "LC_ALL=$LC_ALL HOME=$HOME"; }} >> {log}\n{end}\n')
    script.chmod(0o755)
    return {"e2fsck": str(script)}, log


def refused(mount: Mount, tmp_path: Path, image: Path | str, *texts: str, **options: object) -> None:
    """Assert that the start is refused in one sentence with all `texts`, and that no loop device or mount is left."""
    path = Path(image)
    before = mounts_under(tmp_path), loops_on(path, tmp_path) if path.exists() else []
    with pytest.raises(BerthError) as raised:
        mount(image, "refused", **options)
    sentence = str(raised.value)
    assert sentence.startswith(f"image {image}: ")
    assert "\n" not in sentence
    for text in texts:
        assert text in sentence
    deadline = time.monotonic() + faults.SECONDS
    while path.exists() and loops_on(path, tmp_path) != before[1] and time.monotonic() < deadline:
        time.sleep(0.02)  # somebody else may be looking at the loop device just now, which keeps it
    assert (mounts_under(tmp_path), loops_on(path, tmp_path) if path.exists() else []) == before
