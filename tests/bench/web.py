"""What the dashboard bears and what it costs: lists, terminals, and a web process that nobody asks."""

import time
from collections.abc import Iterator

import msgspec

import build
from tests import load
from tests.bench.match import OURS, Failed, Row, Table
from tests.bench.resident import memory_of, wake_ups_of
from tests.bench.scene import Scene

LISTS = "berth, GET /containers of 20 containers"
BARE = "Flask and waitress alone, the same bytes"
GROWTH = "berth web process, between them"
KEPT = "berth, the terminals themselves: the last 256 KB of each"
MEMORY = "berth web process"
WAKE_UPS = "berth web process, idle"
_LIST_SECONDS = 30
_TERMINAL_SECONDS = 60.0
_SETTLING_SECONDS = 1.0


def matches(_: Scene, __: int) -> Iterator[Table]:
    """Measure all of this module, once: each is long enough for chance to even out."""
    build.make_dashboard()
    with load.own_dashboard() as dashboard:
        web = int(dashboard.published["pid"])
        time.sleep(_SETTLING_SECONDS)
        idle = wake_ups_of([web])
        memory = memory_of(MEMORY, [web])
        listed = load.ask_for_lists(dashboard, _LIST_SECONDS)
        bare = load.ask_bare(msgspec.json.encode({"containers": [load.SUMMARY] * load.CONTAINERS}), _LIST_SECONDS)
        streamed = load.stream_terminals(dashboard, _TERMINAL_SECONDS)
    if wrong := [*listed.wrong, *streamed.wrong]:
        raise Failed(f"{OURS} dashboard: {'; '.join(wrong)}")
    yield Table(
        "Lists",
        f"wrk with {load.CONNECTIONS} connections, {_LIST_SECONDS} s each; ours with a token, and no answer was wrong.",
        (Row(LISTS, (listed.rate,), unit="/s"), Row(BARE, (bare.rate,), unit="/s")),
    )
    yield Table(
        "Processor time of a list",
        "Of the server alone, in the same run.",
        (Row(LISTS, (listed.cpu_each * 1000,)), Row(BARE, (bare.cpu_each * 1000,))),
    )
    rows = ((GROWTH, streamed.grown_kib), (KEPT, streamed.kept_kib))
    yield Table(
        "Terminals",
        f"`yes` in {load.TERMINALS} terminals with as many slow readers: how much larger the processes are after "
        f"{_TERMINAL_SECONDS:g} s, in which no temporary file was made.",
        tuple(Row(name, (kib * 1024 / 1e6,), unit="MB") for name, kib in rows),
    )
    yield Table("Memory of the web process", "Proportional set size (PSS), before anybody asked.", (memory,))
    yield Table(
        "Wake-ups of the web process", "Context switches in 30 idle seconds.", (Row(WAKE_UPS, (idle,), unit=""),)
    )
