"""The phones that most device tests use: each booted once, put back before each test.

A test that asks for `phone` runs on the first of PHONES, and on every one with --device=full.  `@pytest.mark.only(...)`
names what it needs of the phone's Configuration.
"""

from collections.abc import Iterator

import pytest

from tests import rootfs
from tests.device.packages import NotThere
from tests.device.phone.machine import Configuration, Phone
from tests.device.phone.scene import READY, flashed

PHONES = (
    Configuration("magisk", "a12", "6.1"),
    Configuration("ksu", "v2", "6.1"),
    Configuration("magisk", "a11", "5.10"),
    Configuration("magisk", "a9", "5.10"),
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have a test of phones run on those that fit it."""
    if "ready_phone" not in metafunc.fixturenames:
        return
    only = metafunc.definition.get_closest_marker("only")
    wanted = only.kwargs if only else {}
    fit = [phone for phone in PHONES if wanted.items() <= phone._asdict().items()]
    chosen = fit if metafunc.config.getoption("--device") == "full" else fit[:1]
    metafunc.parametrize("ready_phone", chosen, ids="-".join, indirect=True, scope="session")


@pytest.fixture(scope="session")
def ready_phone(request: pytest.FixtureRequest) -> Iterator[Phone]:
    """A phone with SELinux enforcing and f2fs: flashed, rebooted, and nothing touched."""
    images = [rootfs.image("debian-systemd")] if request.config.getoption("--device") == "full" else []
    try:
        with flashed(request.param, *images) as phone:
            yield phone
    except NotThere as error:
        pytest.skip(str(error))


@pytest.fixture
def phone(ready_phone: Phone) -> Phone:
    """The phone as it was when the container had just come up."""
    ready_phone.restore(READY)
    return ready_phone
