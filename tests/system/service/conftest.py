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
    (berth.home / "service.log").unlink(missing_ok=True)


@pytest.fixture
def root(rootfs: Factory) -> Path:
    return faults.write_init(rootfs("busybox"))
