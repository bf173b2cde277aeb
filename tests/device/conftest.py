"""The phone that most device tests use: booted once, put back before each test."""

from collections.abc import Iterator

import pytest

from tests import rootfs
from tests.device.phone.machine import Configuration, Phone
from tests.device.phone.scene import READY, flashed


@pytest.fixture(scope="session")
def magisk(request: pytest.FixtureRequest) -> Iterator[Phone]:
    """Magisk, Android 12's cgroups, kernel 6.1, SELinux enforcing, f2fs: flashed, rebooted, and nothing touched."""
    images = [rootfs.image("debian-systemd")] if request.config.getoption("--device") == "full" else []
    with flashed(Configuration("magisk", "a12"), *images) as phone:
        yield phone


@pytest.fixture
def phone(magisk: Phone) -> Phone:
    """The phone as it was when the container had just come up."""
    magisk.restore(READY)
    return magisk
