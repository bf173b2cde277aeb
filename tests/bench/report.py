"""The tables, on the terminal and as docs/performance.md."""

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench import peers
from tests.bench.goals import Goal
from tests.bench.match import Row, Table

_VERDICTS = {True: "reached", False: "not reached", None: "not measured"}
_READING = """\
`python3 build.py bench` measured this and wrote this page. The contenders of a table share one root file system and
take turns, a different one first in each of {rounds} rounds, after one round that is not counted: whatever else the
machine does disturbs all of them alike. Compare inside a table: milliseconds do not carry over to another machine,
ratios nearly do. Shown is the median, and between which values the middle half of the measurements lies. A peer that
does not work on this machine is listed with what it said.
"""


def table_on_terminal(table: Table) -> str:
    """Return one table as plain text."""
    rows = [f"  {row.name:<46} {_median(row):>12}   {_spread(row)}" for row in table.rows]
    return "\n".join((table.title, *rows))


def goals_on_terminal(goals: Sequence[Goal]) -> str:
    """Return the verdicts as plain text."""
    return "\n".join(f"  {_VERDICTS[goal.reached]:<12}  {goal.sentence} ({goal.by})" for goal in goals)


def as_page(tables: Sequence[Table], goals: Sequence[Goal], rounds: int) -> str:
    """Return docs/performance.md."""
    lines = ["# How fast Berth is, beside others", "", _READING.format(rounds=rounds), *_machine(), ""]
    lines += ["## Goals", "", "| Goal | | Measured |", "|---|---|---|"]
    lines += [f"| {goal.sentence} | {_VERDICTS[goal.reached]} | {goal.by} |" for goal in goals]
    lines += _what_holds(goals)
    for table in tables:
        lines += ["", f"## {table.title}", "", table.how, "", "| | Median | Middle half |", "|---|---:|---:|"]
        lines += [f"| {row.name} | {_median(row)} | {_spread(row)} |" for row in table.rows]
    return "\n".join(lines) + "\n"


def _what_holds(goals: Sequence[Goal]) -> list[str]:
    """Return what holds the goals that are not reached; those that are held by the same are named together."""
    missed = [goal for goal in goals if goal.reached is False and goal.held]
    if not missed:
        return []
    lines = ["", "## What holds those that are not reached", ""]
    for held in dict.fromkeys(goal.held for goal in missed):
        names = "; ".join(f"*{goal.sentence}* ({goal.by})" for goal in missed if goal.held == held)
        lines.append(f"- {names}. {held}")
    return lines


def _machine() -> list[str]:
    lines = [
        f"- Date: {time.strftime('%Y-%m-%d')}",
        f"- Kernel: Linux {platform.release()}, {platform.machine()}",
        f"- Processor: {_processor()}, {os.cpu_count()} of it; load {os.getloadavg()[0]:.1f} at the end",
        f"- Python: {platform.python_version()}",
    ]
    return lines + [f"- {name}: {peers.version(name)}" for name in peers.VERSIONS]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Hardware"):
            return value.strip()
    return "unknown"


def _median(row: Row) -> str:
    return f"{row.median:.1f} {row.unit}".strip() if row.values else "does not work here"


def _spread(row: Row) -> str:
    if not row.values:
        return row.trouble
    low, high = row.spread
    return f"{low:.1f} to {high:.1f}"
