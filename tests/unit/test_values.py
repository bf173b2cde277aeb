"""What flags mean: values, the Spec they make, and a sentence for each bad one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berth import rules, values
from berth.cli import specs
from berth.cli.flags import parse
from berth.cli.table import COMMANDS, Flag
from berth.errors import UsageError
from berth.spec import Bind, Hook, Port, Spec, StartOptions, checked

FILES = {"vars": "# comment\n\nA=1\nexport B='two words'\nC=\n", "bad": "A=1\nnonsense\n"}


def asked(line: str, saved: Spec | None = None) -> Spec:
    return specs.spec_from(parse(line.split()), saved, directory="/home/me", read=FILES.__getitem__)


def start(line: str) -> tuple[Spec, StartOptions]:
    invocation = parse(["start", *line.split()])
    spec = specs.spec_from(invocation, SAVED, directory="/home/me", read=FILES.__getitem__)
    return spec, specs.start_options(invocation)


SAVED = Spec(
    name="x",
    rootfs="/r",
    memory=1 << 30,
    binds=(Bind("/a", "/b"),),
    env={"A": "1"},
    dns=("1.1.1.1",),
    hw_access=True,
    init="/bin/sh",
    extra={"gpu": "1"},
)


@pytest.mark.parametrize(
    ("text", "size"),
    [("512M", 512 << 20), ("1G", 1 << 30), ("1.5g", 3 << 29), ("2GiB", 2 << 30), ("2048kb", 2 << 20), ("1T", 1 << 40),
     ("1048576", 1 << 20), ("0.5G", 1 << 29), ("8388607T", 8388607 << 40)],
)  # fmt: skip
def test_a_size_is_read_in_powers_of_1024(text: str, size: int) -> None:
    assert values.size("--memory", text) == size


@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ("--hostname my-phone.lan", {"hostname": "my-phone.lan"}),
        ("--init /lib/systemd/systemd", {"init": "/lib/systemd/systemd"}),
        ("--net none", {"net": "none"}),
        ("--fsck never", {"fsck": "never"}),
        ("-m 2G", {"memory": 2 << 30}),
        ("-m none", {"memory": None}),
        ("--cpus 1.5", {"cpus": 1.5}),
        ("--pids-limit 100", {"pids_limit": 100}),
        ("-B /s:/d:ro,t//u/.:/e//f/", {"binds": (Bind("/s", "/d", True), Bind("/home/me/t/u", "/e/f"))}),
        ("-B /s:/d:rw -B /s:/d", {"binds": (Bind("/s", "/d"),)}),
        ("-B none", {"binds": ()}),
        ("--env B=2 --env C=a=b,c", {"env": {"B": "2", "C": "a=b,c"}}),
        ("--env-file vars --env A=3", {"env": {"A": "3", "B": "two words", "C": ""}}),
        ("--env none", {"env": {}}),
        ("--dns 9.9.9.9,2620:fe:0::00fe", {"dns": ("9.9.9.9", "2620:fe::fe")}),
        ("--dns fe80::1%wlan0", {"dns": ("fe80::1%wlan0",)}),
        ("--net nat --ip 172.28.0.9", {"net": "nat", "ip": "172.28.0.9"}),
        ("--port 8080:80,53/udp", {"ports": (Port(8080, 80), Port(53, 53, protocol="udp"))}),
        ("--port 1000-1009:2000-2009/tcp", {"ports": (Port(1000, 2000, 10),)}),
        ("--port 127.0.0.1:8080:80", {"ports": (Port(8080, 80, bind="127.0.0.1"),)}),
        ("--port [0::1]:8080:80", {"ports": (Port(8080, 80, bind="::1"),)}),
        ("--port none", {"ports": ()}),
        ("--upstream wlan0,rmnet*", {"upstream": ("wlan0", "rmnet*")}),
        ("--lan", {"net": "lan"}),
        ("--net lan --ip 192.0.2.9 --lan-iface wl*", {"net": "lan", "ip": "192.0.2.9", "lan_iface": "wl*"}),
        ("--net gateway --gateway wrt", {"net": "gateway", "gateway": "wrt"}),
        ("--gateway-net iot --gateway-iface eth2", {"gateway_net": "iot", "gateway_iface": "eth2"}),
        ("--isolated --disable-ipv6", {"isolated": True, "disable_ipv6": True}),
        ("--bridge", {"bridge": True}),
        ("--bandwidth-down 2M --bandwidth-up 500K", {"bandwidth_down": 2 << 20, "bandwidth_up": 500 << 10}),
        ("--bandwidth-down none", {"bandwidth_down": None}),
        ("--privileged noseccomp,nomask", {"privileged": ("nomask", "noseccomp")}),
        ("--privileged full", {"privileged": ("nomask", "nocaps", "noseccomp", "unfiltered-dev")}),
        ("--cap-add net_admin,CAP_SYS_TIME", {"cap_add": ("CAP_NET_ADMIN", "CAP_SYS_TIME")}),
        ("--cap-drop CAP_MKNOD", {"cap_drop": ("CAP_MKNOD",)}),
        ("--cap-drop all", {"cap_drop": ("ALL",)}),
        ("--block-nested-namespaces", {"block_nested_namespaces": True}),
        ("--keyring-filter", {"keyring_filter": True}),
        ("--force-cgroupv1", {"force_cgroupv1": True}),
        ("--keep-groups", {"keep_groups": True}),
        ("--oom-score-adj -1000", {"oom_score_adj": -1000}),
        ("--oom-score-adj 0", {"oom_score_adj": 0}),
        ("--wakelock charging", {"wakelock": "charging"}),
        ("--selinux-permissive", {"selinux_permissive": True}),
        ("--hw-access=no", {"hw_access": False}),
        ("--autostart --start-after db,web", {"autostart": True, "start_after": ("db", "web")}),
        ("--hook prestart=/data/hook,1", {"hooks": (Hook("prestart", "/data/hook,1"),)}),
        ("--rootfs new//root", {"rootfs": "/home/me/new/root"}),
        ("-i /dev/block/sda1", {"rootfs": None, "image": "/dev/block/sda1"}),
    ],
)
def test_a_flag_replaces_what_was_saved_and_nothing_else(line: str, changed: dict[str, object]) -> None:
    made = asked(f"start x {line}", SAVED)

    assert {field: getattr(made, field) for field in changed} == changed
    others = set(Spec.__struct_fields__) - set(changed)
    assert {field: getattr(made, field) for field in others} == {field: getattr(SAVED, field) for field in others}


BAD = [
    ("--name a/b", '--name "a/b": a container\'s name has letters, digits, dot, _ and -, begins with a letter'),
    ("--rootfs /", '--rootfs "/": that is this device\'s own system, which runs already; give another directory'),
    (f"--rootfs /{'x' * 4096}", "the path is longer than 4095 bytes; use a shorter one"),
    ("--rootfs-img /a\x07b", '--rootfs-img "/a\\x07b": a path with control characters is refused; rename it'),
    ("--hostname a_b", '--hostname "a_b": a host name has letters, digits and - between dots, no part begins'),
    (f"--hostname {'a' * 63}.b", "it is 64 long at most"),
    ("--hostname -a", "needs a value"),
    ("--hostname a-", "no part begins or ends with -"),
    ("--hostname a..b", "no part begins or ends with -"),
    ("--init sbin/init", '--init "sbin/init": the path must be absolute, that is, begin with /'),
    ("--init /a/../b", '--init "/a/../b": .. is refused in a path inside the container; write it out'),
    ("--net bridge", '--net "bridge": choose one of host, nat, lan, gateway, none'),
    ("--net gateway", "gateway: --net=gateway needs the name of the container that is the router; add --gateway"),
    ("--lan --net none", "--lan and --net=none: a container has one network; give one of the two"),
    ("--net wifi", '--net "wifi": choose one of host, nat, lan, gateway, none'),
    ("--lan=1", "it takes no value, but for --lan=no"),
    ("--lan-iface wlan/0", '--lan-iface "wlan/0": this is no network interface; write one such as wlan0'),
    (f"--lan-iface {'x' * 16}", "15 long at most"),
    ("--gateway a/b", '--gateway "a/b": a container\'s name has letters, digits, dot, _ and -'),
    ("--gateway x", 'gateway "x": a container can\'t be its own router; name another one'),
    ("--gateway wrt --gateway-net a.b", '--gateway-net "a.b": the name of a LAN has letters, digits, _ and - and is'),
    (f"--gateway-net {'x' * 33}", "32 long at most"),
    ("--gateway-iface eth*", '--gateway-iface "eth*": this must be the name of one interface, such as eth1'),
    ("--gateway-iface lo", '--gateway-iface "lo": this must be the name of one interface'),
    ("--gateway-iface a/b", '--gateway-iface "a/b": this is no network interface'),
    ("--port 80x:80y", '--port "80x:80y": "80x" is no port; write 8080:80 or 80-89'),
    ("--port 0:80", '--port "0:80": 0: a port is a number from 1 to 65535'),
    ("--port -80:80", "is no port"),
    ("--port 80:", '"" is no port; write 8080:80 or 80-89'),
    ("--port 80-:80", '"" is no port'),
    ("--port 1-65536", "65536: a port is a number from 1 to 65535"),
    ("--port 65535-65536:1-2", "65536: a port is a number from 1 to 65535"),
    ("--port 80:0", "0: a port is a number from 1 to 65535"),
    ("--port 80:80:80", '--port "80": this is no address'),
    ("--port 80:80/", '"" is neither tcp nor udp'),
    ("--port 80:80/TCP", '"TCP" is neither tcp nor udp'),
    ("--port [fe80::1%wlan0]:80:80", '--port "fe80::1%wlan0": this address is good on one link only'),
    ("--port 80:80 --port 80:81", "ports: 80/tcp of the phone is given twice; leave one of them out"),
    ("--port 80:80 --port 127.0.0.1:80:81", "ports: 80/tcp of the phone is given twice"),
    ("--port 65536", '65536: a port is a number from 1 to 65535'),
    ("--port 1-5:1-4", "5 ports don't fit 4; make them equal"),
    ("--port 9-5", "the range 9-5 runs backwards; write the lower port first"),
    ("--port 80:80/sctp", '"sctp" is neither tcp nor udp'),
    ("--port 1:2:3:4", "this is no port; write one such as 8080:80 or [::1]:8080:80"),
    ("--port [::1:80", "an address in brackets is written [::1]:8080:80"),
    ("--port localhost:80:80", '--port "localhost": this is no address'),
    ("--port \u0661", "is no port"),
    ("--port 80,70-90:1-21", "ports: 80/tcp of the phone is given twice; leave one of them out"),
    ("--ip 172.28.0.300", '--ip "172.28.0.300": this is no address'),
    ("--ip 172.28.0.9/16", '--ip "172.28.0.9/16": this is no address'),
    ("--ip 172.28.9", '--ip "172.28.9": this is no address'),
    ("--ip fd00::1", '--ip "fd00::1": this must be an IPv4 address, such as 172.28.0.10'),
    ("--upstream wlan0,,tun0", '--upstream "": this is no network interface'),
    ("--upstream ..", '--upstream "..": this is no network interface'),
    ("--upstream rmnet[0-9]", '--upstream "rmnet[0-9]": this is no network interface'),
    ("--upstream wlan0/1", '--upstream "wlan0/1": this is no network interface; write one such as wlan0 or rmnet*'),
    (f"--upstream {'x' * 16}", "15 long at most"),
    ("--isolated=1", "it takes no value, but for --isolated=no"),
    ("--disable-ipv6=1", "it takes no value, but for --disable-ipv6=no"),
    ("--bridge=1", "it takes no value, but for --bridge=no"),
    ("--bind-mount /a", '--bind-mount "/a": a bind is written SRC:DST, SRC:DST:ro or SRC:DST:rw'),
    ("--bind-mount /a:/b:rx", "a bind is written SRC:DST"),
    ("--bind-mount /a:/b:", "a bind is written SRC:DST"),
    ("--bind-mount :/b", "a bind is written SRC:DST"),
    ("--bind-mount /a:/b:/c", "a bind is written SRC:DST"),
    ("--bind-mount /a:b", '--bind-mount "b": the path must be absolute, that is, begin with /'),
    ("--bind-mount /a:/b/../c", '--bind-mount "/b/../c": .. is refused in a path inside the container'),
    ("--bind-mount /a://.", 'the container\'s root can\'t be covered; name a folder below it'),
    ("--bind-mount /a:/b,/c:/b", 'binds "/b": this is given twice; keep one of them'),
    ("--env A", '--env "A": a variable is written KEY=VALUE'),
    ("--env /data/file", '--env "/data/file": a variable is written KEY=VALUE; a file of variables is given'),
    ("--env 1A=b", '--env "1A": a variable\'s name has letters, digits and _ and does not begin with a digit'),
    ("--env-file bad", '"bad", line 2: "nonsense": a variable is written KEY=VALUE'),
    ("--dns router", '--dns "router": this is no address; write one such as 9.9.9.9 or 2620:fe::fe'),
    ("--bandwidth-up 8000", "--bandwidth-up 8000: the limit is in bytes a second, from 8K to 4G, such as 2M"),
    ("--bandwidth-down 5G", "the limit is in bytes a second"),
    ("--bandwidth-down fast", "this is no size"),
    ("--memory 0", "--memory 0: nothing runs in under 1M; a bare number is bytes, so write 512M or 2G"),
    ("--memory 512", "--memory 512: nothing runs in under 1M"),
    ("--memory -1G", '--memory "-1G": this is no size; write one such as 512M or 1.5G'),
    ("--memory 8388608T", "--memory: that is more bytes than the kernel can count"),
    ("--memory 1e9", "this is no size"),
    ("--memory \u0661G", "this is no size"),
    ("--memory .G", "this is no size"),
    ("--volatile --volatile-size big", '--volatile-size "big": this is no size; write one such as 512M or 1.5G'),
    ("--cpus 0", "--cpus 0: the limit is a number of processors from 0.01 up, such as 1.5"),
    ("--cpus -1", '--cpus "-1": this is no number of processors; write one such as 1.5'),
    ("--cpus nan", "this is no number of processors"),
    ("--cpus 1e999", "this is no number of processors"),
    ("--pids-limit 0", "--pids-limit 0: the limit is a number of processes from 16 to 4194304"),
    ("--pids-limit 1", "--pids-limit 1: no system runs with so few processes; give it 16 or more"),
    ("--pids-limit many", '--pids-limit "many": this is no whole number; write one such as 100'),
    (f"--pids-limit {'9' * 5000}", "this is no whole number"),
    ("--privileged all", '--privileged "all": choose one of nomask, nocaps, noseccomp, unfiltered-dev, full'),
    ("--cap-add CAP_FLY", '--cap-add "CAP_FLY": no such capability; they are named as in CAP_NET_ADMIN'),
    ("--cap-add net_admn", '--cap-add "net_admn": no such capability; did you mean CAP_NET_ADMIN?'),
    ("--cap-drop x", '--cap-drop "x": no such capability; they are named as in CAP_NET_ADMIN'),
    ("--block-nested-namespaces=1", "it takes no value, but for --block-nested-namespaces=no"),
    ("--keyring-filter=1", "it takes no value, but for --keyring-filter=no"),
    ("--force-cgroupv1=1", "it takes no value, but for --force-cgroupv1=no"),
    ("--keep-groups=1", "it takes no value, but for --keep-groups=no"),
    ("--oom-score-adj 1001", "--oom-score-adj 1001: the number lies from -1000 (never killed) to 1000"),
    ("--oom-score-adj=--5", '--oom-score-adj "-5": this is no whole number'),
    ("--wakelock always", '--wakelock "always": choose one of never, running, charging'),
    ("--selinux-permissive=1", "it takes no value, but for --selinux-permissive=no"),
    ("--yes=1", "it takes no value, but for --yes=no"),
    ("--hw-access=1", "it takes no value, but for --hw-access=no"),
    ("--volatile=1", "it takes no value, but for --volatile=no"),
    ("--autostart=1", "it takes no value, but for --autostart=no"),
    ("--foreground=1", "it takes no value, but for --foreground=no"),
    ("--reset=1", "it takes no value, but for --reset=no"),
    ("--json=1", "it takes no value, but for --json=no"),
    ("--help=1", "it takes no value, but for --help=no"),
    ("--hook /data/hook", '--hook "/data/hook": a hook is written STAGE=PATH, as in prestart=/data/hook'),
    ("--hook boot=/h", '--hook "boot": choose one of prestart, prechroot, poststop'),
    ("--hook prestart=h", '--hook "h": the path must be absolute, that is, begin with /'),
    ("--fsck maybe", '--fsck "maybe": choose one of auto, always, never'),
    ("--start-after a/b", '--start-after "a/b": a container\'s name has letters'),
    ("--start-after x", 'start_after "x": a container can\'t wait for itself; leave it out'),
    ("--conf", "--conf needs a value, FILE"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "sentence"), BAD)
def test_a_bad_value_gets_its_sentence(line: str, sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        start(line if "--name" in line else f"x {line}")

    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_every_flag_of_start_has_a_row_of_bad_input() -> None:
    tried = {word.partition("=")[0] for line, _ in BAD for word in line.split() if word.startswith("--")}

    assert {f"--{flag.name}" for flag in COMMANDS["start"].flags} == tried


@pytest.mark.parametrize("text", ["", "-1", "1.", "abc", "1e3", "inf", "86401", "٣"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="this is no time in seconds up to a day; write one such as 10"):
        values.seconds("--timeout", text)


def test_reset_keeps_the_root_alone() -> None:
    assert asked("start x --reset -m 1G", SAVED) == Spec(name="x", rootfs="/r", memory=1 << 30)


@pytest.mark.parametrize(
    ("root", "name"),
    [("--rootfs /data/debian/", "debian"), ("-i /sd/ubuntu.img", "ubuntu"), ("-i alpine.ext4", "alpine"),
     ("-r /data/.hidden", "hidden"), ("-r /a/fedora@41", "fedora-41")],
)  # fmt: skip
def test_without_a_name_the_root_gives_it(root: str, name: str) -> None:
    assert asked(f"start {root}").name == name


def test_a_root_that_gives_no_name_asks_for_one() -> None:
    with pytest.raises(UsageError, match=r'"/a/\.img" gives the container no name; add --name'):
        asked("start -r /a/.img")


def test_another_root_does_not_take_a_saved_name_unasked() -> None:
    saved = Spec(name="debian", rootfs="/a/debian")

    with pytest.raises(UsageError, match='a container "debian" with root /a/debian is saved; add --name for this one'):
        asked("start --rootfs /b/debian", saved)
    assert asked("start --rootfs /a/debian", saved) == saved
    assert asked("start -n debian --rootfs /b/debian", saved).rootfs == "/b/debian"


def test_a_container_that_is_not_saved_needs_a_root() -> None:
    with pytest.raises(UsageError, match='container "x" is not saved yet; give it a root by --rootfs or --rootfs-img'):
        asked("start x -m 1G")


def test_a_spec_from_a_file_gets_the_name_asked_for() -> None:
    assert asked("start --conf f --name y", SAVED).name == "y"
    assert asked("start --conf f", SAVED).name == "x"


def test_volatile_holds_for_one_start() -> None:
    assert start("x") == (SAVED, StartOptions())
    assert start("x -V --volatile-size 1G") == (SAVED, StartOptions(volatile=True, volatile_size=1 << 30))


def test_a_one_off_shows_maps_read_only_and_volumes_writable() -> None:
    line = "run --rm --map a /b --vol /c /d --rootfs /r -m 1G -- sh"

    made = specs.one_off_from(parse(line.split()), directory="/home/me", read=FILES.__getitem__)

    assert (made.rootfs, made.memory) == ("/r", 1 << 30)
    assert made.binds == (Bind("/home/me/a", "/b", True), Bind("/c", "/d"))


def test_a_one_off_without_a_root_runs_on_the_hosts() -> None:
    made = specs.one_off_from(parse(["run", "--rm", "true"]), directory="/", read=FILES.__getitem__)

    assert made.rootfs == "/"


@pytest.mark.parametrize(
    ("faulty", "sentence"),
    [
        (Spec(name="x"), "rootfs and image: a container has one root; give exactly one of the two"),
        (Spec(name="x", rootfs="/r", image="/i"), "rootfs and image: a container has one root"),
        (Spec(name="x\n", rootfs="/r"), 'name "x\\n": a container'),
        (Spec(name="x", rootfs="r"), 'rootfs "r": the path must be absolute'),
        (Spec(name="x", rootfs="/r", env={"": "1"}), 'env "": a variable\'s name'),
        (Spec(name="x", rootfs="/r", env={"A": "\0"}), 'env A "\\x00": this is not text'),
        (Spec(name="x", rootfs="/r", cpus=float("nan")), "cpus nan: the limit is a number of processors"),
        (Spec(name="x", rootfs="/r", binds=(Bind("/a", "/../etc"),)), 'binds "/../etc": .. is refused'),
    ],
)
def test_a_spec_from_outside_is_checked_by_the_same_rules(faulty: Spec, sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        checked(faulty)

    assert str(error.value).startswith(sentence)


FLAGS = [flag for flag in COMMANDS["start"].flags if flag.arity]


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(FLAGS), st.text(min_size=1, max_size=30) | st.from_regex(r"[-.,:=/0-9KMGa-c]{1,12}"))
def test_no_value_fails_but_by_a_sentence(flag: Flag, text: str) -> None:
    sentence = ""
    try:
        invocation = parse(["start", "x", "--rootfs", "/r", f"--{flag.name}={text}", "--volatile"])
        made = specs.spec_from(invocation, None, directory="/home/me", read=lambda path: text)
        specs.start_options(invocation)
    except UsageError as error:
        sentence = str(error)
    else:
        assert checked(made) == made
    assert "\n" not in sentence


@settings(deadline=None)
@given(st.text())
def test_a_path_has_one_spelling(text: str) -> None:
    try:
        path = rules.path("path", f"/{text}")
    except UsageError:
        return
    assert rules.path("path", path) == path
    assert "//" not in path
    assert path == "/" or not path.endswith("/")


@settings(deadline=None)
@given(st.text(), st.text())
def test_no_env_file_fails_but_by_a_sentence(key: str, text: str) -> None:
    sentence = ""
    try:
        found = values.variables("file", f"{key}={text}")
    except UsageError as error:
        sentence = str(error)
    else:
        rules.environment("env", found)
    assert "\n" not in sentence
