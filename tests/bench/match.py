"""Contenders that do the same thing, measured in turn: what disturbs the machine disturbs all of them alike."""

from collections.abc import Callable, Sequence
from statistics import median, quantiles
from typing import NamedTuple

OURS = "berth"


class Failed(Exception):
    """A contender could not do what it was asked; `str()` is its own last line of explanation."""


class Contender(NamedTuple):
    """Someone who is measured: each call of `play` returns one measurement, and raises Failed when it can't."""

    name: str
    play: Callable[[], float]


class Row(NamedTuple):
    """The measurements of one contender, or in `trouble` why there are none."""

    name: str
    values: tuple[float, ...]
    trouble: str = ""
    unit: str = "ms"

    @property
    def median(self) -> float:
        """The median, for a row without trouble."""
        return median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """The quarter below which, and the quarter above which, lie the fastest and the slowest measurements."""
        if len(self.values) < 2:
            return self.values[0], self.values[0]
        low, _, high = quantiles(self.values, n=4, method="inclusive")
        return low, high

    @property
    def is_ours(self) -> bool:
        """Whether this is Berth itself: where it fails, the benchmark fails."""
        return self.name.startswith(OURS)


class Table(NamedTuple):
    """One question and every contender's answer to it; `how` says what exactly was measured."""

    title: str
    how: str
    rows: tuple[Row, ...]

    def median(self, name: str) -> float | None:
        """Return the median of contender `name`, None when it has no measurement."""
        return next((row.median for row in self.rows if row.name == name and row.values), None)


def play(contenders: Sequence[Contender], rounds: int) -> tuple[Row, ...]:
    """Measure each contender once a round, after one round that only warms up; who fails is out of the match.

    Every round begins with another contender, so that nobody always follows the same one.
    """
    values: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    troubles: dict[str, str] = {}
    for number in range(-1, rounds):
        turn = number % len(contenders)
        for contender in (*contenders[turn:], *contenders[:turn]):
            if contender.name in troubles:
                continue
            try:
                value = contender.play()
            except Failed as failure:
                troubles[contender.name] = str(failure)
                continue
            if number >= 0:
                values[contender.name].append(value)
    return tuple(
        Row(name, () if name in troubles else tuple(found), troubles.get(name, "")) for name, found in values.items()
    )
