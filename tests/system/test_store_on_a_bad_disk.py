"""The store on file systems that are full or read-only."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.errors import BerthError
from berth.home import Home
from berth.spec import Spec
from berth.store import list_names, load_spec, remove, rename, save_spec

pytestmark = pytest.mark.system

WEB = Spec(name="web", rootfs="/data/web")
LARGE = Spec(name="web", rootfs="/data/web", env={"TEXT": "x" * 200_000})


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k,mode=700", "tmpfs", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def home_on(disk: Path) -> Home:
    return Home(str(disk), str(disk / "run"))


def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(disk: Path) -> None:
    home = home_on(disk)
    save_spec(home, WEB)

    with pytest.raises(BerthError, match=r'container "web" was not saved in .*: no room is left there; free some'):
        save_spec(home, LARGE)

    assert load_spec(home, "web") == WEB
    assert os.listdir(home.container("web")) == ["container.toml"]


def test_a_full_disk_keeps_no_folder_of_a_new_container(disk: Path) -> None:
    home = home_on(disk)

    with pytest.raises(BerthError, match="no room is left there"):
        save_spec(home, LARGE)

    assert os.listdir(home.containers) == []


def test_a_read_only_disk_is_read_and_every_change_refused_in_a_sentence(disk: Path) -> None:
    home = home_on(disk)
    save_spec(home, WEB)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)

    advice = "that file system is read-only; remount it or set BERTH_HOME"
    with pytest.raises(BerthError, match=f"was not saved in .*: {advice}"):
        save_spec(home, Spec(name="web", rootfs="/other"))
    with pytest.raises(BerthError, match=f"was not saved in .*: {advice}"):
        save_spec(home, Spec(name="db", rootfs="/db"))
    with pytest.raises(BerthError, match=f"was not renamed: {advice}"):
        rename(home, "web", "www")
    with pytest.raises(BerthError, match=f"was not removed: {advice}"):
        remove(home, "web")

    assert list_names(home) == ("web",)
    assert load_spec(home, "web") == WEB
