"""Disks that are full, read-only or damaged under the state folder, the run folder and the images."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from berth.kernel.processes import status_field
from tests import faults, leftovers
from tests.program import Berth

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]
NAME = "bad"
TALKING = faults.INIT.replace("while", f"while [ -e /talk ]; do echo {'0123456789' * 4}; done; while")


@pytest.fixture
def root(rootfs: Factory) -> Path:
    return faults.write_init(rootfs("busybox"))


@pytest.fixture
def disk(scratch: Path) -> Iterator[Path]:
    """A small file system of its own, to be filled up or made read-only."""
    place = scratch / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", place], check=True)
    yield place
    subprocess.run(["mount", "-o", "remount,rw", place], check=True)
    leftovers.stop_containers(Berth(place))
    subprocess.run(["umount", place], check=True)


@pytest.fixture
def small(berth: Berth, disk: Path) -> Berth:
    """The command with all its state on the small disk."""
    command = Berth(disk)
    command.environment = {**berth.environment, "BERTH_HOME": str(disk)}
    return command


def fill(disk: Path) -> Path:
    """Use up all the room on `disk`; return the file that holds it."""
    path = disk / "filling"
    with path.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return path


def remount(disk: Path, word: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{word}", disk], check=True)


def sentence(result: "subprocess.CompletedProcess[str]") -> str:
    assert result.returncode == 1, result
    assert result.stderr.startswith("berth: ")
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def test_a_start_on_a_full_disk_says_so(small: Berth, disk: Path, root: Path) -> None:
    filling = fill(disk)

    assert "no room is left there; free some" in sentence(small("start", NAME, "--rootfs", root))

    filling.unlink()
    assert faults.run_tree(small) == {}
    small.succeed("start", NAME, "--rootfs", root)
    small.succeed("stop", NAME)


@pytest.mark.parametrize("room", [4096, 8192, 16384, 24576, 32768, 40960, 65536])
def test_a_start_that_runs_out_of_room_half_way_is_undone(small: Berth, disk: Path, root: Path, room: int) -> None:
    files = faults.tree(root)
    small.succeed("start", NAME, "--rootfs", root)
    small.succeed("stop", NAME)
    filling = fill(disk)
    os.truncate(filling, filling.stat().st_size - room)

    result = small("start", NAME)

    if result.returncode == 0:
        assert small.succeed("run", NAME, "--", "echo", "here") == "here\n"
        small.succeed("stop", NAME)
    else:
        assert "No space left on device" in sentence(result)
        filling.unlink()
        small.succeed("recover")
    assert faults.run_tree(small) == {}
    assert faults.tree(root) == files


def test_a_container_goes_on_and_stops_when_the_disk_is_full(small: Berth, disk: Path, root: Path) -> None:
    faults.write_init(root, TALKING)
    (root / "talk").touch()
    small.succeed("start", NAME, "--rootfs", root)
    log = disk / "containers" / NAME / "log"
    faults.wait_until(lambda: log.exists() and log.stat().st_size > 10000, "it has said something")
    fill(disk)

    small.succeed("run", NAME, "--", "rm", "/talk")  # only an init whose output is drained looks whether it is there

    init = json.loads(small.succeed("info", NAME, "--json"))["pid"]
    faults.wait_until(lambda: (status_field(init, "State") or "").startswith("S"), "init has said all it had to say")
    assert small.succeed("stop", NAME) == f"{NAME}: stopped\n"
    assert faults.run_tree(small) == {}


def test_a_read_only_state_folder_is_named(small: Berth, disk: Path, root: Path) -> None:
    small.succeed("start", NAME, "--rootfs", root)
    small.succeed("stop", NAME)
    remount(disk, "ro")

    assert "Read-only file system" in sentence(small("start", NAME))
    assert "Read-only file system" in sentence(small("serve", "--background"))
    assert "Read-only file system" in sentence(small("rm", NAME, "--yes"))
    assert json.loads(small.succeed("info", NAME, "--json"))["state"] == "stopped"
    assert small.succeed("recover") == "there is nothing to recover\n"


def test_a_read_only_run_folder_is_named(small: Berth, disk: Path, root: Path) -> None:
    run = disk / "run"
    run.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,ro", "tmpfs", run], check=True)
    try:
        said = sentence(small("start", NAME, "--rootfs", root))
    finally:
        subprocess.run(["umount", run], check=True)
    assert str(run) in said
    assert "Read-only file system" in said


# Images.


def overwrite(image: Path, offset: int, data: bytes) -> None:
    with image.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def spoil_descriptors(image: Path) -> None:
    """Spoil the group descriptors, of which there are copies, while the superblock says that all is well."""
    overwrite(image, 2048, b"\xa5" * 1024)


def spoil_all(image: Path) -> None:
    """Spoil everything but the first superblock."""
    overwrite(image, 2048, b"\xa5" * (image.stat().st_size - 2048))


BAD_IMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no-file-system": (lambda image: overwrite(image, 0, bytes(1 << 20)), "no ext4"),
    "empty": (lambda image: os.truncate(image, 0), "no ext4"),
    "truncated": (lambda image: os.truncate(image, 1 << 20), "copy or download it again"),
    "another-file-system": (
        lambda image: subprocess.run(["mkswap", "--force", image], check=True, capture_output=True),
        "no ext4",
    ),
    "garbage": (lambda image: overwrite(image, 1024, b"\xa5" * 1024), "ext4"),
    "wrecked": (spoil_all, ""),
}


@pytest.mark.parametrize(("spoil", "said"), BAD_IMAGES.values(), ids=BAD_IMAGES)
@pytest.mark.parametrize("check", ["auto", "never", "always"])
def test_a_bad_image_is_refused_in_a_sentence(
    berth: Berth, image: Factory, spoil: Callable[[Path], object], said: str, check: str
) -> None:
    path = image("busybox")
    spoil(path)

    result = berth("start", NAME, "--rootfs-img", path, f"--fsck={check}")

    line = sentence(result)
    assert str(path) in line
    assert said in line
    assert faults.run_tree(berth) == {}
    assert not Path("/mnt/berth", NAME).exists()


@pytest.mark.parametrize("check", ["auto", "never"])
def test_an_image_that_the_kernel_refuses_is_refused_in_a_sentence(berth: Berth, image: Factory, check: str) -> None:
    path = image("busybox")
    spoil_descriptors(path)

    refused = berth("start", NAME, "--rootfs-img", path, f"--fsck={check}")
    assert "the kernel refuses its file system" in sentence(refused)

    assert faults.run_tree(berth) == {}


def test_an_image_that_can_be_repaired_is_repaired_and_started(berth: Berth, image: Factory) -> None:
    path = image("busybox")
    spoil_descriptors(path)

    berth.succeed("start", NAME, "--rootfs-img", path, "--fsck=always")

    assert "e2fsck repaired" in str(json.loads(berth.succeed("info", NAME, "--json"))["warnings"])
    berth.succeed("stop", NAME)
