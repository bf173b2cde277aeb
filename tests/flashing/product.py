"""The zip and the trees that it is made of, built once for each state of the sources; downloads are kept."""

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import build
from packing import fetched
from packing.abi import ABIS
from packing.errors import PackingError
from packing.fetched import Fetched
from packing.order import Order, place
from tests import exclusive

CACHE = build.CACHE / "zip"
BUILT = build.CACHE / "flashing"
LOCK = BUILT / ".lock"


def zip_file(*abis: str) -> Path:
    """Return the zip for `abis`, as `build.py zip` makes it."""
    with exclusive.held(LOCK):
        order = _order(*abis)
        if not order.target.is_file():
            for old in BUILT.glob(f"{'+'.join(abis)}-*.zip"):
                old.unlink()
            place(order, "packing.assemble")
    return order.target


@cache
def tree(abi: str) -> Path:
    """Return the folder that the archives in the zip for `abi` hold."""
    with exclusive.held(LOCK):
        place(_order(abi), "packing.tree")
    return CACHE / "tree" / abi


def _order(*abis: str) -> Order:
    _fetch_once(abis)
    target = BUILT / f"{'+'.join(abis)}-{_digest(abis)[:16]}.zip"
    return Order(build.ROOT, CACHE, target, build.program_version(), abis)


def _fetch_once(abis: Sequence[str]) -> None:
    """Fetch what the zips for `abis` are made of, and all those that take no compiler with it, unless it is there."""
    build.make_dashboard()
    together = [name for name, abi in ABIS.items() if name in abis or not abi.compiled]
    try:
        _recall(together)
    except PackingError:
        fetched.fetch(together, build.LOCK, None, CACHE)


def _recall(abis: Sequence[str]) -> list[Fetched]:
    return [fetched.recall(abi, build.LOCK, CACHE) for abi in abis]


def _digest(abis: Sequence[str]) -> str:
    """What the zip depends on."""
    digest = hashlib.sha256(repr(_recall(abis)).encode())
    for path in build.repository_files():
        if not path.is_relative_to(build.ROOT / "tests"):
            digest.update(f"{path}\0".encode() + path.read_bytes())
    return digest.hexdigest()
