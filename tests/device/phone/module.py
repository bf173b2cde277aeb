"""The zip that is flashed, and a container's image to bring along."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import build
from tests import rootfs
from tests.device.parts import CACHE, cached
from tests.device.phone.probe import Call, write_probe

# By arch/x86/entry/syscalls/syscall_64.tbl.  unshare asks for CLONE_NEWNS, which root may otherwise do.
CALLS = {
    "keyctl": Call(250),
    "add_key": Call(248),
    "request_key": Call(249),
    "clone3": Call(435),
    "unshare": Call(272, 0x00020000),
}
PROBE = "bin/probe"


def module_zip() -> Path:
    """Return the flashable zip of this checkout for the phone's processor, building it if anything has changed."""
    return cached(CACHE / "zip", _digest(), _make) / "berth.zip"


def _digest() -> str:
    digest = hashlib.sha256()
    for path in build.repository_files():
        if not path.is_relative_to(build.ROOT / "tests") and not path.is_relative_to(build.ROOT / "dist"):
            digest.update(str(path.relative_to(build.ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def _make(_: Path, made: Path) -> None:
    command: list[str | Path] = [sys.executable, build.ROOT / "build.py", "zip", "--abi", "x86_64"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    made.mkdir()
    shutil.copy(next(build.ROOT.glob("dist/berth-*.zip")), made / "berth.zip")


def write_image(work: Path, target: Path) -> None:
    """Write an ext4 image with BusyBox and the probe; `work` takes its files."""
    tree = rootfs.copy(rootfs.directory("busybox"), work / "tree")
    write_probe(tree / PROBE, tuple(CALLS.values()))
    command: list[str | Path] = ["mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, target, "32M"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
