"""What the zip is made of: got from the network, checked, and remembered, so that it can be built again without."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from packing import apt, compiler, sources, wheels, workshop
from packing.abi import ABIS
from packing.apt import Package
from packing.contents import COMPILER, HEADERS, RUNTIME
from packing.errors import PackingError
from packing.sources import Source
from packing.wheels import Wheel

_RECORD: Final = "fetched.json"


class Fetched(NamedTuple):
    """The packages and wheels for one ABI, each where it lies in the cache.

    Where the wheels are for another, `sources` are what is compiled, and `compiler` the packages that does it.
    """

    packages: list[Package]
    wheels: list[Wheel]
    sources: list[Source]
    compiler: list[Package]


def fetch(abis: Sequence[str], lock: Path, mirror: str | None, cache: Path) -> None:
    """Bring Debian's packages, checked by signature, and the wheels of `lock`, by hash, for `abis` into `cache`.

    `mirror` is the URL of a Debian mirror, None for that of the machine's own apt sources.  Raises PackingError.
    """
    mirrors = apt.find_mirrors(mirror)
    cache.mkdir(parents=True, exist_ok=True)
    tools = workshop.set_up(mirrors, cache)
    for name in abis:
        packages = apt.fetch(list(RUNTIME), ABIS[name].debian, mirrors, cache)
        apt.unpack_once(packages, unpacked(name, cache))
        wheels.fetch(lock, ABIS[name], tools, cache)
        _remember(name, packages, cache)
        if ABIS[name].compiled:
            sources.fetch(lock, ABIS[name], tools, cache)
            _remember(_compiler_of(name), compiler.fetch(ABIS[name], mirrors, cache), cache)


def recall(abi: str, lock: Path, cache: Path) -> Fetched:
    """Return what was fetched for `abi`; raise PackingError when that was nothing, or not all that `lock` now names."""
    packages = _recall_packages(abi, list(RUNTIME), abi, cache)
    tools = _recall_packages(_compiler_of(abi), [*COMPILER, *HEADERS], abi, cache) if ABIS[abi].compiled else []
    return Fetched(
        packages, wheels.recall(lock, ABIS[abi], cache), sources.recall(lock, ABIS[abi], cache), compiler=tools
    )


def unpacked(abi: str, cache: Path) -> Path:
    """Return the folder in which the packages for `abi` are unpacked."""
    return cache / "unpacked" / abi


def _compiler_of(abi: str) -> str:
    return f"compiler for {abi}"


def _recall_packages(key: str, names: Sequence[str], abi: str, cache: Path) -> list[Package]:
    rows = _read(cache).get(key)
    if rows is None:
        raise PackingError(f"nothing was fetched for {abi} yet; build once without --cached")
    packages = [Package(**row)._replace(path=cache / row["path"]) for row in rows]
    if {package.name for package in packages} != set(names):
        raise PackingError(f"other packages were fetched for {abi} than are needed now; build once without --cached")
    return packages


def _remember(key: str, packages: Sequence[Package], cache: Path) -> None:
    rows = [package._asdict() | {"path": str(package.path.relative_to(cache))} for package in packages]
    (cache / _RECORD).write_text(json.dumps({**_read(cache), key: rows}, indent=1))


def _read(cache: Path) -> Any:
    """What is remembered, or nothing; Any because it is JSON of our own making."""
    path = cache / _RECORD
    return json.loads(path.read_text()) if path.is_file() else {}
