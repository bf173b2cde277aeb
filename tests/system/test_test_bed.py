"""The tests' own ground: what they start from, and that they notice and undo what is left behind."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import build
from demo import busybox
from tests import host_state, leftovers, quick
from tests import rootfs as root_file_systems
from tests.faults import wait_until
from tests.program import Berth

pytestmark = pytest.mark.system

SLEEPER = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"]


@pytest.fixture
def mounted(scratch: Path) -> Iterator[Path]:
    folder = scratch / "rootfs" / "mnt"
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    (folder / "precious").touch()
    yield folder
    subprocess.run(["umount", folder], check=True)


def start_sleeper(home: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(SLEEPER, env={**os.environ, "BERTH_HOME": str(home)}, stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()  # from here on its environment can be read
    return process


def test_a_folder_in_which_something_is_mounted_is_not_removed(mounted: Path) -> None:
    with pytest.raises(RuntimeError, match=f"mounted at {mounted}"):
        root_file_systems.remove(mounted.parent)

    assert (mounted / "precious").exists()


def test_a_mount_that_is_left_behind_is_noticed(
    berth_home: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(host_state, "SETTLING_SECONDS", 0.1)
    before = host_state.look(berth_home)
    mounted = request.getfixturevalue("mounted")

    [difference] = host_state.difference(before, berth_home)

    assert difference.startswith("mounts: left behind: ")
    assert str(mounted) in difference


def test_a_process_that_is_left_behind_is_noticed(berth_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_state, "SETTLING_SECONDS", 0.1)
    before = host_state.look(berth_home)
    with start_sleeper(berth_home) as process:
        [difference] = host_state.difference(before, berth_home)
        process.kill()

    assert difference.startswith(f"processes: left behind: {process.pid} ")


HOLDS_A_FOLDER = """\
import signal
from tests import leftovers
with leftovers.run_folder() as folder:
    print(folder, flush=True)
    signal.pause()
"""


@contextlib.contextmanager
def another_run() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A run in a PID namespace of its own, where its pid says nothing, and its BERTH_HOME."""
    command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", HOLDS_A_FOLDER]
    with subprocess.Popen(command, cwd=build.ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            home = host_state.home_of(Path(process.stdout.readline().strip()))
            home.mkdir()
            yield process, home
        finally:
            process.kill()
            process.wait()
            wait_until(lambda: undone(home.parent), "it has been undone")


def test_what_a_killed_run_left_is_undone_by_the_next_but_nothing_of_one_that_lives(berth_home: Path) -> None:
    with another_run() as (other, home), start_sleeper(home) as process:
        leftovers.undo_dead_runs()
        assert home.exists()
        assert process.poll() is None

        other.kill()
        other.wait()
        wait_until(lambda: undone(home.parent), "it has been undone")
        assert process.wait(60) == -signal.SIGKILL

    assert berth_home.exists()


@pytest.mark.parametrize(("alone", "aside"), [(False, False), (True, False), (False, True)])
def test_what_another_run_has_is_not_held_against_this_one(
    berth_home: Path, host_unchanged: host_state.HostState, monkeypatch: pytest.MonkeyPatch, alone: bool, aside: bool
) -> None:
    monkeypatch.setattr(host_state, "ALONE", alone)
    monkeypatch.setattr(host_state, "ASIDE", aside)
    with another_run() as (_, home):
        image = root_file_systems.copy(root_file_systems.image("busybox"), home.parent / "disk.img")
        theirs = Berth(home)
        theirs.succeed("start", "neighbour", "--rootfs-img", image)

        init = host_state.describe(json.loads(theirs.succeed("info", "neighbour", "--json"))["pid"])
        assert {"loops", "cgroups", "processes"} <= mentioning(home, str(image), "neighbour@", init)
        assert not mentioning(berth_home, str(image), "neighbour@", init)
        place = home.parent / "mounted"
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
        try:
            assert mentioning(home, str(place)) == {"mounts"}
            assert not mentioning(berth_home, str(place))
        finally:
            subprocess.run(["umount", place], check=True)


def mentioning(home: Path, *words: str) -> set[str]:
    """Return in which parts of the host's state, as it is of the run with `home`, one of `words` is found."""
    state = host_state.look(home)._asdict()
    return {part for part, entries in state.items() if any(word in entry for word in words for entry in entries)}


def undone(folder: Path) -> bool:
    leftovers.undo_dead_runs()
    return not folder.exists()


@pytest.fixture
def dead_run() -> Path:
    """The folder of a run that was killed, with an empty home."""
    folder = Path(tempfile.mkdtemp(prefix=host_state.PREFIX, dir=host_state.RUNS))
    host_state.home_of(folder).mkdir()
    return folder


def test_undoing_one_run_leaves_the_containers_of_another_alone(
    berth: Berth, rootfs: Callable[[str], Path], dead_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_state, "ALONE", True)  # as in CI, where all that is nobody else's is ours
    quick.start(berth, rootfs("busybox"))
    before = quick.info(berth)

    leftovers.undo(dead_run)

    after = quick.info(berth)
    assert (after["state"], after["pid"]) == ("running", before["pid"])
    berth.succeed("stop", "quay")


def test_a_container_that_a_test_leaves_running_is_stopped_after_it(
    berth: Berth, rootfs: Callable[[str], Path]
) -> None:
    berth.succeed("start", "--name", "left-running", "--rootfs", rootfs("busybox"))

    assert "left-running" in berth.succeed("show")


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_the_demo_is_the_same_whatever_the_umask(scratch: Path, umask: int) -> None:
    root = scratch / "demo"
    before = os.umask(umask)
    try:
        busybox.make_rootfs(root)
    finally:
        os.umask(before)

    modes = {name: (root / name).stat().st_mode & 0o7777 for name in ("etc/passwd", "etc/shadow", "tmp", "root", ".")}
    assert modes == {"etc/passwd": 0o644, "etc/shadow": 0o600, "tmp": 0o1777, "root": 0o700, ".": 0o755}
    assert (root / "sbin" / "init").readlink() == Path("/bin/busybox")
    assert os.access(root / "bin" / "busybox", os.X_OK)
    assert (root / "home" / "user").stat().st_uid == busybox.USER


def test_an_unfinished_demo_does_not_get_in_the_way(scratch: Path) -> None:
    (scratch / "demo.unfinished" / "etc").mkdir(parents=True)

    busybox.make_rootfs(scratch / "demo")

    assert os.listdir(scratch) == ["demo"]


def test_every_root_file_system_is_there_once_and_has_an_init(rootfs: Callable[[str], Path]) -> None:
    for name in root_file_systems.NAMES:
        assert root_file_systems.directory(name) == root_file_systems.directory(name)
    copy = rootfs("debian-s6")

    (copy / "etc" / "marker").touch()

    assert os.access(copy / "usr" / "sbin" / "init", os.X_OK)
    assert not (root_file_systems.directory("debian-s6") / "etc" / "marker").exists()


def test_an_image_holds_a_clean_ext4_file_system(image: Callable[[str], Path]) -> None:
    first, second = image("busybox"), image("busybox")

    assert first != second
    assert subprocess.run(["e2fsck", "-fn", first], check=False, capture_output=True).returncode == 0


LEAVES_A_FILE_OPEN = """\
import gc

def test_that_fails():
    file = open(__file__)
    assert file.closed

def test_that_passes():
    gc.collect()
"""


def test_what_a_failed_test_left_open_fails_no_other_one(scratch: Path) -> None:
    path = scratch / "test_open.py"
    path.write_text(LEAVES_A_FILE_OPEN)
    options = ("-c", build.ROOT / "pyproject.toml", "-p", "tests.conftest", "-o", f"cache_dir={scratch}/cache")
    environment = {**os.environ}
    environment.pop("BERTH_TEST_FAILURES", None)  # it is this test's own business

    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, path],
        check=False,
        cwd=build.ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert "1 failed, 1 passed" in done.stdout, done.stdout


FAILS_WITH_A_PATH_THAT_IS_NO_UTF_8 = """\
import os

def test_that_fails():
    raise AssertionError(os.fsdecode(b"left: \\xff"))
"""
CAN_NOT_BE_IMPORTED = "import nothing_of_that_name\n"


@pytest.mark.parametrize(
    ("text", "noted"),
    [(FAILS_WITH_A_PATH_THAT_IS_NO_UTF_8, "left: \\udcff"), (CAN_NOT_BE_IMPORTED, "nothing_of_that_name")],
    ids=["odd-bytes", "import"],
)
def test_whatever_fails_is_noted_once_more(scratch: Path, text: str, noted: str) -> None:
    path, failures = scratch / "test_fails.py", scratch / "failures.log"
    path.write_text(text)
    options = ("-c", build.ROOT / "pyproject.toml", "-p", "tests.conftest", "-o", f"cache_dir={scratch}/cache")

    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, path],
        check=False,
        cwd=build.ROOT,
        env={**os.environ, "BERTH_TEST_FAILURES": str(failures)},
        capture_output=True,
        timeout=300,
    )

    assert b"INTERNALERROR" not in done.stdout
    assert noted in failures.read_text(encoding="utf-8")
