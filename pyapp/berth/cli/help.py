"""The texts of `berth help`, made from the table of commands."""

from __future__ import annotations

from berth.cli.layout import PHONE, wrapped
from berth.cli.spelling import did_you_mean
from berth.cli.table import COMMANDS
from berth.errors import UsageError
from berth.rules import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from berth.cli.table import Command, Flag

_WIDEST = 100  # longer lines are hard to read
_SIDE_BY_SIDE = 72  # columns from which titles and summaries have room beside each other
_SECOND_COLUMN = 30

_NOTES = {
    "start": "Flags are saved under the name and replace what was saved there before; --flag=no switches one off, "
    "none empties a list or lifts a limit.",
    "plan": "Takes the flags of start, and does nothing.",
    "run": "The program's own arguments begin with its name. With --rm it runs in a fresh container, made from "
    "--rootfs or this device's root, of which nothing stays.",
}


def help_text(command: str | None = None, width: int | None = None) -> str:
    """What `berth help`, or `berth help COMMAND`, prints in `width` columns; a phone's for None, which is no terminal.

    Raises UsageError for a command there is not.
    """
    columns = PHONE if width is None else min(width, _WIDEST)
    if command is None:
        return _overview(columns)
    if command not in COMMANDS:
        raise UsageError(f"unknown command {quoted(command)}{did_you_mean(command, COMMANDS, 'help')}")
    return _explained(COMMANDS[command], columns)


def _overview(width: int) -> str:
    lines = ["usage: berth COMMAND [NAME] [FLAG...]", ""]
    named = [(" ".join(filter(None, (command.name, command.usage))), command.summary) for command in COMMANDS.values()]
    lines += _entries(named, width)
    hint = "Flags may stand before or after the command; a container is named by --name or first."
    lines += ["", *wrapped(hint, width)]
    lines += wrapped("berth help COMMAND lists its flags.", width)
    return _joined(lines)


def _explained(command: Command, width: int) -> str:
    usage = " ".join(filter(None, ("usage: berth", command.name, command.usage, "[FLAG...]")))
    lines = [*wrapped(usage, width, hanging=7), "", *wrapped(command.summary, width)]
    if command.name in _NOTES:
        lines += wrapped(_NOTES[command.name], width)
    lines += ["", *_entries([(_spelled(flag), flag.summary) for flag in command.flags], width)]
    return _joined(lines)


def _spelled(flag: Flag) -> str:
    return f"{f'-{flag.short}, ' if flag.short else ''}--{flag.name}{f' {flag.value}' if flag.value else ''}"


def _entries(named: list[tuple[str, str]], width: int) -> list[str]:
    """Titles and what they stand for: side by side where there is room, else one below the other."""
    if width < _SIDE_BY_SIDE:
        return [line for title, summary in named for line in (f"  {title}", *wrapped(summary, width, indent=6))]
    lines = []
    for title, summary in named:
        first, *rest = wrapped(summary, width, indent=_SECOND_COLUMN)
        head = f"  {title}"
        lines += [head, first] if len(head) >= _SECOND_COLUMN else [head + first[len(head) :]]
        lines += rest
    return lines


def _joined(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
