"""The service, for the tests about it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import faults
from tests.program import Berth
from tests.service import Service

Factory = Callable[[str], Path]


@pytest.fixture
def service(berth: Berth) -> Iterator[Service]:
    service = Service(berth)
    service.start()
    yield service
    service.end()
    for folder in berth.home.glob("containers/*"):
        berth("stop", folder.name)
        berth.succeed("rm", folder.name, "--yes")  # or it would start with the next service
    (berth.home / "service.log").unlink(missing_ok=True)


@pytest.fixture
def root(rootfs: Factory) -> Path:
    return faults.write_init(rootfs("busybox"))
