"""What the zip is made of: got from the network, checked, and remembered, so that it can be built again without."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from packing import apt, wheels, workshop
from packing.abi import ABIS
from packing.apt import Package
from packing.contents import RUNTIME
from packing.errors import PackingError
from packing.wheels import Wheel

_RECORD: Final = "fetched.json"


class Fetched(NamedTuple):
    """The packages and wheels for one ABI, each where it lies in the cache."""

    packages: list[Package]
    wheels: list[Wheel]


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


def recall(abi: str, lock: Path, cache: Path) -> Fetched:
    """Return what was fetched for `abi`; raise PackingError when that was nothing, or not all that `lock` now names."""
    rows = _read(cache).get(abi)
    if rows is None:
        raise PackingError(f"nothing was fetched for {abi} yet; build once without --cached")
    packages = [Package(**row)._replace(path=cache / row["path"]) for row in rows]
    if {package.name for package in packages} != set(RUNTIME):
        raise PackingError(f"other packages were fetched for {abi} than are needed now; build once without --cached")
    return Fetched(packages, wheels.recall(lock, ABIS[abi], cache))


def unpacked(abi: str, cache: Path) -> Path:
    """Return the folder in which the packages for `abi` are unpacked."""
    return cache / "unpacked" / abi


def _remember(abi: str, packages: Sequence[Package], cache: Path) -> None:
    rows = [package._asdict() | {"path": str(package.path.relative_to(cache))} for package in packages]
    (cache / _RECORD).write_text(json.dumps({**_read(cache), abi: rows}, indent=1))


def _read(cache: Path) -> Any:
    """What is remembered, or nothing; Any because it is JSON of our own making."""
    path = cache / _RECORD
    return json.loads(path.read_text()) if path.is_file() else {}
