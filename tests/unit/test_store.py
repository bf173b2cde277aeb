"""The containers on disk."""

import errno
import os
import stat
import string
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from berth import store
from berth.errors import BerthError, UsageError
from berth.home import Home, find_home
from berth.rules import CAPABILITIES
from berth.spec import HOOK_STAGES, PRIVILEGES, Bind, Hook, Port, Spec, checked
from berth.store import list_names, load_spec, migrate, remove, rename, save_spec, spec_from_toml, to_toml

WEB = Spec(name="web", rootfs="/data/web", memory=1 << 30, binds=(Bind("/a", "/b", True),), env={"A": 'x "y"\n'})


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return find_home({"BERTH_HOME": str(tmp_path / "state")})


def write(home: Home, name: str, text: str) -> str:
    path = Path(home.spec(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_a_saved_container_is_read_back(home: Home) -> None:
    save_spec(home, WEB)

    assert load_spec(home, "web") == WEB
    assert list_names(home) == ("web",)


def test_only_root_may_look(home: Home) -> None:
    save_spec(home, WEB)

    folders = [home.state, home.containers, home.container("web")]
    assert [stat.S_IMODE(os.stat(folder).st_mode) for folder in folders] == [0o700] * 3
    assert stat.S_IMODE(os.stat(home.spec("web")).st_mode) == 0o600


VERSION_1 = b"""\
version = 1
name = "web"
image = "/data/local/web.img"
hostname = "quay"
init = "/usr/lib/systemd/systemd"
net = "nat"
ip = "172.28.0.9"
upstream = ["wlan0", "rmnet*"]
isolated = true
bridge = true
disable_ipv6 = true
dns = ["9.9.9.9", "2620:fe::fe"]
memory = 1073741824
cpus = 1.5
pids_limit = 500
privileged = ["nomask", "unfiltered-dev"]
cap_add = ["CAP_SYS_TIME"]
cap_drop = ["CAP_MKNOD"]
block_nested_namespaces = true
keyring_filter = true
force_cgroupv1 = true
hw_access = true
keep_groups = true
fsck = "always"
autostart = true
start_after = ["db"]

[[ports]]
host = 8080
container = 80
count = 2
protocol = "udp"
bind = "127.0.0.1"

[[binds]]
source = "/sdcard/Download"
destination = "/mnt/download"
read_only = true

[env]
LANG = "C.UTF-8"

[[hooks]]
stage = "prestart"
path = "/data/adb/prepare"

[extra]
enable_termux_x11 = "1"
"""
"""What the first version writes, byte for byte: never to be changed, whatever later versions make of it."""


def test_what_the_first_version_wrote_is_read_by_every_later_one(home: Home) -> None:
    write(home, "web", VERSION_1.decode())

    assert load_spec(home, "web") == Spec(
        name="web",
        image="/data/local/web.img",
        hostname="quay",
        init="/usr/lib/systemd/systemd",
        net="nat",
        ip="172.28.0.9",
        ports=(Port(8080, 80, 2, "udp", "127.0.0.1"),),
        upstream=("wlan0", "rmnet*"),
        isolated=True,
        bridge=True,
        disable_ipv6=True,
        binds=(Bind("/sdcard/Download", "/mnt/download", True),),
        env={"LANG": "C.UTF-8"},
        dns=("9.9.9.9", "2620:fe::fe"),
        memory=1 << 30,
        cpus=1.5,
        pids_limit=500,
        privileged=("nomask", "unfiltered-dev"),
        cap_add=("CAP_SYS_TIME",),
        cap_drop=("CAP_MKNOD",),
        block_nested_namespaces=True,
        keyring_filter=True,
        force_cgroupv1=True,
        hw_access=True,
        keep_groups=True,
        fsck="always",
        hooks=(Hook("prestart", "/data/adb/prepare"),),
        autostart=True,
        start_after=("db",),
        extra={"enable_termux_x11": "1"},
    )


def test_the_file_always_says_its_version(home: Home) -> None:
    assert to_toml(WEB).startswith("version = 1\n")


def test_a_file_without_a_version_is_of_the_first(home: Home) -> None:
    write(home, "web", 'name = "web"\nrootfs = "/r"\n')

    assert load_spec(home, "web") == Spec(name="web", rootfs="/r")


def test_saving_replaces_the_file_and_leaves_nothing_beside_it(home: Home) -> None:
    save_spec(home, WEB)
    save_spec(home, Spec(name="web", rootfs="/other"))

    assert load_spec(home, "web").rootfs == "/other"
    assert os.listdir(home.container("web")) == ["container.toml"]


def test_saving_the_same_again_does_not_write(home: Home) -> None:
    save_spec(home, WEB)
    before = os.stat(home.spec("web"))

    save_spec(home, WEB)

    assert os.stat(home.spec("web")) == before


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('name = "web', "this is not TOML ("),
        ("a = " + "[" * 5000, "this is not TOML ("),
        ("a = " + "9" * 5000, "this is not TOML ("),
        ("a = 1\na = 2", "this is not TOML ("),
        ('rootfs = "/r"', "the file is wrong (object missing required field name); correct it there"),
        ('name = "web"', "rootfs and image: a container has one root; give exactly one of the two"),
        ('name = "web"\nrootfs = "/r"\nmemroy = 1', '"memroy" is no key of a container; did you mean memory?'),
        ('name = "web"\nrootfs = "/r"\nzzz = 1', '"zzz" is no key of a container; remove it, or move it to the table'),
        (
            'name = "web"\nrootfs = "/r"\nmemory = "1G"',
            "memory is wrong (expected a whole number, got text in quotes); correct it there",
        ),
        (
            'name = "web"\nrootfs = "/r"\nmemory = 1.5',
            "memory is wrong (expected a whole number, got a number that is not whole); correct it there",
        ),
        (
            'name = "web"\nrootfs = "/r"\n[[binds]]\nsource = "/a"\ndestination = "/b"\nstr = 1',
            "binds[0] is wrong (object contains unknown field str); correct it there",
        ),
        ('name = "web"\nrootfs = "/r"\nmemory = 1', "memory 1: nothing runs in under 1M"),
        ('name = "web"\nrootfs = "/r"\nmemory = 99999999999999999999', "memory"),
        ('name = "web"\nrootfs = "/r"\ncpus = inf', "cpus inf: the limit is a number of processors"),
        ('name = "web"\nrootfs = "/r"\nnet = "wifi"', "net is wrong (invalid enum value 'wifi'); correct it there"),
        ('name = "web"\nrootfs = "/r"\nenv = 1979-05-27', "env is wrong (expected a table, got"),
        ('name = "web"\nrootfs = "/r"\n[[binds]]\nsource = "/a"', "binds[0] is wrong (object missing required field"),
        (
            'name = "web"\nrootfs = "/r"\n[[binds]]\nsource = "/a"\ndestination = "/../b"',
            'binds "/../b": .. is refused',
        ),
        ('version = 2\nname = "web"', "a later Berth wrote this (version 2, this one reads up to 1); update Berth"),
        ('version = "1"', "version must be a whole number from 1 to 1; correct it there"),
        ("version = true", "version must be a whole number from 1 to 1; correct it there"),
        ("version = 0", "version must be a whole number from 1 to 1; correct it there"),
    ],
)
def test_a_broken_file_is_named_with_its_key(home: Home, text: str, sentence: str) -> None:
    path = write(home, "web", text)

    with pytest.raises(BerthError) as error:
        load_spec(home, "web")

    assert str(error.value).startswith(f"{path}: {sentence}")
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_text_is_named(home: Home) -> None:
    path = write(home, "web", "")
    Path(path).write_bytes(b"\xff\xfe")

    with pytest.raises(
        BerthError, match=r"container\.toml: it can't be read: it is not text in UTF-8; give a text file"
    ):
        load_spec(home, "web")


def test_a_missing_container_names_the_nearest(home: Home) -> None:
    with pytest.raises(BerthError, match='there is no container "wbe"; "berth list" shows those there are'):
        load_spec(home, "wbe")
    save_spec(home, WEB)
    with pytest.raises(BerthError, match=r'there is no container "wbe"; did you mean web\?'):
        load_spec(home, "wbe")


@pytest.mark.parametrize("name", ["../web", "", ".web", "a/b"])
def test_no_name_leads_out_of_the_folder(home: Home, name: str) -> None:
    save_spec(home, WEB)
    for act in (load_spec, remove):
        with pytest.raises(UsageError, match="a container's name has"):
            act(home, name)
    with pytest.raises(UsageError, match="a container's name has"):
        rename(home, "web", name)
    assert list_names(home) == ("web",)


def test_migrations_run_one_after_the_other(home: Home) -> None:
    steps = {
        1: lambda document: {**document, "one": True},
        2: lambda document: {**document, "two": document["one"]},
    }

    assert migrate({"name": "x"}, "f", steps, 3) == {"name": "x", "one": True, "two": True, "version": 3}
    assert migrate({"version": 2, "one": 5}, "f", steps, 3) == {"one": 5, "two": 5, "version": 3}


def test_a_spec_that_could_not_be_read_back_is_not_written(home: Home) -> None:
    save_spec(home, WEB)
    before = Path(home.spec("web")).read_bytes()

    with pytest.raises(UsageError):
        save_spec(home, Spec(name="web", rootfs="relative"))

    assert Path(home.spec("web")).read_bytes() == before


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "no room is left there; free some and try again"),
        (errno.EROFS, "that file system is read-only; remount it or set BERTH_HOME to another folder"),
        (errno.EIO, "the storage reports an error; copy your data away and check it"),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_disk_that_refuses_leaves_the_old_file(
    home: Home, monkeypatch: pytest.MonkeyPatch, number: int, advice: str, call: str
) -> None:
    save_spec(home, WEB)

    def refuse(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(BerthError) as error:
        save_spec(home, Spec(name="web", rootfs="/other"))

    assert str(error.value) == f'container "web" was not saved in {home.container("web")}: {advice}'
    assert load_spec(home, "web") == WEB
    assert os.listdir(home.container("web")) == ["container.toml"]


def test_a_failed_first_save_leaves_no_folder(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(BerthError, match="no room is left"):
        save_spec(home, WEB)

    assert os.listdir(home.containers) == []


def test_a_file_left_by_a_crash_does_no_harm(home: Home) -> None:
    save_spec(home, WEB)
    Path(f"{home.spec('web')}.new").write_text("half of someth")

    assert load_spec(home, "web") == WEB
    save_spec(home, Spec(name="web", rootfs="/other"))
    assert os.listdir(home.container("web")) == ["container.toml"]


def test_folders_without_a_file_are_no_containers(home: Home) -> None:
    save_spec(home, WEB)
    os.mkdir(home.container("empty"))
    os.mkdir(home.container(".db.removed"))
    Path(home.containers, "file").touch()

    assert list_names(home) == ("web",)


def test_a_fresh_device_has_no_containers(home: Home) -> None:
    assert list_names(home) == ()


def test_how_a_container_ended_is_remembered(home: Home) -> None:
    save_spec(home, WEB)
    assert store.last_end(home, "web") is None

    store.remember_end(home, "web", "powered off")

    assert store.last_end(home, "web") == "powered off"
    Path(home.container("web"), "last-end").write_text("")  # as a crash leaves it
    assert store.last_end(home, "web") is None


def test_a_file_the_user_named_wrongly_is_named_in_the_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a long path is shown cut
    with pytest.raises(UsageError, match='"nix" can\'t be read: No such file or directory'):
        store.read_text("nix")
    with pytest.raises(UsageError, match="can't be read: Is a directory"):
        store.read_text(str(tmp_path))


def test_the_home_is_where_the_environment_says(tmp_path: Path) -> None:
    chosen = find_home({"BERTH_HOME": "/x//y/"})

    assert (chosen.state, chosen.run) == ("/x/y", "/x/y/run")
    assert find_home({}).state in ("/var/lib/berth", "/data/adb/berth")


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
PATHS = st.lists(st.text("abc ä:,.'\"\\#=", min_size=1, max_size=6), min_size=1, max_size=4).map("/".join)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
KEYS = st.text(string.ascii_letters + "_", min_size=1, max_size=8)
CAPS = st.lists(st.sampled_from(CAPABILITIES).map(lambda name: f"CAP_{name}"), max_size=3).map(tuple)


def absolute(path: str) -> str:
    parts = [part for part in path.split("/") if part not in (".", "..")]
    return "/" + "/".join(parts or ["x"])


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    paths = PATHS.map(absolute)
    root: dict[str, Any] = {draw(st.sampled_from(["rootfs", "image"])): draw(paths)}  # Any: one of two keywords
    return Spec(
        name=draw(NAMES),
        hostname=draw(st.none() | st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)),
        init=draw(paths),
        net=draw(st.sampled_from(["host", "none"])),
        binds=tuple(
            draw(st.lists(st.builds(Bind, paths, paths, st.booleans()), max_size=3, unique_by=lambda b: b.destination))
        ),
        env=draw(st.dictionaries(KEYS, TEXT, max_size=3)),
        dns=tuple(draw(st.lists(st.ip_addresses().map(str), max_size=2))),
        memory=draw(st.none() | st.integers(1 << 20, (1 << 63) - 1)),
        cpus=draw(st.none() | st.floats(0.01, 8192)),
        pids_limit=draw(st.none() | st.integers(16, 1 << 22)),
        privileged=tuple(draw(st.lists(st.sampled_from(PRIVILEGES), unique=True))),
        cap_add=draw(CAPS),
        cap_drop=draw(CAPS),
        block_nested_namespaces=draw(st.booleans()),
        keyring_filter=draw(st.booleans()),
        force_cgroupv1=draw(st.booleans()),
        keep_groups=draw(st.booleans()),
        oom_score_adj=draw(st.none() | st.integers(-1000, 1000)),
        wakelock=draw(st.sampled_from(["never", "running", "charging"])),
        selinux_permissive=draw(st.booleans()),
        hw_access=draw(st.booleans()),
        fsck=draw(st.sampled_from(["auto", "always", "never"])),
        hooks=tuple(draw(st.lists(st.builds(Hook, st.sampled_from(HOOK_STAGES), paths), max_size=2))),
        autostart=draw(st.booleans()),
        start_after=tuple(draw(st.lists(NAMES.map(lambda name: f"0{name[:60]}"), max_size=2))),
        extra=draw(st.dictionaries(TEXT, TEXT, max_size=3)),
        **root,
    )


@settings(deadline=None)
@given(specs().filter(lambda spec: spec.name not in spec.start_after))
def test_every_spec_survives_its_file(spec: Spec) -> None:
    assert checked(spec) == spec
    assert spec_from_toml(to_toml(spec), "container.toml") == spec


VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats() | TEXT | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(Spec.__struct_fields__) | TEXT, VALUES, max_size=4))
def test_no_document_fails_but_by_a_sentence(document: dict[str, object]) -> None:
    text = tomli_w.dumps({"name": "x", "rootfs": "/r", **document})
    sentence = "container.toml: "
    try:
        spec = spec_from_toml(text, "container.toml")
    except BerthError as error:
        sentence = str(error)
    else:
        assert checked(spec) == spec
    assert sentence.startswith("container.toml: ")
    assert "\n" not in sentence


@settings(deadline=None)
@given(st.text())
def test_no_text_fails_but_by_a_sentence(text: str) -> None:
    with pytest.raises(BerthError, match=r"^container.toml: ") as error:
        spec_from_toml(text, "container.toml")
    assert "\n" not in str(error.value)
