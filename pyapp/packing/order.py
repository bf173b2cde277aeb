"""What is to be built, and the way it gets from the developer's Python to the one that builds it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from packing import workshop


class Order(NamedTuple):
    """What to build: a zip at `target`, from the checkout `root` and from what was fetched into `cache` for `abis`.

    `releases` is the URL of the folder in which zips are published, "" where there is none.
    """

    root: Path
    cache: Path
    target: Path
    version: str
    abis: Sequence[str]
    releases: str = ""

    @property
    def lock(self) -> Path:
        """The lock file of the wheels."""
        return self.root / "requirements.lock"


def place(order: Order, module: str) -> None:
    """Have `order` carried out by `module` in Debian 13's Python; raise PackingError when that fails."""
    tools = workshop.existing(order.cache)
    word = json.dumps(order._asdict(), default=str)
    tools.python([order.root / "pyapp"], module, [word], "the zip was not built; see the message above")


def from_word(word: str) -> Order:
    """Return the Order in the `word` that `place` passes on."""
    read = Order(**json.loads(word))
    return read._replace(root=Path(read.root), cache=Path(read.cache), target=Path(read.target))
