"""`berth updates`: whether there is a newer version."""

import os

from berth.android.updates import Update, look
from berth.cli.escapes import one_line
from berth.cli.flags import Invocation
from berth.cli.layout import wrapped
from berth.cli.output import print_json, room
from berth.home import find_home
from berth.service.session import Session


def updates(invocation: Invocation, session: Session) -> int:
    """`berth updates`: look where this build's newer versions are published."""
    found = look(find_home(os.environ))
    if invocation.json:
        print_json(found)
    else:
        print("\n".join(wrapped(one_line(_told(found)), room(session))))
    return 0


def _told(found: Update) -> str:
    if not found.newer:
        return f"{found.version} is the latest version"
    told = f"version {found.latest} is there, this one is {found.version}"
    if found.zip:
        told += f"; get it from {found.zip}"
    return f"{told}; what is new in it: {found.changelog}" if found.changelog else told
