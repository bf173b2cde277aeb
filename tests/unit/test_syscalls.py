"""Which calls this very process makes."""

import subprocess
import sys
from typing import Final

TELL: Final = """
import os, sys
sys.path[:] = sys.argv[1:]
from berth.kernel.syscalls import own_architecture
print(os.uname().machine, own_architecture().audit, own_architecture().numbers["bpf"])
"""


def told_of_itself(*above: str) -> list[str]:
    """Return the machine, and the table and one number of its own calls, as a process started by `above` tells them."""
    python = (sys.executable, "-IS", "-c", TELL, *sys.path)
    return subprocess.run([*above, *python], check=True, capture_output=True, text=True).stdout.split()


def test_the_calls_of_this_process_are_told_by_its_width_and_not_by_what_uname_is_made_to_say() -> None:
    machine, *own = told_of_itself()

    other, *narrow = told_of_itself("setarch", "linux32")

    assert other != machine, "uname does say something else"
    assert narrow == own
