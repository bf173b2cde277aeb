"""The tests' own ground: what they start from, and that they notice and undo what is left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo import busybox
from tests import host_state, leftovers, quick
from tests import rootfs as root_file_systems
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


def test_what_a_killed_run_left_is_undone_by_the_next(berth_home: Path) -> None:
    dead = leftovers.PLACE / f"{leftovers.PREFIX}{2**22 + 1}-1"  # above the kernel's largest pid
    home = leftovers.home_of(dead)
    home.mkdir(parents=True)
    with start_sleeper(home) as process:
        leftovers.undo_dead_runs()
        assert process.wait(10) == -signal.SIGKILL

    assert not dead.exists()
    assert berth_home.exists()


def test_what_belongs_to_no_run_but_another_is_not_killed_for_it(
    berth: Berth, rootfs: Callable[[str], Path], scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two test processes run side by side in CI, too, where a container that nobody knows counts as left behind."""
    monkeypatch.setattr(host_state, "ALONE", True)
    quick.start(berth, rootfs("busybox"))
    init = quick.info(berth)["pid"]

    assert init in host_state.processes_of(berth.home)
    assert init not in host_state.processes_of(scratch)


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
