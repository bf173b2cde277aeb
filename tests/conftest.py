"""What every test may ask for.

`rootfs(NAME)` and `image(NAME)` give a root file system of the test's own (`tests/rootfs.py` has the names),
`berth(...)` runs the command with a state folder of this run's own, and `host_unchanged`, which `berth` brings along,
fails a test that leaves anything on the host.
"""

import gc
import os
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import FrameType

import hypothesis
import pytest
from hypothesis.database import DirectoryBasedExampleDatabase

import build
from tests import host_state, leftovers
from tests import rootfs as root_file_systems
from tests.device.packages import GONE
from tests.host_state import IN_CI
from tests.program import Berth

hypothesis.settings.register_profile(
    "berth",
    deadline=None,  # a busy machine is no failure
    derandomize=IN_CI,
    database=None if IN_CI else DirectoryBasedExampleDatabase(build.CACHE / "hypothesis"),
)
hypothesis.settings.load_profile("berth")

Factory = Callable[[str], Path]
FIRST_OF_A_FAILURE = 40  # lines


def pytest_addoption(parser: pytest.Parser) -> None:
    choices = ("quick", "full")
    parser.addoption("--device", choices=choices, default="quick", help="which tests on virtual phones run (quick)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is only for --device=full; such a test is not skipped, it was not asked for."""
    full = config.getoption("--device") == "full"
    left_out = [item for item in items if not full and item.get_closest_marker("full")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_configure() -> None:
    """Let a SIGTERM end the run as Ctrl-C does, with everything cleaned up, and keys work for what tests start.

    What a shell starts in the background ignores SIGINT and SIGQUIT, and whatever that starts would inherit this.
    """
    main = os.getpid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)

    def end(number: int, _: FrameType | None) -> None:
        if os.getpid() == main:
            pytest.exit("terminated", returncode=128 + number)
        os._exit(128 + number)  # a child that a test forked

    signal.signal(signal.SIGTERM, end)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("system") and os.geteuid() != 0:
        pytest.fail('needs root; without it run the unit tests only: pytest -m "not system"', pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail what is skipped in CI, where every test is run whose Debian can still be had."""
    report = yield
    if IN_CI and report.skipped and GONE not in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"skipped, which is a failure in CI: {report.longrepr}"
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note a failure, with where it was and what was asserted, for who runs more than this process (`side_by_side`)."""
    _note_failure(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Note a file whose tests can't even be told, too."""
    _note_failure(report)


def _note_failure(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.failed and (path := os.environ.get("BERTH_TEST_FAILURES")):
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:  # a path may be no UTF-8
            lines = report.longreprtext.splitlines() or [""]
            said = [line for line in lines if line.startswith("E ")] or lines
            print(f"{report.nodeid}, {report.when}: {lines[-1]}", *said[:FIRST_OF_A_FAILURE], "", sep="\n", file=file)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let what a failed test has left open go with it.

    The failure's traceback holds it, in a circle; when Python comes to break that, a warning of an open file, or of a
    process that runs, would fail whichever test runs then.
    """
    failed = item.session.testsfailed
    result = yield
    if item.session.testsfailed > failed:
        for kept in ("last_value", "last_traceback", "last_exc"):  # the last one is new in Python 3.12
            vars(sys).pop(kept, None)
        with warnings.catch_warnings(action="ignore"):
            gc.collect()
    return result


@pytest.fixture(scope="session")
def berth_home() -> Iterator[Path]:
    """BERTH_HOME of this run: state and run folder, of its own and empty at the beginning."""
    with leftovers.run_folder() as folder:
        home = host_state.home_of(folder)
        home.mkdir()
        yield home


@pytest.fixture
def scratch(berth_home: Path) -> Iterator[Path]:
    """A folder of the test's own, on disk, that is removed unless something is still mounted in it."""
    folder = Path(tempfile.mkdtemp(dir=berth_home.parent))
    folder.chmod(0o755)
    yield folder
    root_file_systems.remove(folder)


@pytest.fixture
def host_unchanged(berth_home: Path, scratch: Path) -> Iterator[host_state.HostState]:
    """The host as it was before the test; fails the test when it is different afterwards."""
    before = host_state.look(berth_home)
    yield before
    different = host_state.difference(before, berth_home)
    assert not different, "the host is not as it was:\n" + "\n".join(different)


@pytest.fixture
def berth(berth_home: Path, host_unchanged: host_state.HostState) -> Iterator[Berth]:
    """The `berth` command; containers that the test leaves running are stopped, and nothing of them stays saved."""
    command = Berth(berth_home)
    yield command
    if host_state.look(berth_home).processes != host_unchanged.processes:
        leftovers.stop_containers(command)
    for folder in ("containers", "starting"):
        shutil.rmtree(berth_home / folder, ignore_errors=True)
    (berth_home / "network.json").unlink(missing_ok=True)


@pytest.fixture
def rootfs(scratch: Path) -> Factory:
    """`rootfs("busybox")` returns a copy of that root file system for this test alone, to start and to change."""
    return lambda name: root_file_systems.copy(root_file_systems.directory(name), _unused(scratch, name))


@pytest.fixture
def image(scratch: Path) -> Factory:
    """`image("busybox")` returns an ext4 image of that root file system for this test alone."""
    return lambda name: root_file_systems.copy(root_file_systems.image(name), _unused(scratch, f"{name}.img"))


def _unused(folder: Path, name: str) -> Path:
    """Return a path in `folder` that is not there yet: `name`, or `name` behind a number."""
    path, count = folder / name, 1
    while path.exists():
        count += 1
        path = folder / f"{count}-{name}"
    return path
