"""What the virtual machine boots from: Debian's kernel, and an initramfs with BusyBox, Python and this checkout.

    python3 -m tests.device.parts      makes what is missing, and prints where it is

Everything comes out of Debian packages that are unpacked, not installed; the pure part is cached under a digest of its
recipe.  Python is that of the host's own version, so that it can run the compiled packages of the interpreter that
runs the tests.
"""

import hashlib
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.machinery import PathFinder
from pathlib import Path

from demo import busybox
from tests import exclusive, rootfs
from tests.device.cpio import append_tree
from tests.device.packages import copy_modules, depends_on, release, unpack

CHECKOUT = Path(__file__).resolve().parents[2]
CACHE = CHECKOUT / ".cache" / "device"
GUEST = Path(__file__).resolve().parent / "guest"
_PACKAGES = Path(__file__).resolve().parent / "packages.py"

PYTHON = f"python3.{sys.version_info.minor}"
PACKAGES = (
    f"{PYTHON}-minimal",
    f"lib{PYTHON}-minimal",
    f"lib{PYTHON}-stdlib",
    "libc6",
    "libexpat1",
    "libffi8",
    "zlib1g",
    "e2fsprogs",
    "libblkid1",
    "libcom-err2",
    "libext2fs2",
    "libss2",
    "libuuid1",
)
KERNEL = "linux-image-amd64"
MODULES = ("virtio_pci", "virtio_blk", "virtio_console", "loop", "overlay", "crc32c_generic", "ext4", "veth", "ipvlan")
NETWORK_MODULES = (
    *("nf_tables", "nft_chain_nat", "nft_ct", "nft_masq", "nft_nat", "nf_conntrack_netlink", "tcp_diag"),
    *("bridge", "sch_ingress", "cls_bpf", "cls_u32", "act_mirred", "sch_tbf", "ifb"),
)
"""What a machine with one of Debian's older kernels has besides: it is there for the network of containers."""

NOT_NEEDED = ("usr/share", f"usr/lib/{PYTHON}/pydoc_data")
NEEDED_PACKAGES = ("msgspec", "pyroute2", "tomli_w")


def kernel(suite: str = "") -> Path:
    """Return the kernel of this machine's Debian or of its release `suite`, making it first.

    The lower half of the initramfs too.  Raises NotThere when that release has left the mirror.
    """
    return _base(suite) / "vmlinuz"


def write_initramfs(target: Path, suite: str = "") -> None:
    """Write the initramfs: Debian's half, and over it the guest's own files, this checkout and BusyBox's rootfs."""
    shutil.copyfile(_base(suite) / "base.cpio", target)
    with target.open("ab") as archive, tempfile.TemporaryDirectory() as folder:
        upper = Path(folder)
        shutil.copytree(GUEST, upper, dirs_exist_ok=True)
        _copy_python(CHECKOUT / "pyapp" / "berth", upper / "opt/berth/berth")
        for name in NEEDED_PACKAGES:
            _copy_python(_package(name), upper / "opt/berth" / name)
        append_tree(archive, upper)
        append_tree(archive, rootfs.directory("busybox"), "srv/busybox")


def _base(suite: str) -> Path:
    """Return the cached folder with `vmlinuz` and `base.cpio`."""
    folder = CACHE / "-".join(("machine", *([suite] if suite else [])))
    return cached(folder, _digest(), lambda work, made: _make_base(suite, work, made))


def cached(folder: Path, digest: str, make: Callable[[Path, Path], None]) -> Path:
    """Return `folder`/`digest`, made by `make` (work folder, target) if need be; a half-made one never has its name."""
    target = folder / digest
    with exclusive.held(folder / ".lock"):  # of two runs at once the second waits for the first one's work
        if not target.exists():
            for stale in folder.glob("[!.]*"):
                shutil.rmtree(stale)
            with tempfile.TemporaryDirectory(dir=folder) as work:
                made = Path(work, "made")
                make(Path(work), made)
                made.rename(target)
    return target


def _digest() -> str:
    recipe = (
        PACKAGES,
        KERNEL,
        MODULES,
        NETWORK_MODULES,
        NOT_NEEDED,
        Path(__file__).read_bytes(),
        _PACKAGES.read_bytes(),
        busybox.BUSYBOX.read_bytes(),
    )
    return hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]


def _make_base(suite: str, work: Path, made: Path) -> None:
    tree, image = work / "tree", work / "image"
    unpack(work, PACKAGES, tree)
    apt = release(CACHE.parent / "apt", suite, "amd64") if suite else os.environ
    unpack(work, (depends_on(KERNEL, apt),), image, apt)
    for folder in NOT_NEEDED:
        shutil.rmtree(tree / folder)
    _compile(tree / "usr/lib" / PYTHON)
    (tree / "usr/bin/python3").symlink_to(PYTHON)
    copy_modules(image, tree / "modules", (*MODULES, *(NETWORK_MODULES if suite else ())))
    _install_busybox(tree)
    made.mkdir()
    next(image.glob("boot/vmlinuz-*")).rename(made / "vmlinuz")
    with (made / "base.cpio").open("wb") as archive:
        append_tree(archive, tree)


def _install_busybox(tree: Path) -> None:
    """Link BusyBox's applets where no package has brought the real program."""
    (tree / "bin").mkdir(exist_ok=True)
    shutil.copy(busybox.BUSYBOX, tree / "bin/busybox")
    for applet in subprocess.run([busybox.BUSYBOX, "--list-full"], check=True, capture_output=True).stdout.split():
        path = tree / os.fsdecode(applet)
        if not path.exists() and not path.is_symlink():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to("/bin/busybox")


def _package(name: str) -> Path:
    spec = PathFinder.find_spec(name)  # on the disk: in this process berth.network has a pyroute2 of its own
    if spec is None or spec.origin is None:
        raise RuntimeError(f"this Python has no package {name}, which the virtual machine needs; run build.py setup")
    return Path(spec.origin).parent


def _copy_python(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    _compile(target)


def _compile(folder: Path) -> None:
    """Compile beforehand: an emulated processor takes half a minute for the standard library."""
    for path in _sources(folder):
        py_compile.compile(
            str(path), dfile=f"/{path.name}", invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )


def _sources(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*.py") if path.is_file())


if __name__ == "__main__":
    print(kernel())
