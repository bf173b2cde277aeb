"""Where a test run keeps its state, and how what a killed run left is found and undone by the next one.

The folder carries the pid and start time of the run that made it, so whether that run still lives can be seen from the
name alone; nothing has to be written by a process that may be killed at any moment.
"""

import contextlib
import os
import signal
import subprocess
from pathlib import Path

from berth.kernel.processes import Process
from tests import host_state, rootfs
from tests.program import Berth

PLACE = Path("/var/tmp")  # on disk, and short: a socket's path has 108 bytes at most
PREFIX = "berth-test-"


def make_run_folder() -> Path:
    """Make and return the folder of this run."""
    pid, started, *_ = host_state.describe(os.getpid()).split()
    folder = PLACE / f"{PREFIX}{pid}-{started}"
    folder.mkdir(mode=0o700)
    return folder


def home_of(run_folder: Path) -> Path:
    """Return the BERTH_HOME of a run."""
    return run_folder / "home"


def undo_dead_runs() -> None:
    """Undo what runs left that were killed: their containers, services and folders."""
    for folder in PLACE.glob(f"{PREFIX}*-*"):
        pid, _, started = folder.name.removeprefix(PREFIX).partition("-")
        if not host_state.describe(int(pid)).startswith(f"{pid} {started} "):
            undo(folder)


def undo(run_folder: Path) -> None:
    """Stop all that runs with the state in `run_folder`, whatever the tests made of it, and remove the folder."""
    home = home_of(run_folder)
    if home.exists():
        stop_containers(Berth(home))
        kill_processes(home)
        with contextlib.suppress(subprocess.TimeoutExpired):
            Berth(home)("recover")
    rootfs.remove(run_folder)


def stop_containers(berth: Berth) -> None:
    """Ask all containers to stop; a program too broken for that is no obstacle to what follows."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        berth("stop", "--all", "--timeout", "2")


def kill_processes(home: Path) -> None:
    """Kill what was started with BERTH_HOME=`home`, and what runs in its containers, and nothing of another home's."""
    for pid in host_state.processes_of(home):
        process = Process(pid)
        if host_state.is_of(home, pid):  # still: another one may have got the pid before it was held
            process.send(signal.SIGKILL)
        process.close()
