"""`berth plan`: what a start would do, and why, in the order in which it is done."""

import os

from berth.cli import lifecycle, specs
from berth.cli.escapes import one_line
from berth.cli.flags import Invocation
from berth.cli.layout import wrapped
from berth.cli.output import print_json, room
from berth.engine.narration import describe
from berth.engine.preview import preview
from berth.home import find_home
from berth.service.session import Session

_INDENT = 2


def plan(invocation: Invocation, session: Session) -> int:
    """`berth plan`."""
    home = find_home(os.environ)
    spec = lifecycle.read_spec(home, invocation, session)
    found = preview(home, spec, specs.start_options(invocation))
    groups = describe(spec, found)
    if invocation.json:
        print_json(
            {
                "name": spec.name,
                "running": found.recorded,
                "skipped": found.skipped,
                "groups": groups,
                "plan": found.plan,
            }
        )
        return 0
    width = room(session)
    for title, entries in groups.items():
        print(title)
        for entry in entries:
            told = f"{entry.what} - {entry.why}" if entry.why else entry.what
            print("\n".join(wrapped(one_line(told), width, _INDENT, 3 * _INDENT)))
    return 0
