"""Capabilities of a real process, before and after it executes a program as root."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from berth.engine.confine import confine
from berth.kernel.capabilities import NUMBERS, drop_bounding, set_capabilities
from berth.plan.capabilities import ONE_OFF_CAPABILITIES, plan_capabilities
from berth.spec import Spec
from tests.forked import in_child

pytestmark = pytest.mark.system

DEFAULT = plan_capabilities(Spec(name="web"))


@pytest.fixture
def at_hand() -> int:
    """The capabilities that this machine has to give, as a mask."""
    with open("/proc/self/status", encoding="ascii") as file:
        return sets_in(file.read())["CapBnd"]


def sets_in(status: str) -> dict[str, int]:
    lines = [line.split(":") for line in status.splitlines() if line.startswith("Cap")]
    return {name: int(value, 16) for name, value in lines}


def mask(names: tuple[str, ...]) -> int:
    return sum(1 << NUMBERS[name] for name in names)


def sets_after(work: Callable[[], object], *, executes: bool) -> dict[str, int]:
    """The Cap lines of a child that has done `work`, or of a program that it then executes."""
    if executes:
        done = subprocess.run(
            ["/bin/cat", "/proc/self/status"], preexec_fn=work, check=True, capture_output=True, text=True
        )
        return sets_in(done.stdout)

    def look() -> str:
        work()
        return Path("/proc/self/status").read_text()

    return sets_in(in_child(look))


@pytest.mark.parametrize("keep", [DEFAULT, ONE_OFF_CAPABILITIES, ()])
@pytest.mark.parametrize("executes", [False, True])
def test_nothing_but_what_is_kept_is_left(keep: tuple[str, ...], executes: bool, at_hand: int) -> None:
    left = sets_after(lambda: confine(keep, (), b""), executes=executes)
    kept = mask(keep) & at_hand
    assert left == {"CapInh": 0, "CapPrm": kept, "CapEff": kept, "CapBnd": kept, "CapAmb": 0}


def test_the_bounding_set_can_be_dropped_while_the_process_keeps_its_own(at_hand: int) -> None:
    """A seccomp filter is installed in between, which takes SYS_ADMIN."""
    left = sets_after(lambda: drop_bounding(("CHOWN",)), executes=False)
    assert left["CapBnd"] == 1 << NUMBERS["CHOWN"]
    assert left["CapEff"] == at_hand


def test_a_capability_that_is_not_permitted_is_passed_over() -> None:
    def twice() -> None:
        set_capabilities(("CHOWN",))
        set_capabilities(("CHOWN", "KILL"))

    assert sets_after(twice, executes=False)["CapPrm"] == 1 << NUMBERS["CHOWN"]
