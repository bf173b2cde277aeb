"""What is to be built, and the way it gets from the developer's Python to the one that builds it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from packing import workshop


class Order(NamedTuple):
    """What to build: a zip at `target`, from the checkout `root` and from what was fetched into `cache` for `abis`."""

    root: Path
    cache: Path
    target: Path
    version: str
    abis: Sequence[str]

    @property
    def lock(self) -> Path:
        """The lock file of the wheels."""
        return self.root / "requirements.lock"


def place(order: Order, module: str) -> None:
    """Have `order` carried out by `module` in Debian 13's Python; raise PackingError when that fails."""
    words = [*map(str, order[:3]), order.version, *order.abis]
    tools = workshop.existing(order.cache)
    tools.python(order.root / "pyapp", module, words, "the zip was not built; see the message above")


def from_words(words: Sequence[str]) -> Order:
    """Return the Order in the `words` that `place` passes on."""
    root, cache, target = map(Path, words[:3])
    return Order(root, cache, target, words[3], words[4:])
