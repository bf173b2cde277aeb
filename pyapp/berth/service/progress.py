"""How far an operation is: the steps that a start and an end come to, told by whoever is at them."""

from collections.abc import Mapping

from berth.engine.stages import TOLD

_STOP = ("asked", "killed", "ended")
_STEPS: Mapping[str, tuple[str, ...]] = {"start": TOLD, "stop": _STOP, "restart": (*_STOP, *TOLD)}


def part_done(kind: str, step: str, before: float | None) -> float | None:
    """Return how much of an operation is done when it has come to `step`, from 0 to 1, never less than `before`.

    `before` itself for a step that is none of this kind's.
    """
    steps = _STEPS.get(kind, ())
    if step not in steps:
        return before
    return max(before or 0.0, (steps.index(step) + 1) / (len(steps) + 1))


def log_line(step: str, seconds: float) -> str:
    """Return what stands in the log of an operation that came to `step` after `seconds`."""
    return f"[{seconds:8.3f} s] {_WORDS.get(step, step)}\n"


_WORDS: Mapping[str, str] = {
    "asked": "its first program is asked to end",
    "killed": "it did not end in time and is killed",
    "ended": "it has ended; what was done for it is being undone",
    "recorded": "its record is written; its files are opened",
    "mounted": "its image is checked and mounted",
    "cgroups": "its control groups are made",
    "namespaces": "it has namespaces of its own; its root is being built",
    "ready": "its root is built; its first program is executed",
    "executed": "its first program lives",
}
