"""What somebody meant who has written a word that there is not."""

from __future__ import annotations

from berth.cli.table import OTHER_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SHORT = 3  # letters, of which one may be wrong
_LONGEST = 80


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """The end of a sentence about the unknown `word`: the nearest of `known`, else the command that lists them."""
    meant = OTHER_NAMES.get(word) or _nearest(word[:_LONGEST], tuple(known))
    return f"; did you mean {meant}?" if meant else f'; "berth {otherwise.strip()}" lists what there is'


def _nearest(word: str, known: Sequence[str]) -> str:
    """The only one of `known` that begins so, or the one that is a slip of the finger away from `word`; "" for none."""
    letters = len(word.lstrip("-"))
    longer = [other for other in known if other.startswith(word)]
    if letters >= _SHORT and len(longer) == 1:
        return longer[0]
    distance, nearest = min((_slips(word, other), other) for other in known)
    return nearest if distance <= letters // _SHORT else ""


def _slips(one: str, other: str) -> int:
    """How many letters are too many, too few, wrong or exchanged with the next: the distance of Damerau, restricted."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        older, before, row = before, row, [i]
        for j, right in enumerate(other, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (letter != right)))
            if i > 1 and j > 1 and (one[i - 2], letter) == (right, other[j - 2]):
                row[-1] = min(row[-1], older[j - 2] + 1)
    return row[-1]
