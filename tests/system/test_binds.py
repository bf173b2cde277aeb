"""What of the host's files is shown inside, and that a hostile rootfs can't have it shown anywhere else."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import quick
from tests.program import Berth

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]


@pytest.fixture
def root(rootfs: Factory) -> Path:
    return rootfs("busybox")


@pytest.fixture
def shown(scratch: Path) -> Path:
    """A folder of the host's with a file in it."""
    folder = scratch / "shown"
    folder.mkdir()
    (folder / "file").write_text("of the host\n")
    return folder


def test_a_folder_is_shown_and_writable(berth: Berth, root: Path, shown: Path) -> None:
    quick.start(berth, root, "-B", f"{shown}:/mnt/data")

    assert quick.shell(berth, "cat /mnt/data/file; echo new > /mnt/data/made") == "of the host"

    assert (shown / "made").read_text() == "new\n"
    berth.succeed("stop", "quay")


def test_a_read_only_bind_can_not_be_written_to_nor_can_what_is_mounted_below_it(
    berth: Berth, root: Path, shown: Path
) -> None:
    (shown / "below").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", shown / "below"], check=True)
    try:
        quick.start(berth, root, "-B", f"{shown}:/mnt/data:ro")
        for path in ("/mnt/data/made", "/mnt/data/below/made"):
            refused = berth("run", "quay", "--", "touch", path)
            assert "Read-only file system" in refused.stderr
        assert quick.inside(berth, "cat", "/mnt/data/file") == "of the host"
        berth.succeed("stop", "quay")
    finally:
        subprocess.run(["umount", shown / "below"], check=True)
    (shown / "made").touch()  # out here it is as writable as before


def test_a_single_file_is_shown(berth: Berth, root: Path, shown: Path) -> None:
    quick.start(berth, root, "-B", f"{shown}/file:/etc/from-host", "-B", f"{shown}/file:/etc/fixed:ro")

    assert quick.inside(berth, "cat", "/etc/from-host") == "of the host"
    assert "Read-only" in berth("run", "quay", "--", "sh", "-c", "echo x > /etc/fixed").stderr
    berth.succeed("stop", "quay")


def test_comma_lists_and_repeats_mean_the_same(berth: Berth, root: Path, shown: Path) -> None:
    flags = ("-B", f"{shown}:/mnt/a,{shown}/file:/mnt/b:ro", f"--bind-mount={shown}:/mnt/c")
    quick.start(berth, root, *flags)

    assert quick.shell(berth, "cat /mnt/a/file /mnt/b /mnt/c/file").splitlines() == ["of the host"] * 3
    berth.succeed("stop", "quay")


def test_a_missing_source_is_skipped_told_at_the_start_and_shown(berth: Berth, root: Path, shown: Path) -> None:
    said = berth(
        "start", "quay", "--rootfs", root, "--init", quick.write_init(root), "-B", f"/no/such:/mnt/x,{shown}:/mnt/y"
    )

    assert said.returncode == 0
    assert "/no/such" in said.stdout + said.stderr
    assert "No such file" in said.stdout + said.stderr
    [skipped] = quick.info(berth)["skipped"]
    assert "/no/such" in skipped
    assert quick.shell(berth, "ls /mnt") == "y"
    berth.succeed("stop", "quay")


def test_a_destination_is_made_and_removed_after_the_stop(berth: Berth, root: Path, shown: Path) -> None:
    quick.start(berth, root, "-B", f"{shown}:/srv/one/two,{shown}/file:/srv/three")

    assert quick.shell(berth, "cat /srv/one/two/file /srv/three").splitlines() == ["of the host"] * 2
    berth.succeed("stop", "quay")

    assert not (root / "srv").exists()


def test_a_destination_that_was_there_or_is_used_by_then_stays(berth: Berth, root: Path, shown: Path) -> None:
    (root / "srv/mine").mkdir(parents=True)
    quick.start(berth, root, "-B", f"{shown}:/srv/mine,{shown}:/opt/made")
    quick.shell(berth, "echo kept > /opt/note")

    berth.succeed("stop", "quay")

    assert (root / "srv/mine").is_dir()
    assert os.listdir(root / "srv/mine") == []
    assert not (root / "opt/made").exists()
    assert (root / "opt/note").read_text() == "kept\n"


@pytest.mark.parametrize("bind", ["{}:/mnt/../../x", "{}:/..", "{}:relative", "{}:/"])
def test_a_destination_that_leads_upwards_or_is_none_is_refused(
    berth: Berth, root: Path, shown: Path, bind: str
) -> None:
    refused = berth("start", "quay", "--rootfs", root, "-B", bind.format(shown))

    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
    assert "--bind-mount" in refused.stderr


@pytest.fixture
def outside(scratch: Path) -> Iterator[Path]:
    """A folder of the host's beside the rootfs, that must stay as it is."""
    folder = scratch / "outside"
    folder.mkdir()
    (folder / "precious").write_text("as it was\n")
    yield folder
    assert sorted(os.listdir(folder)) == ["precious"]
    assert (folder / "precious").read_text() == "as it was\n"


@pytest.mark.parametrize("file", [False, True])
@pytest.mark.parametrize(
    "points_to",
    [
        "/",
        "..",
        "../" * 20 + "{outside}",
        "{outside}",
        "/proc/1/root{outside}",
        "/proc/self/root{outside}",
        "/proc/self/cwd",
        "loop",
    ],
)
def test_a_link_at_the_destination_does_not_lead_out_of_the_rootfs(
    berth: Berth, root: Path, shown: Path, outside: Path, *, points_to: str, file: bool
) -> None:
    (root / "hole").symlink_to(points_to.format(outside=outside))
    (root / "loop").symlink_to("hole")
    before = sorted(os.listdir(root.parent))
    source = shown / "file" if file else shown

    started = berth(
        "start", "quay", "--rootfs", root, "--init", quick.write_init(root), "-B", f"{source}:/hole,{source}:/hole/in"
    )

    assert sorted(os.listdir(root.parent)) == before
    assert str(root.parent) not in Path("/proc/self/mountinfo").read_text()
    assert sorted(os.listdir(outside)) == ["precious"]
    if started.returncode == 0:
        monitor = Path(f"/proc/{quick.info(berth)['monitor_pid']}/mountinfo").read_text()
        assert str(outside) not in monitor
        assert str(shown) not in monitor
        berth.succeed("stop", "quay")
    assert (root / "hole").readlink() == Path(points_to.format(outside=outside))


def test_a_volume_that_is_mounted_on_the_host_later_appears_inside(berth: Berth, root: Path, shown: Path) -> None:
    (shown / "card").mkdir()
    subprocess.run(["mount", "--bind", shown, shown], check=True)  # only a shared mount propagates, as / is on a phone
    try:
        subprocess.run(["mount", "--make-shared", shown], check=True)
        quick.start(berth, root, "-B", f"{shown}:/mnt/data")
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", shown / "card"], check=True)
        (shown / "card/photo").write_text("a photo\n")
        assert quick.inside(berth, "cat", "/mnt/data/card/photo") == "a photo"

        quick.shell(berth, "mkdir /mnt/data/card/x; mount -t tmpfs inner /mnt/data/card/x; touch /mnt/data/card/x/in")
        assert os.listdir(shown / "card/x") == []  # not the other way round
        quick.inside(berth, "umount", "/mnt/data/card/x")

        subprocess.run(["umount", shown / "card"], check=True)
        assert quick.shell(berth, "ls /mnt/data/card") == ""
        berth.succeed("stop", "quay")
    finally:
        subprocess.run(["umount", "--recursive", shown], check=True)
