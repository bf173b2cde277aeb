"""The zip that is flashed, and a container's image to bring along."""

import re
import subprocess
import zipfile
from pathlib import Path

from tests import rootfs
from tests.device.phone.probe import Call, write_probe
from tests.flashing import product

# By arch/x86/entry/syscalls/syscall_64.tbl.  unshare asks for CLONE_NEWNS, which root may otherwise do.
CALLS = {
    "keyctl": Call(250),
    "add_key": Call(248),
    "request_key": Call(249),
    "clone3": Call(435),
    "unshare": Call(272, 0x00020000),
}
PROBE = "bin/probe"
NEWER = "v99.0.0"


def module_zip() -> Path:
    """Return the flashable zip of this checkout for the phone's processor, building it if anything has changed."""
    return product.zip_file("x86_64")


def write_newer_zip(zip_file: Path, target: Path) -> None:
    """Write the same module as the version that follows, NEWER."""
    with zipfile.ZipFile(zip_file) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename == "module.prop":
                content = re.sub(rb"(?m)^version=.*$", b"version=" + NEWER.encode(), content)
                content = re.sub(rb"(?m)^versionCode=(\d+)$", rb"versionCode=\g<1>1", content)
            new.writestr(entry, content)


def write_image(work: Path, target: Path) -> None:
    """Write an ext4 image with BusyBox and the probe; `work` takes its files."""
    tree = rootfs.copy(rootfs.directory("busybox"), work / "tree")
    write_probe(tree / PROBE, tuple(CALLS.values()))
    command: list[str | Path] = ["mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, target, "32M"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
