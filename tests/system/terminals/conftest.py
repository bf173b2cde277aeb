"""A container to run programs in at a terminal, with the service and without."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import callers
from tests.program import Berth


@pytest.fixture(scope="module", params=["bare", "served"])
def berth(request: pytest.FixtureRequest, berth_home: Path) -> Iterator[Berth]:
    with callers.caller(berth_home, served=request.param == "served") as command:
        yield command


@pytest.fixture(scope="module")
def root(berth: Berth) -> Iterator[Path]:
    with callers.running(berth, "terminals", "busybox") as folder:
        yield folder


@pytest.fixture(params=["inside", "one-off"])
def run(request: pytest.FixtureRequest, root: Path) -> list[str]:
    """The words that run a program in the running container, or in a fresh one of its own."""
    return ["run", "terminals", "--"] if request.param == "inside" else ["run", "--rm", "--rootfs", str(root), "--"]
