"""What every command that tells something has in common: how wide it may be, and JSON."""

import os
import sys

import msgspec

from berth.cli.layout import PHONE
from berth.kernel.terminals import window_size
from berth.service.session import Session


def room(session: Session) -> int | None:
    """Return how many columns the caller's output has; None where nothing is cut because a program reads it.

    COLUMNS in the caller's environment goes before the terminal's own size, as with other programs.
    """
    chosen = session.environment.get("COLUMNS", "")
    if chosen.isascii() and chosen.isdigit() and int(chosen) > 0:
        return int(chosen)
    if os.isatty(1):
        return window_size(1)[1] or PHONE
    return None


def print_json(value: object) -> None:
    """Print `value`, which msgspec can encode, as one line of JSON."""
    print(msgspec.json.encode(value).decode())


def write_bytes(data: bytes) -> None:
    """Write all of `data` to the standard output, behind what was printed, as it is.

    Raises BrokenPipeError when nobody reads it any more.
    """
    sys.stdout.flush()
    while data:
        data = data[os.write(1, data) :]
