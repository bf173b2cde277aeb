"""Where a start can be made to stand still: tests kill processes at each of these places.

With BERTH_PAUSE_AT naming a stage, the process that reaches it stops itself (SIGSTOP) until it is continued.
"""

import os
import signal

STAGES = ("locked", "recorded", "mounted", "cgroups", "namespaces", "ready", "executed", "running")


def reached(stage: str) -> None:
    """Stop here if the environment says so."""
    if os.environ.get("BERTH_PAUSE_AT") == stage:
        os.kill(os.getpid(), signal.SIGSTOP)
