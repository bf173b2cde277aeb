"""How far a start, an end or an operation is."""

import re
from pathlib import Path

import pytest

from berth.engine import stages
from berth.engine.stages import STAGES, TOLD
from berth.service.progress import log_line, part_done


@pytest.mark.parametrize(
    ("kind", "steps"),
    [
        ("start", list(TOLD)),
        ("start", ["recorded", "cgroups", "executed"]),
        ("stop", ["asked", "killed", "ended"]),
        ("restart", ["asked", "ended", "recorded", "executed"]),
    ],
)
def test_every_step_brings_an_operation_nearer_to_its_end(kind: str, steps: list[str]) -> None:
    parts = [0.0]
    for step in steps:
        part = part_done(kind, step, parts[-1])
        assert part is not None
        parts.append(part)

    assert parts == sorted(set(parts))
    assert parts[-1] < 1


def test_a_step_of_something_else_changes_nothing() -> None:
    assert part_done("stop", "mounted", 0.5) == 0.5
    assert part_done("demo", "mounted", None) is None
    assert part_done("restart", "asked", 0.6) == 0.6


@pytest.mark.parametrize("step", TOLD)
def test_every_step_that_a_start_tells_has_its_words(step: str) -> None:
    assert log_line(step, 0) != f"[   0.000 s] {step}\n"


def test_a_step_stands_in_the_log_as_a_sentence() -> None:
    assert log_line("mounted", 0.0125) == "[   0.013 s] its image is checked and mounted\n"


def test_every_stage_at_which_a_process_can_be_stopped_is_listed() -> None:
    engine = Path(stages.__file__).parent
    code = "".join(path.read_text() for path in engine.glob("*.py"))

    assert set(re.findall(r'\b(?:reached|come_to)\("(\w+)"\)', code)) == set(STAGES)
    assert set(TOLD) <= set(STAGES)
