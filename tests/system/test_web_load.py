"""What the dashboard bears, for some seconds; `python -m tests.load` does the same for as long as one likes.

Machines differ, so nothing here is a matter of speed alone: no answer may be wrong, memory stays as it is, nothing goes
to a temporary file, and an answer costs at most so many times what it costs a server that does nothing else.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests import load
from tests.dashboard import Dashboard, shared

pytestmark = pytest.mark.system

LIST_SECONDS = [2, pytest.param(30, marks=pytest.mark.full)]
TERMINAL_SECONDS = [3.0, pytest.param(60.0, marks=pytest.mark.full)]
CPU_SECONDS_EACH = 1 / 1000  # a thousand lists in a second are one processor's work at most
MOST_TIMES_BARE = 4.0


@pytest.fixture(scope="module")
def dashboard(berth_home: Path) -> Iterator[Dashboard]:
    with shared(berth_home) as dashboard:
        yield dashboard


@pytest.mark.parametrize("seconds", LIST_SECONDS)
def test_eight_connections_get_list_after_list_without_an_error(dashboard: Dashboard, seconds: int) -> None:
    answered = load.ask_for_lists(dashboard, seconds)
    bare = load.ask_bare(msgspec.json.encode({"containers": [load.SUMMARY] * load.CONTAINERS}), seconds)

    assert answered.wrong == []
    assert answered.cpu_each < CPU_SECONDS_EACH
    assert answered.cpu_each < MOST_TIMES_BARE * bare.cpu_each


@pytest.mark.parametrize("seconds", TERMINAL_SECONDS)
def test_twenty_terminals_stream_to_slow_readers_with_flat_memory(dashboard: Dashboard, seconds: float) -> None:
    streamed = load.stream_terminals(dashboard, seconds)

    assert streamed.wrong == []
    assert streamed.frames >= load.TERMINALS
