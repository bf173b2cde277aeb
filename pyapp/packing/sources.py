"""The source distributions of what is compiled for a processor, each checked against its hashes in the lock."""

from pathlib import Path
from typing import Final, NamedTuple

from packing import locked
from packing.abi import Abi
from packing.apt import digest_of
from packing.errors import PackingError
from packing.locked import Locked
from packing.workshop import Workshop

_HERE: Final = Path(__file__).resolve().parents[1]


class Source(NamedTuple):
    """A downloaded source distribution."""

    name: str
    version: str
    sha256: str
    path: Path


def fetch(lock: Path, abi: Abi, workshop: Workshop, cache: Path) -> list[Source]:
    """Download what `lock` names and has to be compiled for `abi` into `cache` unless it is there.

    Nothing of it is run.  Raises PackingError when pip can't get one of them with a hash that the lock has.
    """
    for entry in _wanted(lock, abi):
        if _find(entry, cache) is None:
            print(f"==> fetching the sources of {entry.name}", flush=True)
            workshop.python(
                [_HERE, workshop.pip],
                "packing.sdists",
                [str(_folder(cache)), entry.name, entry.version, ",".join(sorted(entry.hashes))],
                f"pip could not fetch the sources of {entry.name}; see its message above, check the network",
            )
    return recall(lock, abi, cache)


def recall(lock: Path, abi: Abi, cache: Path) -> list[Source]:
    """Return what has to be compiled for `abi`, sorted by name; raise PackingError when one is missing or another."""
    found = []
    for entry in _wanted(lock, abi):
        source = _find(entry, cache)
        if source is None:
            raise PackingError(f"there are no sources of {entry.name} {entry.version}; build once without --cached")
        found.append(source)
    return found


def _wanted(lock: Path, abi: Abi) -> list[Locked]:
    return [entry for entry in locked.read(lock) if entry.name in abi.compiled]


def _find(entry: Locked, cache: Path) -> Source | None:
    for path in _folder(cache).glob(f"*-{entry.version}.tar.gz"):
        if path.name.startswith(f"{entry.name}-") and (digest := digest_of(path)) in entry.hashes:
            return Source(entry.name, entry.version, digest, path)
    return None


def _folder(cache: Path) -> Path:
    return cache / "sources"
