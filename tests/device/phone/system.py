"""What the phone boots from: Debian's kernel, a ramdisk, a read-only system image, and an empty /data on f2fs.

Android's place for its own C library, /system/lib64, holds the libraries of the tools here, and they know no other: a
program that a module brings finds none.  Cached under a digest of the recipe.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from demo import busybox
from tests.device.cpio import append_tree
from tests.device.packages import copy_modules, depends_on, unpack
from tests.device.parts import CACHE, cached
from tests.device.phone.policy import compile_policy

GUEST = Path(__file__).resolve().parent / "guest"
KERNEL = "linux-image-amd64"
MODULES = (
    "virtio_pci",
    "virtio_blk",
    "virtio_console",
    "loop",
    "overlay",
    "crc32c_generic",
    "crc32_generic",
    "ext4",
    "f2fs",
)
EMPTY = (
    "apex", "cache", "config", "data", "data_mirror", "debug_ramdisk", "dev", "linkerconfig", "metadata", "mnt", "odm",
    "oem", "postinstall", "proc", "product", "storage", "sys", "system_ext", "vendor", "acct",
)  # fmt: skip
TOOLS = {"toybox": "toybox", "mksh": "sh", "getfattr": "getfattr"}
LABELS = {"system/bin/init": "init_exec", "system/bin/sh": "shell_exec", "system/bin/toybox": "toolbox_exec"}
LOADER = "/lib64/ld-linux-x86-64.so.2"
DATA_BYTES = 2 << 30  # sparse


class System(NamedTuple):
    """The parts of a phone; none is to be written to."""

    kernel: Path
    ramdisk: Path
    system: Path
    data: Path


def system() -> System:
    """Return the phone's parts, making them first."""
    folder = cached(CACHE / "phone", _digest(), _make)
    return System(*(folder / name for name in System._fields))


def _digest() -> str:
    inputs = [path for path in sorted(Path(__file__).parent.rglob("*")) if path.is_file() and path.suffix != ".pyc"]
    tools = [Path(_find(name)) for name in TOOLS]
    digest = hashlib.sha256(repr((KERNEL, MODULES)).encode())
    for path in (*inputs, *tools, busybox.BUSYBOX):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _make(work: Path, made: Path) -> None:
    made.mkdir()
    image = work / "image"
    unpack(work, (depends_on(KERNEL),), image)
    next(image.glob("boot/vmlinuz-*")).rename(made / "kernel")
    _make_ramdisk(work, image, made / "ramdisk")
    _make_system(work, made / "system")
    _make_data(made / "data")


def _make_ramdisk(work: Path, image: Path, target: Path) -> None:
    tree = work / "ramdisk"
    (tree / "bin").mkdir(parents=True)
    shutil.copy(busybox.BUSYBOX, tree / "bin/busybox")
    shutil.copy(GUEST / "ramdisk-init", tree / "init")
    copy_modules(image, tree / "modules", MODULES)
    with target.open("wb") as archive:
        append_tree(archive, tree)


def _make_system(work: Path, target: Path) -> None:
    tree = work / "system"
    for name in EMPTY:
        (tree / name).mkdir(parents=True)
    for name in ("bin", "etc"):
        (tree / name).symlink_to(f"/system/{name}")
    (tree / "sdcard").symlink_to("/storage/self/primary")
    shutil.copytree(GUEST / "system", tree / "system")
    shutil.copy(busybox.BUSYBOX, tree / "system/etc/bench/busybox")
    _copy_tools(tree / "system")
    policy = tree / "system/etc/selinux/precompiled_sepolicy"
    policy.parent.mkdir()
    shutil.copy(compile_policy(work), policy)
    for path in (tree, *tree.rglob("*")):
        _label(path, LABELS.get(str(path.relative_to(tree)), "system_file"))
    command: list[str | Path] = ["mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", tree, target, "64M"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _copy_tools(target: Path) -> None:
    """Copy programs of this machine together with their loader and libraries, and have them look for none elsewhere."""
    (target / "lib64").mkdir()
    for program, name in TOOLS.items():
        source, copy = _find(program), target / "bin" / name
        shutil.copy(source, copy)
        for library in _libraries(source):
            shutil.copy(library, target / "lib64")
        relocate = [
            "patchelf",
            "--set-interpreter",
            f"/system/lib64/{Path(LOADER).name}",
            "--set-rpath",
            "/system/lib64",
        ]
        subprocess.run([*relocate, copy], check=True, stderr=subprocess.DEVNULL)
    for applet in subprocess.run(["toybox"], check=True, capture_output=True, text=True).stdout.split():
        path = target / "bin" / applet
        if not path.exists():
            path.symlink_to("toybox")


def _libraries(program: str) -> Iterator[str]:
    lines = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout.splitlines()
    return (word for line in lines for word in line.split() if word.startswith("/"))


def _find(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise RuntimeError(f'there is no {program} here, which the phone needs; run "build.py test"')
    return os.path.realpath(path)


def _label(path: Path, kind: str) -> None:
    os.setxattr(path, "security.selinux", f"u:object_r:{kind}:s0\0".encode(), follow_symlinks=False)


def _make_data(target: Path) -> None:
    """Make what Android makes of /data: f2fs that folds case, with its own set of features."""
    with target.open("wb") as file:
        file.truncate(DATA_BYTES)
    command: list[str | Path] = [
        "mkfs.f2fs",
        "-q",
        "-f",
        "-l",
        "data",
        "-g",
        "android",
        "-O",
        "casefold",
        "-C",
        "utf8",
        target,
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
