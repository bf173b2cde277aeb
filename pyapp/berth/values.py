"""Turning words that a person wrote into values, one function per kind of value.

Each takes the `label` the person knows the value by, and raises UsageError with one sentence.  Nothing here
opens a file: paths are made absolute against the caller's `directory`, and files arrive as their text.
"""

from __future__ import annotations

from berth import rules
from berth.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_DIGITS_MOST = 24  # more than any number here has; Python refuses to read thousands of them
_SECONDS_MOST = 86400.0
_IMAGE_SUFFIXES = (".img", ".ext4", ".raw")


def size(label: str, text: str) -> int:
    """Bytes from `512M`, `1.5g`, `2GiB` or a bare number; units are powers of 1024."""
    return rules.memory(label, _bytes(label, text))


def bandwidth(label: str, text: str) -> int:
    """Bytes a second, written as a size is."""
    return rules.bandwidth(label, _bytes(label, text))


def _bytes(label: str, text: str) -> int:
    upper = text.upper() if text.isascii() else ""
    number = upper.removesuffix("B").removesuffix("I")
    unit = number[-1:] if number[-1:] in _UNITS else ""
    digits = _decimal(number.removesuffix(unit))
    if digits is None or (number != upper and not unit):
        raise UsageError(f"{label} {rules.quoted(text)}: this is no size; write one such as 512M or 1.5G")
    whole, fraction = digits
    number_of_bytes: int = int(whole + fraction) * _UNITS[unit] // 10 ** len(fraction)
    return number_of_bytes


def processors(label: str, text: str) -> float:
    """A number of processors, fractions included."""
    digits = _decimal(text)
    if digits is None:
        raise UsageError(f"{label} {rules.quoted(text)}: this is no number of processors; write one such as 1.5")
    return rules.cpus(label, float(".".join(digits)))


def processes(label: str, text: str) -> int:
    """A number of processes."""
    return rules.pids(label, count(label, text))


def oom_score(label: str, text: str) -> int:
    """A whole number, which may have a sign, for the kernel's choice of what to kill."""
    sign = -1 if text.startswith("-") else 1
    return rules.oom_score(label, sign * count(label, text.removeprefix("-")))


def count(label: str, text: str) -> int:
    """A whole number from 0 up."""
    if 0 < len(text) <= _DIGITS_MOST and set(text) <= rules.DIGITS:
        return int(text)
    raise UsageError(f"{label} {rules.quoted(text)}: this is no whole number; write one such as 100")


def seconds(label: str, text: str) -> float:
    """A time in seconds, fractions included, from 0 to a day."""
    digits = _decimal(text)
    if digits is not None and (value := float(".".join(digits))) <= _SECONDS_MOST:
        return value
    raise UsageError(f"{label} {rules.quoted(text)}: this is no time in seconds up to a day; write one such as 10")


def choice(label: str, text: str, choices: Sequence[str]) -> str:
    """One of the words `choices`."""
    if text in choices:
        return text
    raise UsageError(f"{label} {rules.quoted(text)}: choose one of {', '.join(choices)}")


def privileges(label: str, items: Sequence[str], choices: Sequence[str]) -> tuple[str, ...]:
    """The protections to lift, in the order of `choices`; `full` stands for all of them."""
    for item in items:
        choice(label, item, (*choices, "full"))
    return tuple(choices) if "full" in items else tuple(item for item in choices if item in items)


def absolute(label: str, text: str, directory: str) -> str:
    """The host's path `text`, taken from `directory` where it is relative."""
    return rules.path(label, text if text.startswith("/") or not text else f"{directory}/{text}")


def port(label: str, text: str) -> tuple[int, int, int, str, str | None]:
    """First port of the phone and of the container, how many, protocol and address, from `[ADDR:]HOST:CONT[/tcp|udp]`.

    `8080` is short for `8080:8080`; `1000-2000:3000-4000` are ranges; an IPv6 address is written in brackets.
    """
    ports, slash, protocol = text.partition("/")
    if slash and protocol not in ("tcp", "udp"):
        raise UsageError(f"{label} {rules.quoted(text)}: {rules.quoted(protocol)} is neither tcp nor udp")
    where, bracket, rest = ports[1:].partition("]:") if ports.startswith("[") else ("", "", ports)
    if ports.startswith("[") and not bracket:
        raise UsageError(f"{label} {rules.quoted(text)}: an address in brackets is written [::1]:8080:80")
    fields = rest.split(":")
    if len(fields) > 2 and not bracket:
        where, fields = fields[0], fields[1:]
    if len(fields) > 2:
        raise UsageError(f"{label} {rules.quoted(text)}: this is no port; write one such as 8080:80 or [::1]:8080:80")
    first, count = _port_range(label, text, fields[0])
    inner, inner_count = _port_range(label, text, fields[-1])
    if count != inner_count:
        raise UsageError(f"{label} {rules.quoted(text)}: {count} ports don't fit {inner_count}; make them equal")
    return first, inner, count, protocol or "tcp", rules.own_address(label, where) if where else None


def _port_range(label: str, text: str, word: str) -> tuple[int, int]:
    """The first number and how many, from `80` or `80-89`."""
    first, dash, last = word.partition("-")
    numbers = []
    for digits in (first, last if dash else first):
        if not digits or len(digits) > _DIGITS_MOST or not set(digits) <= rules.DIGITS:
            raise UsageError(f"{label} {rules.quoted(text)}: {rules.quoted(digits)} is no port; write 8080:80 or 80-89")
        numbers.append(rules.port(f"{label} {rules.quoted(text)}:", int(digits)))
    if numbers[1] < numbers[0]:
        raise UsageError(f"{label} {rules.quoted(text)}: the range {word} runs backwards; write the lower port first")
    return numbers[0], numbers[1] - numbers[0] + 1


def bind(label: str, text: str, directory: str) -> tuple[str, str, bool]:
    """Source, destination and whether read-only, from `SRC:DST`, `SRC:DST:ro` or `SRC:DST:rw`."""
    source, colon, rest = text.partition(":")
    destination, _, mode = rest.partition(":")
    if not (source and colon and destination) or (mode or "rw") not in ("ro", "rw") or rest.endswith(":"):
        raise UsageError(f"{label} {rules.quoted(text)}: a bind is written SRC:DST, SRC:DST:ro or SRC:DST:rw")
    return absolute(label, source, directory), rules.destination(label, destination), mode == "ro"


def hook(label: str, text: str, stages: Sequence[str]) -> tuple[str, str]:
    """Stage and path from `STAGE=PATH`."""
    stage, equals, path = text.partition("=")
    if not equals:
        raise UsageError(f"{label} {rules.quoted(text)}: a hook is written STAGE=PATH, as in prestart=/data/hook")
    return choice(label, stage, stages), rules.path(label, path)


def variable(label: str, text: str) -> tuple[str, str]:
    """Name and value from `KEY=VALUE`."""
    key, equals, value = text.partition("=")
    if not equals:
        hint = "; a file of variables is given with --env-file" if "/" in text else ""
        raise UsageError(f"{label} {rules.quoted(text)}: a variable is written KEY=VALUE{hint}")
    return rules.variable(label, key), rules.text(label, value)


def variables(path: str, text: str) -> dict[str, str]:
    """The variables in the env file `path` whose content is `text`.

    One KEY=VALUE a line; empty lines and those that begin with # are passed over, `export ` before a key and one
    pair of quotes around a value are taken off, nothing is expanded.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            key, value = variable(f"{rules.quoted(path)}, line {number}:", stripped.removeprefix("export ").lstrip())
            found[key] = value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value
    return found


def name_from(root: str) -> str:
    """The name that a directory or image gives its container; UsageError where it gives none."""
    base = root.rstrip("/").rpartition("/")[2]
    for suffix in _IMAGE_SUFFIXES:
        base = base.removesuffix(suffix)
    allowed = rules.LETTERS | rules.DIGITS | frozenset("._-")
    name = "".join(letter if letter in allowed else "-" for letter in base).lstrip("._-")[: rules.NAME_LENGTH]
    if not name:
        raise UsageError(f"{rules.quoted(root)} gives the container no name; add --name")
    return name


def _decimal(text: str) -> tuple[str, str] | None:
    """The digits before and after the point of a plain decimal number; None where `text` is none."""
    whole, _, fraction = text.partition(".")
    if whole and len(text) <= _DIGITS_MOST and set(whole + fraction) <= rules.DIGITS and not text.endswith("."):
        return whole, fraction
    return None
