"""The texts of `berth help`, made from the table of commands; no line is wider than a phone's 40 columns."""

from __future__ import annotations

from berth.cli.flags import did_you_mean
from berth.cli.table import COMMANDS
from berth.errors import UsageError
from berth.rules import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from berth.cli.table import Command, Flag

WIDTH = 40

_NOTES = {
    "start": "Flags are saved under the name and replace what was saved there before; --flag=no switches one off, "
    "none empties a list or lifts a limit.",
    "plan": "Takes the flags of start, and does nothing.",
    "run": "The program's own arguments begin with its name. With --rm it runs in a fresh container, made from "
    "--rootfs or this device's root, of which nothing stays.",
}


def help_text(command: str | None = None) -> str:
    """What `berth help`, or `berth help COMMAND`, prints.  Raises UsageError for a command there is not."""
    if command is None:
        return _overview()
    if command not in COMMANDS:
        raise UsageError(f"unknown command {quoted(command)}{did_you_mean(command, COMMANDS, 'help')}")
    return _explained(COMMANDS[command])


def _overview() -> str:
    lines = ["usage: berth COMMAND [NAME] [FLAG...]", ""]
    for command in COMMANDS.values():
        lines += _entry(" ".join(filter(None, (command.name, command.usage))), command.summary)
    lines += ["", *_wrapped("Flags may stand before or after the command; a container is named by --name or first.")]
    lines += _wrapped("berth help COMMAND lists its flags.")
    return _joined(lines)


def _explained(command: Command) -> str:
    lines = _wrapped(" ".join(filter(None, ("usage: berth", command.name, command.usage, "[FLAG...]"))), hanging=7)
    lines += ["", *_wrapped(command.summary)]
    if command.name in _NOTES:
        lines += _wrapped(_NOTES[command.name])
    lines.append("")
    for flag in command.flags:
        lines += _entry(_spelled(flag), flag.summary)
    return _joined(lines)


def _spelled(flag: Flag) -> str:
    return f"{f'-{flag.short}, ' if flag.short else ''}--{flag.name}{f' {flag.value}' if flag.value else ''}"


def _entry(title: str, summary: str) -> list[str]:
    return [f"  {title}", *_wrapped(summary, indent=6, hanging=6)]


def _wrapped(text: str, indent: int = 0, hanging: int = 0) -> list[str]:
    """`text` in lines of WIDTH; textwrap would cost more than the interpreter."""
    lines, line = [], " " * indent
    for word in text.split():
        if line.strip() and len(line) + 1 + len(word) > WIDTH:
            lines.append(line)
            line = " " * hanging
        line += word if not line.strip() else f" {word}"
    return [*lines, line]


def _joined(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
