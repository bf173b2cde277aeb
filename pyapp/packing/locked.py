"""A lock file of Python packages, as pip-compile writes it: what it names, and the hashes that each may have."""

import re
from pathlib import Path
from typing import Final, NamedTuple

_ENTRY: Final = re.compile(r"^([a-z0-9][a-z0-9.-]*)==(\S+)[^\n]*\n(?:[ \t]+[^\n]*(?:\n|\Z))*", re.MULTILINE)
_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")


class Locked(NamedTuple):
    """A package of the lock; `hashes` are the SHA-256 of everything published of that version."""

    name: str
    version: str
    hashes: frozenset[str]


def read(lock: Path) -> list[Locked]:
    """Return what `lock` names, sorted by name."""
    found = _ENTRY.finditer(lock.read_text())
    return sorted(Locked(entry[1], entry[2], frozenset(_HASH.findall(entry[0]))) for entry in found)


def canonical(name: str) -> str:
    """Return how the index and the lock write the `name` of a package or of its files."""
    return re.sub(r"[-_.]+", "-", name).lower()
