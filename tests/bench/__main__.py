"""`python -m tests.bench`: measure everything, print the tables and write docs/performance.md."""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType

import build
from tests.bench import inside, life_cycle, network, one_off, report, resident, web
from tests.bench.goals import judge
from tests.bench.match import Failed, Table
from tests.bench.scene import Scene, stage

PAGE = build.ROOT / "docs" / "performance.md"
_ROUNDS = 21
_QUICK_ROUNDS = 5
_MATCHES: dict[str, Callable[[Scene, int], Iterator[Table]]] = {
    "one-off": one_off.matches,
    "start": life_cycle.matches,
    "resident": resident.matches,
    "inside": inside.matches,
    "network": network.matches,
    "web": web.matches,
}


def main() -> int:
    """Measure what the command line names; return 1 when Berth itself failed somewhere."""
    parser = argparse.ArgumentParser(prog="python3 build.py bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help=f"measurements of each contender ({_ROUNDS})")
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK_ROUNDS} rounds, and the page stays as it is")
    parser.add_argument("only", nargs="*", metavar="PART", help=f"{', '.join(_MATCHES)}; then the page stays as it is")
    options = parser.parse_args()
    if unknown := set(options.only) - set(_MATCHES):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(_MATCHES)}")
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: give a number from 1")
    rounds = _QUICK_ROUNDS if options.quick else options.rounds
    signal.signal(signal.SIGTERM, _interrupt)
    tables: list[Table] = []
    try:
        with stage() as scene:
            for part in options.only or _MATCHES:
                build.say(f"bench: {part}")
                for table in _MATCHES[part](scene, rounds):
                    print(report.table_on_terminal(table), flush=True)
                    tables.append(table)
    except Failed as failure:
        print(f"bench: Berth failed: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted; everything is cleaned up", file=sys.stderr)
        return 130
    goals = judge(tables)
    build.say("bench: the goals")
    print(report.goals_on_terminal(goals))
    if not (options.quick or options.only):
        PAGE.write_text(report.as_page(tables, goals, rounds))
        build.say(f"wrote {PAGE.relative_to(build.ROOT)}")
    return int(any(row.is_ours and row.trouble for table in tables for row in table.rows))


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
