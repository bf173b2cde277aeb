"""Where a test run keeps its state, and how what a killed run left is found and undone by the next one.

A run holds a lock on its folder for as long as it lives, and the kernel lets go of it when the run is killed.  That
holds between PID namespaces too, where a pid says nothing.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from berth.kernel.processes import Process
from tests import host_state, rootfs
from tests.host_state import PREFIX, RUNS, home_of
from tests.program import Berth


@contextlib.contextmanager
def run_folder() -> Iterator[Path]:
    """Undo what killed runs left, have a folder for this run, and undo at the end what this one left."""
    undo_dead_runs()
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=RUNS))
        with _opened(folder) as fd:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if not folder.exists():
                continue  # another run took it for a dead one's before it was locked
            try:
                yield folder
            finally:
                undo(folder)
            return


def undo_dead_runs() -> None:
    """Undo what runs left that were killed: their containers, services and folders."""
    for folder in RUNS.glob(f"{PREFIX}*"):
        with contextlib.suppress(FileNotFoundError, BlockingIOError), _opened(folder) as fd:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            undo(folder)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


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
    """End all containers, at once; a program too broken for that is no obstacle to what follows."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        berth("stop", "--all", "--timeout", "0")


def kill_processes(home: Path) -> None:
    """Kill what was started with BERTH_HOME=`home`, and what runs in its containers, and nothing of another home's."""
    for pid in host_state.processes_of(home):
        process = Process(pid)
        if host_state.is_of(home, pid):  # still: another one may have got the pid before it was held
            process.send(signal.SIGKILL)
        process.close()
