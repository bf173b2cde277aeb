"""What the phone boots from: one of Debian's kernels, a ramdisk, a read-only system image, and an empty /data on f2fs.

Android's place for its own C library, /system/lib64, holds the libraries of the tools here, and they know no other: a
program that a module brings finds none.  Cached under a digest of the recipe.
"""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from demo import busybox
from tests.device import packages
from tests.device.cpio import append_tree
from tests.device.packages import copy_modules, depends_on, release, unpack
from tests.device.parts import CACHE, cached
from tests.device.phone import policy

GUEST = Path(__file__).resolve().parent / "guest"
POWER = Path(__file__).with_name("power.asl")
KERNEL = "linux-image-amd64"
Kernel = Literal["6.1", "5.10"]
RELEASES: dict[Kernel, str] = {"6.1": "bookworm", "5.10": "bullseye"}
MODULES = (
    *("virtio_pci", "virtio_blk", "virtio_console", "virtio_net", "loop", "overlay", "crc32c_generic", "crc32_generic"),
    *("ext4", "f2fs", "tcp_diag", "veth", "nf_conntrack_netlink", "ac", "battery", "fan", "thermal"),
    *("iptable_filter", "iptable_mangle", "iptable_nat", "ip6table_filter", "ip6table_mangle", "ip6table_nat"),
    *("xt_comment", "xt_conntrack", "xt_MASQUERADE", "xt_nat", "xt_TCPMSS", "xt_tcpudp"),
    *("nf_tables", "nft_chain_nat", "nft_ct", "nft_masq", "nft_nat"),  # and no bridge
)
EMPTY = (
    "apex", "cache", "config", "data", "data_mirror", "debug_ramdisk", "dev", "linkerconfig", "metadata", "mnt", "odm",
    "oem", "postinstall", "proc", "product", "storage", "sys", "system_ext", "vendor", "acct",
)  # fmt: skip
TOOLS = {"toybox": "toybox", "mksh": "sh", "getfattr": "getfattr", "ip": "ip", "xtables-legacy-multi": "iptables"}
FIREWALL = ("iptables-restore", "iptables-save", "ip6tables", "ip6tables-restore", "ip6tables-save")
EXTENSIONS = "xtables"
LABELS = {"system/bin/init": "init_exec", "system/bin/sh": "shell_exec", "system/bin/toybox": "toolbox_exec"}
LOADER = "/lib64/ld-linux-x86-64.so.2"
# Since Android 11 it folds case, for what Debian's 5.10 lacks CONFIG_UNICODE.
DATA_FEATURES: dict[Kernel, tuple[str, ...]] = {"6.1": ("-O", "casefold", "-C", "utf8"), "5.10": ()}
DATA_BYTES = 2 << 30  # sparse


class System(NamedTuple):
    """The parts of a phone; none is to be written to."""

    kernel: Path
    ramdisk: Path
    system: Path
    data: Path
    power: Path


def system(kernel: Kernel) -> System:
    """Return the parts of a phone with that kernel, making them first.

    Raises NotThere when the release it was in has left the mirror.
    """
    core = cached(CACHE / f"linux-{kernel}", _core_digest(), lambda work, made: _make_core(kernel, work, made))
    disks = cached(CACHE / "phone", _disks_digest(), _make_disks)
    return System(core / "kernel", core / "ramdisk", disks / "system", disks / f"data-{kernel}", disks / "power.aml")


def _core_digest() -> str:
    return _digest((KERNEL, RELEASES, MODULES), (GUEST / "ramdisk-init", Path(packages.__file__), busybox.BUSYBOX))


def _disks_digest() -> str:
    guest = [path for path in sorted(GUEST.rglob("*")) if path.is_file()]
    tools = [Path(_find(name)) for name in TOOLS]
    return _digest(TOOLS, (*guest, *tools, Path(__file__), POWER, Path(policy.__file__), busybox.BUSYBOX))


def _digest(words: object, files: tuple[Path, ...]) -> str:
    digest = hashlib.sha256(repr(words).encode())
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _make_core(kernel: Kernel, work: Path, made: Path) -> None:
    apt = release(CACHE.parent / "apt", RELEASES[kernel], "amd64")
    image = work / "image"
    unpack(work, (depends_on(KERNEL, apt),), image, apt)
    made.mkdir()
    next(image.glob("boot/vmlinuz-*")).rename(made / "kernel")
    _make_ramdisk(work, image, made / "ramdisk")


def _make_disks(work: Path, made: Path) -> None:
    made.mkdir()
    _make_system(work, made / "system")
    subprocess.run(["iasl", "-p", made / "power", POWER], check=True, stdout=subprocess.DEVNULL)
    for kernel, features in DATA_FEATURES.items():
        _make_data(made / f"data-{kernel}", features)


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
    compiled = tree / "system/etc/selinux/precompiled_sepolicy"
    compiled.parent.mkdir()
    shutil.copy(policy.compile_policy(work), compiled)
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
        interpreter = f"/system/lib64/{Path(LOADER).name}"
        # RPATH, for it holds for what a library needs, too.
        places = ("--set-interpreter", interpreter, "--force-rpath", "--set-rpath", "/system/lib64")
        subprocess.run(["patchelf", *places, copy], check=True, stderr=subprocess.DEVNULL)
    _settle_firewall(target)
    for applet in subprocess.run(["toybox"], check=True, capture_output=True, text=True).stdout.split():
        path = target / "bin" / applet
        if not path.exists():
            path.symlink_to("toybox")


def _settle_firewall(target: Path) -> None:
    """Give iptables its other names, and what it looks for where Android has no folder."""
    for name in FIREWALL:
        (target / "bin" / name).symlink_to("iptables")
    library = next((target / "lib64").glob("libxtables.so.*"))
    match = re.search(rb"/[!-~]+/xtables(?=\0)", library.read_bytes())
    if match is None:
        raise RuntimeError(f"{library.name} does not tell where its extensions lie")
    shutil.copytree(os.fsdecode(match[0]), target / "lib64" / EXTENSIONS)
    _replace(library, match[0], f"/system/lib64/{EXTENSIONS}".encode())
    # Android's is /system/etc/xtables.lock, which this is as well, and there is no room for a longer name.
    _replace(target / "bin/iptables", b"/run/xtables.lock", b"/etc/xtables.lock")
    (target / "etc/xtables.lock").touch()


def _replace(file: Path, old: bytes, new: bytes) -> None:
    """Replace a string in a program by one that is not longer."""
    file.write_bytes(file.read_bytes().replace(old + b"\0", new.ljust(len(old), b"\0") + b"\0"))


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


def _make_data(target: Path, features: tuple[str, ...]) -> None:
    """Make what Android makes of /data: f2fs with its own set of features."""
    with target.open("wb") as file:
        file.truncate(DATA_BYTES)
    command: list[str | Path] = ["mkfs.f2fs", "-q", "-f", "-l", "data", "-g", "android", *features, target]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
