"""Containers on disk that get another name, or are forgotten."""

import os
from pathlib import Path

import msgspec
import pytest

from berth.errors import BerthError
from berth.home import Home, find_home
from berth.spec import Spec
from berth.store import list_names, load_spec, remove, rename, save_spec

WEB = Spec(name="web", rootfs="/data/web", memory=1 << 30)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return find_home({"BERTH_HOME": str(tmp_path / "state")})


def test_a_renamed_container_keeps_everything_and_others_still_wait_for_it(home: Home) -> None:
    save_spec(home, WEB)
    Path(home.log("web")).write_text("log")
    save_spec(home, Spec(name="app", rootfs="/app", autostart=True, start_after=("web", "db")))
    save_spec(home, Spec(name="client", rootfs="/client", net="gateway", gateway="web"))

    rename(home, "web", "www")

    assert list_names(home) == ("app", "client", "www")
    assert load_spec(home, "www") == msgspec.structs.replace(WEB, name="www")
    assert 'name = "www"' in Path(home.spec("www")).read_text()
    assert Path(home.log("www")).read_text() == "log"
    assert load_spec(home, "app").start_after == ("www", "db")
    assert load_spec(home, "client").gateway == "www"


def test_a_rename_is_whole_beside_a_container_whose_file_is_damaged(home: Home) -> None:
    save_spec(home, WEB)
    for name in ("app", "zoo"):
        save_spec(home, Spec(name=name, rootfs="/app", autostart=True, start_after=("web",)))
    Path(home.container("damaged")).mkdir()
    Path(home.spec("damaged")).write_text("memory = ")

    rename(home, "web", "www")

    assert {load_spec(home, name).start_after for name in ("app", "zoo")} == {("www",)}


def test_a_rename_cut_short_still_has_the_new_name(home: Home) -> None:
    save_spec(home, WEB)
    os.rename(home.container("web"), home.container("www"))

    assert load_spec(home, "www").name == "www"


def test_a_rename_never_takes_another_ones_place(home: Home) -> None:
    save_spec(home, WEB)
    save_spec(home, Spec(name="db", rootfs="/db"))

    with pytest.raises(BerthError, match='there is a container "db" already; choose another name or remove that one'):
        rename(home, "web", "db")
    with pytest.raises(BerthError, match='there is no container "nix"'):
        rename(home, "nix", "new")

    assert load_spec(home, "web") == WEB
    assert load_spec(home, "db").rootfs == "/db"


def test_a_removed_container_is_gone_and_what_it_links_to_is_not(home: Home, tmp_path: Path) -> None:
    outside = tmp_path / "rootfs"
    outside.mkdir()
    (outside / "file").touch()
    save_spec(home, WEB)
    os.symlink(outside, f"{home.container('web')}/link")

    remove(home, "web")

    assert os.listdir(home.containers) == []
    assert (outside / "file").exists()
    with pytest.raises(BerthError, match='there is no container "web"'):
        remove(home, "web")


def test_a_removal_cut_short_is_finished_by_the_next(home: Home) -> None:
    save_spec(home, WEB)
    os.mkdir(home.container(".web.removed"))

    remove(home, "web")

    assert os.listdir(home.containers) == []
