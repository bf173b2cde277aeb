"""The two processes that all tests run in: both outputs are seen, and both end in order."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

import pytest

import build
from tests.faults import wait_until

SECONDS = 300.0
pytestmark = [pytest.mark.system, pytest.mark.timeout(4 * SECONDS)]  # longer than what is waited for

RUN = """\
import sys
from pathlib import Path
from tests import side_by_side
here, aside, folder = sys.argv[1:]
side_by_side.ON_THIS_MACHINE, side_by_side.ASIDE = (here,), (aside,)
side_by_side.OUTPUT, side_by_side.FAILURES = Path(folder, "aside.log"), Path(folder, "failures.log")
sys.exit(side_by_side.main([]))
"""
PASSES = "def test_that_passes():\n    pass\n"
FAILS = "def test_that_fails():\n    assert 'this' == 'that'\n"
WAITS = """\
import time
import pytest
from pathlib import Path

@pytest.fixture
def place():
    here = Path(__file__)
    yield here
    time.sleep(0.2)
    here.with_suffix(".cleaned").touch()

def test_that_waits(place):  # it tells, because pytest would not clean up after a fixture that is cut off half done
    place.with_suffix(".begun").touch()
    time.sleep(600)
"""
MOUNTS = """\
import subprocess
from pathlib import Path

def test_that_mounts():
    subprocess.run(["mount", "-t", "tmpfs", "berth-aside", Path(__file__).parent], check=True)
"""


class Both:
    """The two processes under way, with the tests `here` and `aside`."""

    def __init__(self, folder: Path, here: str, aside: str) -> None:
        self.files = [folder / "test_here.py", folder / "test_aside.py"]
        for path, text in zip(self.files, (here, aside), strict=True):
            path.write_text(text)
        options = f"-c {build.ROOT / 'pyproject.toml'} -p tests.conftest -p no:cacheprovider"
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, *self.files, folder],
            cwd=build.ROOT,
            env={**os.environ, "PYTEST_ADDOPTS": options},
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=SECONDS)  # what it has started ends with it

    def has(self, suffix: str) -> bool:
        return all(path.with_suffix(suffix).exists() for path in self.files)


@pytest.mark.parametrize(("here", "aside"), [(FAILS, PASSES), (PASSES, FAILS)], ids=["here", "aside"])
def test_a_failure_in_either_is_seen_and_fails_both(scratch: Path, here: str, aside: str) -> None:
    with Both(scratch, here, aside) as both:
        output = both.process.communicate(timeout=SECONDS)[0]

    assert both.process.returncode == 1
    assert output.count("test session starts") == 2
    for part in output.split("==> what failed:\n"):
        assert part.count("E       AssertionError: assert 'this' == 'that'") == 1


def test_what_runs_aside_mounts_nothing_on_this_machine(scratch: Path) -> None:
    with Both(scratch, PASSES, MOUNTS) as both:
        both.process.communicate(timeout=SECONDS)

    assert both.process.returncode == 0
    assert "berth-aside" not in Path("/proc/mounts").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_ends_both_after_they_have_cleaned_up(scratch: Path, number: signal.Signals) -> None:
    with Both(scratch, WAITS, WAITS) as both:
        wait_until(lambda: both.has(".begun"), "both tests run", SECONDS)

        both.process.send_signal(number)

        wait_until(lambda: both.has(".cleaned"), "both have cleaned up", SECONDS)
        both.process.communicate(timeout=SECONDS)
    assert both.process.returncode != 0
