"""The zip and the trees that it is made of, built once for each state of the sources; downloads are kept."""

import hashlib
from functools import cache
from pathlib import Path

import build
from packing import fetched
from packing.errors import PackingError
from packing.order import Order, place

CACHE = build.CACHE / "zip"
BUILT = build.CACHE / "flashing"


def zip_file(abi: str) -> Path:
    """Return the zip for `abi`, as `build.py zip` makes it."""
    order = _order(abi)
    if not order.target.is_file():
        for old in BUILT.glob(f"{abi}-*.zip"):
            old.unlink()
        place(order, "packing.assemble")
    return order.target


@cache
def tree(abi: str) -> Path:
    """Return the folder that the archives in the zip for `abi` hold."""
    place(_order(abi), "packing.tree")
    return CACHE / "tree" / abi


def _order(abi: str) -> Order:
    fetch_once(abi)
    target = BUILT / f"{abi}-{_digest()[:16]}.zip"
    return Order(build.ROOT, CACHE, target, build.program_version(), [abi])


def fetch_once(abi: str) -> None:
    """Fetch what the zip is made of, unless that was done already."""
    try:
        fetched.recall(abi, build.LOCK, CACHE)
    except PackingError:
        fetched.fetch([abi], build.LOCK, None, CACHE)


def _digest() -> str:
    """What the zip depends on."""
    digest = hashlib.sha256((CACHE / "fetched.json").read_bytes())
    for path in build.repository_files():
        if not path.is_relative_to(build.ROOT / "tests"):
            digest.update(f"{path}\0".encode() + path.read_bytes())
    return digest.hexdigest()
