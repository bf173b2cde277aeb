"""Cgroups for each test, which are gone after it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.groups import MOUNTS, Made


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[], Made]]:
    everything: list[Made] = []

    def one() -> Made:
        everything.append(Made(str(tmp_path / f"journal{len(everything)}")))
        return everything[-1]

    yield one
    for made in everything:
        made.undo()
        os.close(made.journal.fd)
        assert not [mount.path for mount in MOUNTS if os.path.exists(f"{mount.path}/berth/{made.name}")]


@pytest.fixture
def made(make: Callable[[], Made]) -> Made:
    return make()
