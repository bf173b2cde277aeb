"""The zip that is flashed, and a container's image to bring along."""

import subprocess
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


def module_zip() -> Path:
    """Return the flashable zip of this checkout for the phone's processor, building it if anything has changed."""
    return product.zip_file("x86_64")


def write_image(work: Path, target: Path) -> None:
    """Write an ext4 image with BusyBox and the probe; `work` takes its files."""
    tree = rootfs.copy(rootfs.directory("busybox"), work / "tree")
    write_probe(tree / PROBE, tuple(CALLS.values()))
    command: list[str | Path] = ["mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, target, "32M"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
