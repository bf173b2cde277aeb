"""How what is told is laid out: tables that fit a phone's 40 columns, wrapped lines."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from unicodedata import east_asian_width

PHONE = 40  # columns
_SHORTEST = 8
_ELLIPSIS = "…"


class Column(NamedTuple):
    """A table's column; numbers stand to the right, and an `optional` one is left out where there is no room."""

    title: str
    right: bool = False
    optional: bool = False


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]], width: int | None) -> list[str]:
    """Return the lines of a table that is `width` wide at most; None for as wide as it gets.

    Where there is no room, optional columns go first, the last before others; then the gaps shrink; and then the first
    column's words are cut in the middle, because names of a family differ at their ends.
    """
    cells = [[column.title for column in columns], *(list(row) for row in rows)]
    kept = list(range(len(columns)))
    while width is not None and _needed(cells, kept, gap=1) > width:
        optional = [index for index in kept if columns[index].optional]
        if not optional:
            break
        kept.remove(optional[-1])
    gap = 2 if width is None or _needed(cells, kept, gap=2) <= width else 1
    if width is not None:
        room = max(_SHORTEST, width - _needed(cells, kept[1:], gap) - gap)
        cells = [[shortened(row[0], room), *row[1:]] for row in cells]
    widths = [max(columns_of(row[index]) for row in cells) for index in kept]
    lines = []
    for row in cells:
        shown = [
            _padded(row[index], size, right=columns[index].right) for index, size in zip(kept, widths, strict=True)
        ]
        lines.append((" " * gap).join(shown).rstrip())
    return lines


def _needed(cells: list[list[str]], kept: list[int], gap: int) -> int:
    return sum(max(columns_of(row[index]) for row in cells) for index in kept) + gap * max(0, len(kept) - 1)


def _padded(text: str, size: int, *, right: bool) -> str:
    space = " " * (size - columns_of(text))
    return space + text if right else text + space


def columns_of(text: str) -> int:
    """Return how many columns of a terminal `text` takes: East Asian letters are two wide."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def shortened(text: str, width: int) -> str:
    """Return `text`, cut in the middle so that it takes `width` columns at most."""
    if columns_of(text) <= width:
        return text
    head, tail = text[: (len(text) + 1) // 2], text[(len(text) + 1) // 2 :]
    while columns_of(head + tail) > width - 1:
        if len(head) > len(tail):
            head = head[:-1]
        else:
            tail = tail[1:]
    return head + _ELLIPSIS + tail


def wrapped(text: str, width: int | None, indent: int = 0, hanging: int | None = None) -> list[str]:
    """Return `text` in lines of `width` columns, begun with `indent` spaces and continued with `hanging` ones.

    A word that is longer than a line is left whole: it may be a path that somebody wants to copy.
    """
    further = " " * (indent if hanging is None else hanging)
    lines, line, empty = [], " " * indent, True
    for word in text.split():
        if not empty and width is not None and columns_of(line) + 1 + columns_of(word) > width:
            lines.append(line)
            line, empty = further, True
        line += word if empty else f" {word}"
        empty = False
    return [*lines, line]
