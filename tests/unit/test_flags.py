"""Reading command lines."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berth import spec
from berth.cli.flags import Invocation, parse
from berth.cli.help import help_text
from berth.cli.layout import PHONE
from berth.cli.table import COMMANDS, FSCK_POLICIES, HOOK_STAGES, NETWORKS, NOT_YET, PRIVILEGES, Command, Flag
from berth.errors import UsageError


def read(line: str) -> Invocation:
    return parse(line.split())


@pytest.mark.parametrize(
    ("line", "command", "names", "words", "options"),
    [
        # as Droidspaces' own examples stand, with `berth` in place of `droidspaces`
        ("--name=test --rootfs=/path --volatile start", "start", "test", "", {"rootfs": "/path", "volatile": True}),
        ("--name=test --rootfs-img=/p.img -V start", "start", "test", "", {"rootfs-img": "/p.img", "volatile": True}),
        ("--name=web,db stop", "stop", "web db", "", {}),
        ("--name=x run uname -a", "run", "x", "uname -a", {}),
        ("-n x enter user", "enter", "x", "user", {}),
        ("-B /s:/d,/t:/e -B /u:/f:ro start x", "start", "x", "", {"bind-mount": ("/s:/d", "/t:/e", "/u:/f:ro")}),
        # the shorter ones
        ("start x", "start", "x", "", {}),
        ("run x -- uname -a", "run", "x", "uname -a", {}),
        ("enter x user", "enter", "x", "user", {}),
        ("enter x", "enter", "x", "", {}),
        ("stop web db,web", "stop", "web db", "", {}),
        ("stop --all --timeout 5", "stop", "", "", {"all": True, "timeout": "5"}),
        ("rename old new", "rename", "old", "new", {}),
        ("-n old rename new", "rename", "old", "new", {}),
        ("rm -y x", "rm", "x", "", {"yes": True}),
        ("info", "info", "", "", {}),
        ("logs -f x", "logs", "x", "", {"follow": True}),
        ("start -f x", "start", "x", "", {"foreground": True}),
        ("-f start x", "start", "x", "", {"foreground": True}),
        ("-f logs x", "logs", "x", "", {"follow": True}),
        ("list --names", "list", "", "", {"names": True}),
        ("-h phone start x", "start", "x", "", {"hostname": "phone"}),
        ("start x -hphone -m1G --cpus -1", "start", "x", "", {"hostname": "phone", "memory": "1G", "cpus": "-1"}),
        ("start -Vfnx -r /r", "start", "x", "", {"volatile": True, "foreground": True, "rootfs": "/r"}),
        ("start --autostart=no x", "start", "x", "", {"autostart": False}),
        ("start x --env A=1,2 --env B=", "start", "x", "", {"env": ("A=1,2", "B=")}),
        ("start --bind /a:/b --config f", "start", "", "", {"bind-mount": ("/a:/b",), "conf": "f"}),
        # everything from the program's name on is the program's
        ("run x ls --name y -- --help", "run", "x", "ls --name y -- --help", {}),
        ("run -u me x -- id -u", "run", "x", "id -u", {"user": "me"}),
        ("run x -u me id -u", "run", "x", "id -u", {"user": "me"}),
        ("run -n x -- -odd", "run", "x", "-odd", {}),
        ("run -n x start stop", "run", "x", "start stop", {}),
        ("run --rm -- true", "run", "", "true", {"rm": True}),
        ("run --rm true x", "run", "", "true x", {"rm": True}),
        ("--rootfs /r run --rm sh -c true", "run", "", "sh -c true", {"rm": True, "rootfs": "/r"}),
        ("run --rm --map /a /b --vol /c /d --map=/e /f -- sh", "run", "", "sh",
         {"rm": True, "map": ("/a", "/b", "/e", "/f"), "vol": ("/c", "/d")}),
        # --init takes a value for start and none for run
        ("start x --init /bin/sh", "start", "x", "", {"init": "/bin/sh"}),
        ("--init /bin/sh start x", "start", "x", "", {"init": "/bin/sh"}),
        ("run --rm --init -- sh", "run", "", "sh", {"rm": True, "init": True}),
        ("--rm --init run sh", "run", "", "sh", {"rm": True, "init": True}),
        # words that are also commands
        ("--name start start", "start", "start", "", {}),
        ("--name stop start", "start", "stop", "", {}),
        ("stop stop", "stop", "stop", "", {}),
        # help and version
        ("", "help", "", "", {}),
        ("--help", "help", "", "", {}),
        ("start --help", "help", "", "start", {}),
        ("--help stop", "help", "", "stop", {}),
        ("run --help x ls", "help", "", "run", {}),
        ("help run", "help", "", "run", {}),
        ("--version", "version", "", "", {}),
        ("completion bash", "completion", "", "bash", {}),
    ],
)  # fmt: skip
def test_a_line_is_read(line: str, command: str, names: str, words: str, options: dict[str, object]) -> None:
    read_as = read(line)

    assert (read_as.command, read_as.names, read_as.words) == (command, tuple(names.split()), tuple(words.split()))
    assert read_as.options == options


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("start x --memroy 1G", "unknown flag --memroy; did you mean --memory?"),
        ("--memroy=1G start x", "unknown flag --memroy; did you mean --memory?"),
        ("start x --qqqqq", 'unknown flag --qqqqq; "berth help start" lists what there is'),
        ("start x -Z", 'unknown flag -Z; "berth help start" lists what there is'),
        ("strat x", 'unknown command "strat"; did you mean start?'),
        ("sotp x", 'unknown command "sotp"; did you mean stop?'),
        ("delete x", 'unknown command "delete"; did you mean rm?'),
        ("exec x ls", 'unknown command "exec"; did you mean run?'),
        ("store x", 'unknown command "store"; "berth help" lists what there is'),
        ("start x --mem 1G", "unknown flag --mem; did you mean --memory?"),
        ("start x --mnt /a", 'unknown flag --mnt; "berth help start" lists what there is'),
        ("start x --volume /a", 'unknown flag --volume; "berth help start" lists what there is'),
        ("run --rm", "run --rm: which program? write: berth run --rm [--rootfs DIR] -- CMD..."),
        ("run --rm --rootfs /r --", "run --rm: which program? write: berth run --rm [--rootfs DIR] -- CMD..."),
        ("x start", 'unknown command "x"; "berth help" lists what there is'),
        ("--name x", 'no command is given; "berth help" lists them'),
        ("stop x --memory 1G", "--memory is no flag of stop; it belongs to start, run, plan"),
        ("--memory 1G stop x", "--memory is no flag of stop; it belongs to start, run, plan"),
        ("stop x -V", "-V is no flag of stop; it belongs to start, plan"),
        ("start x --gateway-bridge br1", "--gateway-bridge: Berth does not have this yet; leave it out"),
        ("start x --memory", "--memory needs a value, SIZE; one that begins with a dash is written --memory=VALUE"),
        ("start --name --rootfs /r", "--name needs a value, NAME; one that begins with a dash is written --name=VALUE"),
        ("start x -m", "-m needs a value, SIZE; one that begins with a dash is written --memory=VALUE"),
        ("start -h", '-h is the host name and needs a value; for help, write "berth help"'),
        ("run --rm --map /a -- sh", "--map needs two values, SRC DST"),
        ("start x --hostname=", "--hostname: its value is empty; it takes HOST"),
        ("start x -m 1G --memory 2G", '--memory is given twice, as "1G" and "2G"; keep one of them'),
        (
            "start x --volatile=maybe",
            "--volatile=maybe: it takes no value, but for --volatile=no to switch it off again",
        ),
        ("start", "start: which container? name a saved one, or give --rootfs or --rootfs-img"),
        ("stop", "stop: which container? write: berth stop NAME..."),
        ("run", "run: which container? write: berth run NAME [--] CMD..."),
        ("run -- uname", "run: which container? write: berth run NAME [--] CMD..."),
        ("run x", "run: something is missing; write: berth run NAME [--] CMD..."),
        ("run x --rm -- true", 'run: "x" is one container too many, with --name or --rm given'),
        ("run x --name y -- true", 'run: "x" is one container too many, with --name or --rm given'),
        ("run x --map /a /b -- sh", "run: --map shapes a one-off container; add --rm"),
        ("run x -m 1G -- sh", "run: --memory shapes a one-off container; add --rm"),
        ("run --rm -u web -- sh", "run: a one-off program is root's, so --user is not for --rm; leave it out"),
        ("start a b", 'start: "b" is one word too many; write: berth start [NAME]'),
        ("start --name a,b", "start takes one container, not a, b"),
        ("enter x user more", 'enter: "more" is one word too many; write: berth enter NAME [USER]'),
        ("rename x", "rename: something is missing; write: berth rename OLD NEW"),
        ("list x", 'list: "x" is one word too many; write: berth list'),
        ("stop --all x", "stop: --all means every container; leave out x"),
        ("start --rootfs /a --rootfs-img /b", "--rootfs and --rootfs-img: a container has one root; give one of them"),
        ("start x --volatile-size 1G", "--volatile-size is for --volatile; add that"),
    ],
)
def test_a_wrong_line_gets_its_sentence(line: str, sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        read(line)

    assert str(error.value) == sentence
    assert error.value.exit_code == 2


@pytest.mark.parametrize("name", ["../x", "a/b", ".x", "-x", "a b", "ä", "x" * 65, "a,,b", "x\n"])
def test_a_bad_name_is_refused_however_it_is_given(name: str) -> None:
    for arguments in ([f"--name={name}", "stop"], ["stop", "--", name]):
        with pytest.raises(UsageError, match="a container's name has letters"):
            parse(arguments)


def test_bytes_that_are_no_text_reach_the_program_but_no_flag() -> None:
    assert parse(["run", "x", "ls", "\udcff"]).words == ("ls", "\udcff")
    with pytest.raises(UsageError, match="this is not text in UTF-8"):
        parse(["start", "x", "--rootfs", "/\udcff"])


@pytest.mark.parametrize("flag", NOT_YET)
def test_a_flag_of_droidspaces_without_its_feature_is_said_to_be_missing(flag: str) -> None:
    with pytest.raises(UsageError, match="Berth does not have this yet"):
        parse(["start", "x", f"--{flag}"])


def test_the_table_knows_the_same_words_as_the_spec() -> None:
    assert spec.PRIVILEGES == PRIVILEGES
    assert spec.HOOK_STAGES == HOOK_STAGES
    assert spec.Network.__args__ == NETWORKS  # type: ignore[attr-defined]  # a Literal keeps its words there
    assert spec.FsckPolicy.__args__ == FSCK_POLICIES  # type: ignore[attr-defined]


def test_an_invocation_never_changes() -> None:
    with pytest.raises(AttributeError):
        read("start x").command = "stop"


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_fits_a_phone_and_names_every_flag(command: str | None) -> None:
    text = help_text(command)

    assert [line for line in text.split("\n") if len(line) > PHONE] == []
    assert all(f"--{flag.name}" in text for flag in (COMMANDS[command].flags if command else ()))
    assert all(f"  {name}" in text for name in (COMMANDS if command is None else ()))


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("command", [None, "start", "run"])
def test_help_takes_the_room_that_a_terminal_has_but_no_line_is_hard_to_read(command: str | None, width: int) -> None:
    lines = help_text(command, width).split("\n")

    assert PHONE < max(map(len, lines)) <= min(width, 100)
    assert help_text(command, width).split() == help_text(command).split()


def test_help_about_an_unknown_command_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r'unknown command "strt"; did you mean start\?'):
        help_text("strt")


def test_reading_a_line_imports_next_to_nothing() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); before = set(sys.modules)\n"
        "import berth.cli.flags\n"
        "berth.cli.flags.parse(['--name=x', 'start', '--rootfs', '/r'])\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    folder = spec.__file__.rsplit("/", 2)[0]
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code, folder], capture_output=True, text=True, check=True)

    assert {name for name in done.stdout.split() if not name.startswith("berth")} == {"__future__"}


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True).filter(lambda name: name not in COMMANDS)
VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0,"), min_size=1, max_size=12)

# A second value that begins with a dash can't be told from a forgotten one.
SECONDS = VALUES.filter(lambda value: not value.startswith("-"))


def value_of(flag: Flag) -> st.SearchStrategy[bool | str | tuple[str, ...]]:
    match flag.kind:
        case "switch":
            return st.booleans()
        case "text":
            return VALUES
        case "pairs":
            return st.lists(st.tuples(VALUES, SECONDS), min_size=1, max_size=3).map(lambda pairs: sum(pairs, ()))
        case _:
            return st.lists(VALUES, min_size=1, max_size=3).map(tuple)


def written(flag: Flag, value: bool | str | tuple[str, ...], draw: st.DrawFn) -> list[str]:
    """One of the ways in which `flag` can be written with `value`."""
    if isinstance(value, bool):
        return [f"--{flag.name}" + ("" if value else "=no")]
    if isinstance(value, str):
        return [f"-{flag.short}{value}"] if flag.short and draw(st.booleans()) else [f"--{flag.name}={value}"]
    if flag.kind == "list" and draw(st.booleans()):
        return [f"--{flag.name}={','.join(value)}"]
    if flag.kind == "pairs":
        pairs = zip(value[::2], value[1::2], strict=True)
        return [word for first, second in pairs for word in (f"--{flag.name}={first}", second)]
    return [f"--{flag.name}={item}" for item in value]


@st.composite
def lines(draw: st.DrawFn) -> tuple[list[str], Invocation]:
    """A command line and what it means, with the options on either side of the command."""
    command: Command = draw(st.sampled_from([COMMANDS[name] for name in ("start", "plan", "stop", "logs", "run")]))
    name = draw(NAMES)
    one_off = command.name == "run"
    left_out = ("name", "help", "json", "all", "rm", "rootfs-img", "user")  # the last is not for a one-off
    own = [flag for flag in command.flags if flag.name not in left_out]
    chosen = draw(st.lists(st.sampled_from(own), unique_by=lambda flag: flag.name, max_size=6))
    options = {flag.name: draw(value_of(flag)) for flag in chosen}
    if "volatile-size" in options:
        options["volatile"] = True
    if one_off:
        options["rm"] = True
    groups = [written(flag, options[flag.name], draw) for flag in command.flags if flag.name in options]
    groups.append([f"--name={name}"])
    groups = draw(st.permutations(groups))
    cut = draw(st.integers(0, len(groups)))
    before = [word for group in groups[:cut] for word in group]
    after = [word for group in groups[cut:] for word in group]
    program = ["sh", "-c", "--name"] if one_off else []
    return [*before, command.name, *after, *program], Invocation(command.name, (name,), tuple(program), options)


@settings(deadline=None)
@given(lines())
def test_every_way_of_writing_a_line_is_read_as_meant(line: tuple[list[str], Invocation]) -> None:
    arguments, meant = line

    assert parse(arguments) == meant


WORDS = st.one_of(
    st.sampled_from([*COMMANDS, *(f"--{flag.name}" for command in COMMANDS.values() for flag in command.flags), "--"]),
    st.sampled_from(["-n", "-Vf", "-h", "-", "-=", "--=", "--name=", "--init", "x", "/r", "-1", "a,b", "--map=1"]),
    st.text(max_size=8),
    st.text(st.characters(), max_size=4).map(lambda text: f"--{text}"),
)


@settings(deadline=None)
@given(st.lists(WORDS, max_size=8))
def test_no_line_fails_but_by_a_sentence(arguments: list[str]) -> None:
    try:
        parse(arguments)
    except UsageError as error:
        sentence = str(error)
        assert sentence
        assert "\n" not in sentence
