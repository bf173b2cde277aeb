"""The wheels that requirements.lock names, for any processor: each checked against its hashes in the lock."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from packing import locked
from packing.abi import Abi
from packing.apt import digest_of
from packing.contents import PYTHON_TAG
from packing.errors import PackingError
from packing.workshop import Workshop

# Debian 13 has glibc 2.41; wheels name the oldest that they run with.
_PLATFORMS: Final = ("manylinux2014_{}", "manylinux_2_17_{}", "manylinux_2_28_{}")


class Wheel(NamedTuple):
    """A downloaded wheel."""

    name: str
    version: str
    sha256: str
    path: Path


def fetch(lock: Path, abi: Abi, workshop: Workshop, cache: Path) -> list[Wheel]:
    """Download what `lock` names for `abi` into `cache` unless it is there; return it sorted by name.

    Raises PackingError when pip can't get one of them with a hash that the lock has.
    """
    folder = cache / "wheels" / abi.name
    try:
        return recall(lock, abi, cache)
    except PackingError:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"==> fetching for {abi.name} the wheels that {lock.name} names", flush=True)
    what = ("--no-deps", "--only-binary=:all:", "--require-hashes", "--requirement", str(lock), "--dest", str(folder))
    for_abi = [word for pattern in _PLATFORMS for word in ("--platform", pattern.format(abi.wheels_of or abi.machine))]
    for_python = ["--implementation", "cp", "--python-version", PYTHON_TAG.removeprefix("cp")]
    for_python += [word for tag in (PYTHON_TAG, "abi3", "none") for word in ("--abi", tag)]
    workshop.python(
        [workshop.pip],
        "pip",
        ["--quiet", "--disable-pip-version-check", "--no-cache-dir", "download", *what, *for_abi, *for_python],
        f"pip could not fetch the wheels for {abi.name}; see its message above, check the network and try again",
    )
    return recall(lock, abi, cache)


def recall(lock: Path, abi: Abi, cache: Path) -> list[Wheel]:
    """Return what `lock` names for `abi` from `cache`; raise PackingError when one is missing or another."""
    return list(_match(lock, cache / "wheels" / abi.name))


def _match(lock: Path, folder: Path) -> Iterator[Wheel]:
    files = {locked.canonical(path.name.partition("-")[0]): path for path in folder.glob("*.whl")}
    for name, version, hashes in locked.read(lock):
        path = files.get(locked.canonical(name))
        if path is None or path.name.split("-")[1] != version or (digest := digest_of(path)) not in hashes:
            raise PackingError(f"{name} {version} is not in {folder} with a hash that {lock.name} has")
        yield Wheel(name, version, digest, path)
