"""Reading the containers of Droidspaces."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berth.droidspaces import Imported, convert, is_droidspaces, load_conf, parse
from berth.errors import BerthError, UsageError
from berth.spec import Bind, Spec, checked
from berth.store import to_toml

CONFIG = """\
# Droidspaces Container Configuration
# Generated automatically - Changes may be overwritten

name=My Debian
hostname=debian
rootfs_path={root}
disable_ipv6=0
enable_android_storage=1
enable_hw_access=1
enable_gpu_mode=0
volatile_mode=0
force_cgroupv1=1
block_nested_ns=1
memory_limit=1073741824
cpu_quota=150000
cpu_period=100000
pids_limit=500
privileged=nomask,shared,unfiltered-dev
foreground=0
net_mode=none
env_file=.env
uuid=0123456789abcdef
custom_init=/lib/systemd/systemd
dns_servers=9.9.9.9, 1.1.1.1
bind_mounts=/sdcard:/mnt/sdcard,/data/x:/srv:ro
run_at_boot=1
run_at_boot_priority=3
tx11_extra_flags=-legacy=1
"""


def imported(keys: dict[str, str], *, net_chosen: bool = False) -> Imported:
    entries = {"name": "x", "rootfs_path": "/r", **keys}
    return convert(entries, "/d/container.config", is_image=lambda path: False, net_chosen=net_chosen)


def test_a_whole_file_is_read_and_the_rest_is_kept(tmp_path: Path) -> None:
    image = tmp_path / "debian.img"
    image.touch()
    config = tmp_path / "container.config"
    config.write_text(CONFIG.format(root=image))
    (tmp_path / ".env").write_text("export LANG='C.UTF-8'\n")

    read = load_conf(str(config))

    assert read.spec == Spec(
        name="My-Debian",
        hostname="debian",
        image=str(image),
        init="/lib/systemd/systemd",
        net="none",
        binds=(Bind("/sdcard", "/mnt/sdcard"), Bind("/data/x", "/srv", True)),
        env={"LANG": "C.UTF-8"},
        dns=("9.9.9.9", "1.1.1.1"),
        memory=1 << 30,
        cpus=1.5,
        pids_limit=500,
        privileged=("nomask", "unfiltered-dev"),
        hw_access=True,
        force_cgroupv1=True,
        block_nested_namespaces=True,
        autostart=True,
        extra={
            "enable_android_storage": "1",
            "enable_gpu_mode": "0",
            "volatile_mode": "0",
            "foreground": "0",
            "uuid": "0123456789abcdef",
            "run_at_boot_priority": "3",
            "tx11_extra_flags": "-legacy=1",
            "privileged": "nomask,shared,unfiltered-dev",
        },
    )
    assert read.kept == tuple(sorted(read.spec.extra))
    assert checked(read.spec) == read.spec


def test_a_root_that_is_a_folder_is_no_image(tmp_path: Path) -> None:
    config = tmp_path / "container.config"
    config.write_text(f"rootfs_path={tmp_path}\n")

    read = load_conf(str(config))

    assert (read.spec.rootfs, read.spec.image) == (str(tmp_path), None)
    assert read.spec.name == tmp_path.name.lstrip("_")


def test_a_root_that_is_not_there_is_told_by_its_name(tmp_path: Path) -> None:
    config = tmp_path / "container.config"
    config.write_text("rootfs_path=/nowhere/debian.img\n")

    assert load_conf(str(config)).spec == Spec(name="debian", image="/nowhere/debian.img")


def test_an_env_file_that_is_gone_is_kept_by_name(tmp_path: Path) -> None:
    config = tmp_path / "container.config"
    config.write_text("name=x\nrootfs_path=/r\nenv_file=/nowhere/.env\n")

    read = load_conf(str(config))

    assert (read.spec.env, read.spec.extra, read.kept) == ({}, {"env_file": "/nowhere/.env"}, ("env_file",))


def test_berths_own_file_is_told_apart(tmp_path: Path) -> None:
    saved = Spec(name="x", rootfs="/r", extra={"net_mode": "nat", "rootfs_path": "/old", "uuid": "1"})
    config = tmp_path / "container.toml"
    config.write_text(to_toml(saved))

    assert load_conf(str(config)) == Imported(saved)


@pytest.mark.parametrize(
    ("text", "droidspaces"),
    [
        ("name=x\nrootfs_path=/r\n", True),
        ("enable_hw_access=1\n", True),
        (CONFIG, True),
        ('name = "x"\nrootfs = "/r"\n', False),
        ('name = "x\nrootfs = "/r"\n', False),
        ('name = "x\nrootfs = "/r"\n[extra]\nnet_mode = "nat"\n', False),
        ("", False),
    ],
)
def test_the_content_tells_the_format(text: str, droidspaces: bool) -> None:
    assert is_droidspaces(text) is droidspaces


def test_a_gateway_is_taken_over() -> None:
    keys = {"net_mode": "gateway", "gateway_container": "wrt", "gateway_net": "iot", "gateway_lan_ifname": "eth2"}

    read = imported(keys)

    assert (read.spec.net, read.spec.gateway) == ("gateway", "wrt")
    assert (read.spec.gateway_net, read.spec.gateway_iface, read.kept) == ("iot", "eth2", ())


@pytest.mark.parametrize(("mode", "without", "kept"), [("nat", True, ()), ("host", False, ("disable_ipv6",))])
def test_ipv6_is_switched_off_in_a_network_of_its_own_only(mode: str, without: bool, kept: tuple[str, ...]) -> None:
    read = imported({"net_mode": mode, "disable_ipv6": "1"})

    assert (read.spec.disable_ipv6, read.kept) == (without, kept)


@pytest.mark.parametrize("mode", ["bridge", "macvlan"])
def test_a_network_that_berth_lacks_must_be_chosen_anew(mode: str) -> None:
    with pytest.raises(UsageError, match=f"net_mode={mode} comes in a later version; add --net=host, nat or none"):
        imported({"net_mode": mode})

    read = imported({"net_mode": mode}, net_chosen=True)

    assert (read.spec.net, read.kept) == ("host", ("net_mode",))


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"memory_limit": "much"}, 'memory_limit "much": this is no whole number; write one such as 100'),
        ({"memory_limit": "-1"}, 'memory_limit "-1": this is no whole number'),
        ({"cpu_quota": "1"}, "cpu_quota 1e-05: the limit is a number of processors from 0.01 up"),
        ({"pids_limit": "9999999999"}, "pids_limit 9999999999: the limit is a number of processes"),
        ({"bind_mounts": "/a"}, 'bind_mounts "/a": a bind is written SRC:DST'),
        ({"bind_mounts": "/a:/../b"}, 'bind_mounts "/../b": .. is refused'),
        ({"dns_servers": "router"}, 'dns_servers "router": this is no address'),
        ({"custom_init": "init"}, 'custom_init "init": the path must be absolute'),
        ({"hostname": "a_b"}, 'hostname "a_b": a host name has letters'),
        ({"name": "a/b"}, 'name "a/b": a container\'s name has letters'),
    ],
)
def test_a_bad_value_is_named_with_its_key(keys: dict[str, str], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        imported(keys)

    assert str(error.value).startswith(f"/d/container.config: {sentence}")


def test_a_line_without_a_value_is_named() -> None:
    with pytest.raises(UsageError, match='f, line 2: "nonsense" is no key=value; correct or remove it'):
        parse("a=1\nnonsense\n", "f")


def test_zero_and_empty_mean_no_limit() -> None:
    read = imported({"memory_limit": "0", "pids_limit": "0", "cpu_quota": "0"})

    assert (read.spec.memory, read.spec.pids_limit, read.spec.cpus) == (None, None, None)
    assert parse("hostname=\n", "f") == {}


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match='"/nowhere/f" can\'t be read: No such file or directory'):
        load_conf("/nowhere/f")


KEYS = st.sampled_from([line.partition("=")[0] for line in CONFIG.split("\n") if "=" in line])
LINES = st.lists(st.tuples(KEYS | st.text(max_size=5), st.text(max_size=12)).map("=".join), max_size=6)


@settings(deadline=None)
@given(LINES)
def test_no_file_fails_but_by_a_sentence(lines: list[str]) -> None:
    sentence = ""
    try:
        found = parse("\n".join(["name=x", "rootfs_path=/r", *lines]), "f")
        spec = convert(found, "/f", is_image=lambda path: path.endswith("g")).spec
        spec = checked(spec)
    except BerthError as error:
        sentence = str(error)
    else:
        assert set(spec.extra) <= set(found)
    assert "\n" not in sentence
