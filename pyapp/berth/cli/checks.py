"""`berth check`: what this device has of what Berth needs, what it costs to lack the rest, and how to get it."""

import os

from berth.cli.flags import Invocation
from berth.cli.layout import wrapped
from berth.cli.output import print_json, room
from berth.engine.inspect import read_host
from berth.engine.probes import read_probes
from berth.engine.requirements import Requirement, fulfilled, requirements
from berth.home import find_home
from berth.service.session import Session

_MARKS = {"ok": "ok     ", "missing": "MISSING", "unknown": "?      "}
_INDENT = 8


def check(invocation: Invocation, session: Session) -> int:
    """`berth check`: the exit code is 1 when something is missing that every container needs."""
    host = read_host()
    judged = requirements(host, read_probes(find_home(os.environ), host))
    if invocation.json:
        print_json(judged)
    else:
        width = room(session)
        for one in judged:
            print("\n".join(_told(one, width)))
        print("\n".join(wrapped(_summary(judged), width)))
    return 0 if fulfilled(judged) else 1


def _told(one: Requirement, width: int | None) -> list[str]:
    head = f"{one.title}{f': {one.found}' if one.found else ''}"
    lines = wrapped(head, width, _INDENT)
    lines[0] = f"{_MARKS[one.state]} {lines[0].lstrip()}"
    if one.state == "missing":
        lines += wrapped(f"Without it, {one.cost}.", width, _INDENT)
        lines += wrapped(f"To get it, {one.remedy}.", width, _INDENT)
    return lines


def _summary(judged: tuple[Requirement, ...]) -> str:
    missing = [one for one in judged if one.state == "missing"]
    count = f"{sum(one.state == 'ok' for one in judged)} of {len(judged)} are there"
    if any(one.state == "unknown" for one in judged):
        return f"{count}; run it as root for the others, and for containers."
    if fulfilled(judged):
        return f"{count}; containers can run here."
    needed = ", ".join(one.title for one in missing if one.required)
    return f"{count}; containers can't run without: {needed}."
