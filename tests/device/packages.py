"""Debian packages, unpacked and not installed, and the modules of the kernel that is in one of them."""

import lzma
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from packing import apt

GONE = "is not on this machine's mirror any more"
"""Why a test may be skipped, even in CI."""


class NotThere(Exception):
    """The mirror has no such release any more; the text says which."""


def release(folder: Path, suite: str, architecture: str) -> Mapping[str, str]:
    """Return the environment in which apt knows Debian's release `suite`, whatever this machine's own is.

    `folder` takes its index.  Raises NotThere, and PackingError where this machine's mirror is not Debian's.
    """
    root = folder / f"{suite}-{architecture}"
    environment = apt.private_root(root, architecture, apt.find_mirrors(None), suite, apt.keyring(folder))
    if not list((root / "var/lib/apt/lists").glob(f"*_dists_{suite}_*Release")):
        raise NotThere(f"Debian's {suite} {GONE}")
    return environment


def unpack(work: Path, packages: tuple[str, ...], target: Path, environment: Mapping[str, str] = os.environ) -> None:
    """Unpack Debian packages into `target`; `work` takes what is downloaded.  Raises RuntimeError with apt's words."""
    downloads = Path(tempfile.mkdtemp(dir=work))
    command = ["apt-get", "--quiet", "--option", "APT::Sandbox::User=root", "download", *packages]
    result = subprocess.run(
        command, check=False, cwd=downloads, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    if result.returncode:
        raise RuntimeError(f"apt-get could not download {' '.join(packages)}:\n{result.stderr.decode()}")
    for package in downloads.iterdir():
        subprocess.run(["dpkg-deb", "--extract", package, target], check=True)


def depends_on(package: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the package that the meta package `package` stands for."""
    command = ["apt-cache", "depends", "--important", package]
    lines = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.splitlines()
    found = [line.split()[-1] for line in lines if line.strip().startswith("Depends: linux-image")]
    if not found:
        raise RuntimeError(f'apt knows no package {package}; run "apt-get update" first')
    return found[0]


def copy_modules(image: Path, target: Path, wanted: tuple[str, ...]) -> None:
    """Copy the modules `wanted` and those that they need, numbered in the order in which the kernel takes them.

    `image` is the unpacked package of a kernel; what is built into that is left out.
    """
    found = {_module_name(path): path for path in (image / "lib/modules").rglob("*.ko*")}
    found |= {_module_name(path): path for path in (image / "usr/lib/modules").rglob("*.ko*")}
    target.mkdir()
    for number, name in enumerate(_in_order(wanted, found)):
        (target / f"{number:02}-{name}.ko").write_bytes(_read_module(found[name]))


def _in_order(wanted: tuple[str, ...], found: dict[str, Path]) -> list[str]:
    """Return `wanted` with what they depend on in front; one that is not in `found` is built into the kernel."""
    order: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in found and name not in order:
            for needed in _dependencies(_read_module(found[name])):
                visit(needed)
            order[name] = None

    for name in wanted:
        visit(name)
    return list(order)


def _dependencies(module: bytes) -> list[str]:
    """Return what the .modinfo section names; depmod's own list is made at installation and in no package."""
    match = re.search(rb"\0depends=([^\0]*)\0", module)
    return [name.decode().replace("-", "_") for name in match[1].split(b",") if name] if match else []


def _module_name(path: Path) -> str:
    return path.name.partition(".ko")[0].replace("-", "_")


def _read_module(path: Path) -> bytes:
    return lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
