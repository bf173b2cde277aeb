"""The net process is killed before every single thing that it does to the phone; nothing of it is left."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house import House
from tests.phone import Phone, Place, wait_for

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]
CHECKOUT = Path(__file__).resolve().parents[2]
LIVES = 6
"""How many of its effects are tried; with --device=full it is every one of them."""


@pytest.fixture
def stranger(phone: Phone) -> Iterator[Place]:
    """A process with a network namespace of its own, in the place of a container's init."""
    made = Place(phone.berth.home)
    yield made
    made.end()


class Killed:
    """Net processes that are killed, as `tests.net_at_work` has them."""

    def __init__(self, phone: Phone, stranger: Place) -> None:
        command = ["env", f"PYTHONPATH={CHECKOUT}:{CHECKOUT}/pyapp", sys.executable, "-m", "tests.net_at_work"]
        self._program = subprocess.Popen(
            [*phone.prefix, *command, phone.berth.home, str(stranger.pid)],
            env=phone.berth.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def before(self, effect: int) -> int:
        """Have one be killed before that effect of its, 0 for never; return how many it had, when all is taken back."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        print(effect, file=self._program.stdin, flush=True)
        counted = int(self._program.stdout.readline())
        assert self._program.stdout.readline() == "done\n"
        return counted

    def __enter__(self) -> "Killed":
        return self

    def __exit__(self, *_: object) -> None:
        self._program.kill()
        self._program.communicate()


def test_killed_at_any_moment_it_leaves_nothing_that_is_not_taken_back(
    walled: tuple[str, House], stranger: Place, request: pytest.FixtureRequest
) -> None:
    kind, house = walled
    phone = house.phone
    before = phone.state()
    with Killed(phone, stranger) as killed:
        effects = killed.before(0)
        assert effects > 100
        step = 1 if request.config.getoption("--device") == "full" else effects // LIVES
        first = 1 + {"iptables-legacy": 0, "iptables-nft": step // 3, "nftables": 2 * step // 3}[kind] % step
        for effect in range(first, effects + 1, step):
            assert killed.before(effect) < effect
            wait_for("the net process has ended", lambda: phone.net_process() is None)
            assert phone.state() == before, f"after a kill before effect {effect} of {effects}"
