"""Root file systems to test with: one for every init, made from this machine's package sources and cached.

    python3 -m tests.rootfs debian-systemd      makes it, if need be, and prints where it is

What is cached is never started itself: a test gets a copy of its own (the fixtures `rootfs` and `image`).  Each is
named by a digest of its recipe, so a changed recipe makes a new one.  Standard library only.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from demo import busybox
from tests import exclusive

CACHE = Path(__file__).resolve().parents[1] / ".cache" / "rootfs"
TREES = Path(__file__).resolve().parent / "trees"  # files that are put over what the packages bring

_COMMON = ("dbus", "iproute2", "login", "procps", "sudo")
DEBIAN = {
    "debian-systemd": ("systemd-sysv", "libnss-myhostname", "libpam-systemd", "htop", "less", "vim-tiny", *_COMMON),
    "debian-sysvinit": ("sysvinit-core", *_COMMON),
    "debian-openrc": ("openrc", "sysvinit-core", *_COMMON),  # Debian's OpenRC runs below sysvinit's PID 1
    "debian-runit": ("runit-init", *_COMMON),
    # Debian has no s6-linux-init: tests/trees/debian-s6 brings an /sbin/init, which starts no DHCP client.
    "debian-s6": ("s6", "isc-dhcp-client", "network-manager", *_COMMON),
}
NAMES = ("busybox", *DEBIAN)
# A third of all files, which no test reads, and every copy would have.
LEFT_OUT = [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "info", "locale", "man")]
IMAGE_BYTES = {"busybox": 64 << 20}
IMAGE_BYTES_DEBIAN = 1 << 30  # sparse: what is free takes no room


def directory(name: str) -> Path:
    """Return the cached root file system `name` (one of NAMES), making it first; it is not to be changed."""
    if name == "busybox":
        return _cached(name, _digest(name), busybox.make_rootfs)
    return _cached(name, _digest(name), lambda target: _make_debian(name, target))


def image(name: str) -> Path:
    """Return an ext4 image of root file system `name`, making it first; it is not to be changed."""
    source = directory(name)
    size = IMAGE_BYTES.get(name, IMAGE_BYTES_DEBIAN)

    def make(target: Path) -> None:
        command: list[str | Path] = ["mke2fs", "-q", "-F", "-t", "ext4", "-d", source, target, f"{size >> 10}k"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    return _cached(f"{name}.ext4", _digest(name, str(size)), make)


def copy(cached: Path, target: Path) -> Path:
    """Copy a cached directory or image to `target`, with owners, modes, attributes and holes, and return `target`."""
    subprocess.run(["cp", "--archive", "--reflink=auto", "--sparse=always", "--", cached, target], check=True)
    return target


def mounts_below(folder: Path) -> list[str]:
    """Return where something is mounted at or below `folder`, as this process sees it."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        targets = [line.split(" ")[4] for line in file]
    return [target for target in targets if Path(target).is_relative_to(folder)]


def remove(folder: Path) -> None:
    """Remove `folder` and all in it; raise RuntimeError, and touch nothing, where something is mounted in it.

    A bind that a failed test left in a root file system may show the host's own files.  A monitor may still be taking
    away what it made there.
    """
    if mounted := mounts_below(folder):
        raise RuntimeError(f"{folder} is not removed, because something is mounted at {', '.join(mounted)}")
    shutil.rmtree(folder, onerror=_pass_over_gone)


def _pass_over_gone(function: object, path: str, raised: tuple[object, BaseException, object]) -> None:
    if not isinstance(raised[1], FileNotFoundError):
        raise raised[1]


def _cached(name: str, digest: str, make: Callable[[Path], None]) -> Path:
    """Return the cached `name`, made by `make` unless one with this `digest` is there; older ones are removed."""
    target = CACHE / f"{name}-{digest}"
    with exclusive.held(CACHE / f".{name}.lock"):
        if not target.exists():
            for stale in CACHE.glob(f"{name}-*"):
                remove(stale) if stale.is_dir() else stale.unlink()
            unfinished = CACHE / f"{name}-unfinished"
            make(unfinished)
            unfinished.rename(target)
    return target


def _make_debian(name: str, target: Path) -> None:
    """Make a Debian of this machine's release with mmdebstrap, whose mounts stay in a namespace of its own."""
    packages = ",".join(DEBIAN[name])
    command = ["unshare", "--mount", "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--format=directory"]
    sources = "".join(f"{line}\n" for line in _debian_sources())
    result = subprocess.run(
        [*command, *LEFT_OUT, f"--include={packages}", _os_release("VERSION_CODENAME"), target, "-"],
        check=False,
        input=sources,
        stderr=subprocess.PIPE,
        text=True,
    )
    if result.returncode:
        raise RuntimeError(f"mmdebstrap could not make {name}:\n{result.stderr}")
    if (TREES / name).is_dir():
        # What the packages bring there may be a link to a path of this machine.
        subprocess.run(["cp", "-a", "--remove-destination", f"{TREES / name}/.", target], check=True)


def _debian_sources() -> list[str]:
    """Return this machine's apt sources that are Debian's own, one sources.list line each."""
    form = "deb $(REPO_URI) $(CODENAME) $(COMPONENT)"
    question = ["apt-get", "indextargets", "--format", form, "Created-By: Packages", "Origin: Debian"]
    lines = subprocess.run(question, check=True, capture_output=True, text=True).stdout.splitlines()
    if not lines:
        raise RuntimeError('apt knows no Debian package source yet; run "apt-get update" first')
    return sorted(set(lines))


def _os_release(key: str) -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        name, _, value = line.partition("=")
        if name == key:
            return value.strip('"')
    raise RuntimeError(f"/etc/os-release has no {key}; the root file systems are made on Debian")


def _digest(name: str, *more: str) -> str:
    """Return a short digest of all that root file system `name` is made from but the versions of its packages."""
    recipe = (DEBIAN.get(name), LEFT_OUT, _os_release("VERSION_CODENAME"), os.uname().machine, more)
    digest = hashlib.sha256(repr(recipe).encode())
    tree = busybox.FILES if name == "busybox" else TREES / name
    code = [Path(busybox.__file__), busybox.BUSYBOX] if name == "busybox" else []
    for path in [*code, *sorted(tree.rglob("*"))]:
        if path.is_file():
            digest.update(f"{path.name}:{path.stat().st_mode:o}:".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        print(directory(wanted))
