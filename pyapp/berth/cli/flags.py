"""Reading a command line by the table of commands and flags.

Written out because argparse can't read these lines (options on both sides of the command, `-h` for the host
name, flags with two values, everything after `run x` belonging to another program) and costs more than a bare
interpreter.  Only the shape is read here; what a value means is decided in `specs`.
"""

from __future__ import annotations

from berth import rules
from berth.cli.spelling import did_you_mean
from berth.cli.table import COMMANDS, MANY, NOT_YET, ONE_OFF, Command, Flag
from berth.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Option = bool | str | tuple[str, ...]


class Invocation:
    """What was asked for; it never changes.

    `names` are the containers, `words` the command's other arguments (for `run` the program and its arguments),
    `options` what was given, by the flag's long name without its dashes: bool for a switch, str for a flag that
    takes one value, tuple for a repeatable one (pairs one after the other).  What was not given is not there.
    """

    __slots__ = ("command", "json", "names", "options", "words")

    command: str
    names: tuple[str, ...]
    words: tuple[str, ...]
    options: Mapping[str, Option]
    json: bool

    def __init__(
        self,
        command: str,
        names: tuple[str, ...] = (),
        words: tuple[str, ...] = (),
        options: Mapping[str, Option] | None = None,
        json: bool = False,
    ) -> None:
        object.__setattr__(self, "command", command)
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "words", words)
        object.__setattr__(self, "options", dict(options or {}))
        object.__setattr__(self, "json", json)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} of an Invocation can't be set")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Invocation) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash((self.command, self.names, self.words))

    def __repr__(self) -> str:
        return f"Invocation{self._values()!r}"

    def _values(self) -> tuple[object, ...]:
        return self.command, self.names, self.words, self.options, self.json

    @property
    def name(self) -> str | None:
        """The container, where exactly one was named."""
        return self.names[0] if len(self.names) == 1 else None

    def switch(self, flag: str) -> bool:
        """Whether the switch `flag` is on."""
        return self.options.get(flag) is True

    def text(self, flag: str) -> str | None:
        """The value of `flag` as written; None where it was not given."""
        value = self.options.get(flag)
        return value if isinstance(value, str) else None

    def each(self, flag: str) -> tuple[str, ...]:
        """All values of a repeatable `flag`, in the order given."""
        value = self.options.get(flag)
        return value if isinstance(value, tuple) else ()

    def pairs(self, flag: str) -> tuple[tuple[str, str], ...]:
        """All pairs of a `flag` that takes two values, in the order given."""
        values = self.each(flag)
        return tuple(zip(values[::2], values[1::2], strict=True))


def parse(arguments: Sequence[str]) -> Invocation:
    """Read a command line, `arguments` being what follows the program's name.

    `--help` anywhere, or nothing at all, becomes the command `help`.  Raises UsageError naming the flag or word.
    """
    position = _find_command(arguments)
    if position is None:
        return _without_command(arguments)
    command = COMMANDS[arguments[position]]
    line = _Line(command)
    line.read(arguments[:position])
    line.read(arguments[position + 1 :])
    if line.options.pop("help", False):
        return Invocation("help", words=(command.name,))
    names, words = _share_out(line)
    _check_together(command.name, names, line.options)
    json = line.options.pop("json", False) is True
    return Invocation(command.name, names, words, line.options, json)


def _find_command(arguments: Sequence[str]) -> int | None:
    """The index of the command: the first command's name that no option before it takes for its value.

    Whether one does can depend on the command itself (`--init` takes a value for `start`, none for `run`), so each
    candidate is tried with its own flags.
    """
    for index, word in enumerate(arguments):
        if word in COMMANDS and _end_of_options(COMMANDS[word], arguments) == index:
            return index
    return None


def _end_of_options(command: Command, arguments: Sequence[str]) -> int:
    """The index of the first argument that is neither an option nor an option's value, read as `command`'s."""
    index = 0
    while index < len(arguments) and _is_option(arguments[index]):
        _, flag, attached = _flags_in(command, arguments[index])[-1]
        index += 1 + max((flag.arity if flag else 0) - (attached is not None), 0)
    return index


def _flags_in(command: Command, word: str) -> list[tuple[str, Flag | None, str | None]]:
    """The flags in the option `word`, each with its spelling and the value attached to it.

    `command`'s own flags come first, then any command's; None stands for an unknown flag.
    """
    if word.startswith("--"):
        spelled, equals, value = word.partition("=")
        return [(spelled, _flag(command, spelled), value if equals else None)]
    found: list[tuple[str, Flag | None, str | None]] = []
    for index, letter in enumerate(word[1:], 2):
        flag = _flag(command, f"-{letter}")
        if flag is None or flag.arity:
            return [*found, (f"-{letter}", flag, word[index:] or None)]
        found.append((f"-{letter}", flag, None))
    return found


def _flag(command: Command, spelled: str) -> Flag | None:
    return command.flag(spelled) or next((flag for other in COMMANDS.values() if (flag := other.flag(spelled))), None)


def _is_option(word: str) -> bool:
    return len(word) > 1 and word.startswith("-") and word != "--"


class _Line:
    """A command line as it is read: options, positional words, and what stands behind `--` or is a program's own."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.options: dict[str, Option] = {}
        self.positionals: list[str] = []
        self.behind: list[str] = []

    def read(self, arguments: Sequence[str]) -> None:
        index = 0
        while index < len(arguments):
            word = arguments[index]
            if word == "--":
                self.behind = list(arguments[index + 1 :])
                return
            if _is_option(word):
                index = self._read_option(arguments, index)
            elif self._program_begins():
                self.behind = list(arguments[index:])
                return
            else:
                self.positionals.append(word)
                index += 1

    def _program_begins(self) -> bool:
        named = "name" in self.options or self.options.get("rm") is True
        return self.command.rest and (named or bool(self.positionals))

    def _read_option(self, arguments: Sequence[str], index: int) -> int:
        """Read the option at `index`; returns the index after its values."""
        following = index + 1
        for spelled, flag, attached in _flags_in(self.command, arguments[index]):
            if flag is None or flag not in self.command.flags:
                raise UsageError(_why_not(self.command, spelled))
            if not flag.arity:
                self.options[flag.name] = _yes_or_no(spelled, attached)
                continue
            values = [] if attached is None else [attached]
            while len(values) < flag.arity:
                if following == len(arguments) or _forgotten(arguments[following]):
                    raise UsageError(_missing_value(flag, spelled))
                values.append(arguments[following])
                following += 1
            self._keep(flag, spelled, values)
        return following

    def _keep(self, flag: Flag, spelled: str, values: list[str]) -> None:
        for value in values:
            if not value:
                raise UsageError(f"{spelled}: its value is empty; it takes {flag.value}")
            rules.text(spelled, value)
        earlier = self.options.get(flag.name)
        if flag.kind != "text":
            more = values[0].split(",") if flag.kind == "list" else values
            self.options[flag.name] = (*(earlier if isinstance(earlier, tuple) else ()), *more)
        elif earlier is not None:
            shown = f"{rules.quoted(str(earlier))} and {rules.quoted(values[0])}"
            raise UsageError(f"{spelled} is given twice, as {shown}; keep one of them")
        else:
            self.options[flag.name] = values[0]


def _yes_or_no(spelled: str, attached: str | None) -> bool:
    if attached not in (None, "yes", "no"):
        raise UsageError(f"{spelled}={attached}: it takes no value, but for {spelled}=no to switch it off again")
    return attached != "no"


def _forgotten(word: str) -> bool:
    """Whether `word`, found where a value is due, shows that the value was forgotten: `--net` does, `-1` does not."""
    return word == "--" or (_is_option(word) and word[1] not in rules.DIGITS)


def _missing_value(flag: Flag, spelled: str) -> str:
    if flag.arity == 2:
        return f"{spelled} needs two values, {flag.value}"
    if spelled == "-h":
        return '-h is the host name and needs a value; for help, write "berth help"'
    return f"{spelled} needs a value, {flag.value}; one that begins with a dash is written --{flag.name}=VALUE"


def _why_not(command: Command, spelled: str) -> str:
    """The sentence for a flag that `command` does not have."""
    if spelled.removeprefix("--") in NOT_YET:
        return f"{spelled}: Berth does not have this yet; leave it out"
    owners = [other.name for other in COMMANDS.values() if other.flag(spelled)]
    if owners:
        return f"{spelled} is no flag of {command.name}; it belongs to {', '.join(owners)}"
    known = [f"--{flag.name}" for flag in command.flags]
    return f"unknown flag {_shown(spelled)}{did_you_mean(spelled, known, f'help {command.name}')}"


def _shown(spelled: str) -> str:
    return spelled if spelled.isprintable() and len(spelled) < 40 else rules.quoted(spelled)


def _without_command(arguments: Sequence[str]) -> Invocation:
    """What a line without a command means; UsageError for the first thing wrong with it."""
    if "--version" in arguments[:1]:
        return Invocation("version", json="--json" in arguments)
    every = tuple(flag for command in COMMANDS.values() for flag in command.flags)
    line = _Line(Command("", "", "", containers=(0, MANY), flags=every))
    line.read(arguments)
    if line.options.get("help") or not arguments:
        return Invocation("help", words=tuple(word for word in line.positionals[:1] if word in COMMANDS))
    for word in line.positionals:
        raise UsageError(f"unknown command {rules.quoted(word)}{did_you_mean(word, COMMANDS, 'help')}")
    raise UsageError('no command is given; "berth help" lists them')


def _share_out(line: _Line) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tell the containers' names from the other words; UsageError where there are too few or too many of either."""
    command, one_off = line.command, line.options.get("rm") is True
    named = line.options.pop("name", None)
    words = line.positionals if command.rest else line.positionals + line.behind
    most = command.containers[1]
    if named is not None:
        names = rules.names("--name", str(named))
    else:
        taken = 0 if one_off else min(most, len(words))
        names = tuple(dict.fromkeys(name for word in words[:taken] for name in rules.names(command.name, word)))
        words = words[taken:]
    if len(names) < command.containers[0] and not (one_off or line.options.get("all")):
        raise UsageError(f"{command.name}: which container? write: berth {command.name} {command.usage}")
    if len(names) > most:
        raise UsageError(f"{command.name} takes {'one container' if most else 'no container'}, not {', '.join(names)}")
    if not command.rest:
        return names, _counted(command, words)
    if words:
        raise UsageError(f"run: {rules.quoted(words[0])} is one container too many, with --name or --rm given")
    return names, _counted(command, line.behind, one_off=one_off)


def _counted(command: Command, words: list[str], *, one_off: bool = False) -> tuple[str, ...]:
    least, most = command.words
    usage = f"write: berth {command.name} {command.usage}".rstrip()
    if len(words) < least and command.rest and one_off:
        raise UsageError(
            f"{command.name} --rm: which program? write: berth {command.name} --rm [--rootfs DIR] -- CMD..."
        )
    if len(words) < least:
        raise UsageError(f"{command.name}: something is missing; {usage}")
    if len(words) > most:
        raise UsageError(f"{command.name}: {rules.quoted(words[most])} is one word too many; {usage}")
    return tuple(words)


def _check_together(command: str, names: tuple[str, ...], options: Mapping[str, Option]) -> None:
    """Raise UsageError for flags that contradict or need each other."""
    if "rootfs" in options and "rootfs-img" in options:
        raise UsageError("--rootfs and --rootfs-img: a container has one root; give one of them")
    if "volatile-size" in options and not options.get("volatile"):
        raise UsageError("--volatile-size is for --volatile; add that")
    if command in ("start", "plan") and not names and not {"rootfs", "rootfs-img", "conf"} & options.keys():
        raise UsageError(f"{command}: which container? name a saved one, or give --rootfs or --rootfs-img")
    if options.get("all") and names:
        raise UsageError(f"{command}: --all means every container; leave out {', '.join(names)}")
    if command == "run" and options.get("rm") and "user" in options:
        raise UsageError("run: a one-off program is root's, so --user is not for --rm; leave it out")
    if command == "run" and not options.get("rm"):
        for flag in ONE_OFF:
            if options.get(flag.name):
                raise UsageError(f"run: --{flag.name} shapes a one-off container; add --rm")
