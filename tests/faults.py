"""What tests of faults share: a rootfs with an init of the test's own, starts that stand still, trees compared."""

import contextlib
import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from berth.engine.containers import look_up
from berth.home import Home
from berth.kernel.processes import status_field
from berth.service import operations
from tests import host_state
from tests.program import Berth

INIT = """\
#!/bin/sh
trap 'exit 0' TERM
while :; do sleep 1000 & wait $!; done
"""
"""An init that ends on SIGTERM and does nothing else: the quickest to start and to stop."""

SECONDS = 60.0


def write_init(root: Path, text: str = INIT) -> Path:
    """Give the root file system at `root` the init script `text`, and return `root`."""
    init = root / "sbin" / "init"
    init.unlink(missing_ok=True)
    init.write_text(text)
    init.chmod(0o755)
    return root


def tree(folder: Path) -> dict[str, tuple[object, ...]]:
    """Return what is below `folder`: type, mode, owner, content or target of each entry, by its path.

    Times too, but not of folders: those change when a mount point comes and goes.
    """
    return {str(path.relative_to(folder)): _entry(path) for path in (folder, *folder.rglob("*"))}


def _entry(path: Path) -> tuple[object, ...]:
    found = path.lstat()
    facts = (stat.filemode(found.st_mode), found.st_uid, found.st_gid, found.st_rdev)
    if stat.S_ISDIR(found.st_mode):
        return facts
    if stat.S_ISLNK(found.st_mode):
        return (*facts, found.st_mtime_ns, path.readlink())
    if stat.S_ISREG(found.st_mode):
        return (*facts, found.st_mtime_ns, path.read_bytes())
    return (*facts, found.st_mtime_ns)


def run_tree(berth: Berth) -> dict[str, tuple[object, ...]]:
    """Return what is in the run folder about containers, which may be about to be removed."""
    folder = berth.home / "run" / "containers"
    while folder.exists():
        with contextlib.suppress(FileNotFoundError):  # removed while it was looked at
            return {path: facts for path, facts in tree(folder).items() if path != "."}
    return {}


def wait_until(condition: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
    """Wait until `condition` holds; fail the test, naming `what`, when it does not within `seconds`."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"not within {seconds:g} s: {what}"
        time.sleep(0.005)


def home_of(berth: Berth) -> Home:
    """Return the Home that `berth` works on."""
    return Home(str(berth.home), f"{berth.home}/run")


def condition(berth: Berth, name: str) -> str:
    """Return the condition of container `name` as its record tells it."""
    return look_up(home_of(berth), name).condition


def date_stop_back(berth: Berth, name: str) -> None:
    """Have container `name` have been stopped in an earlier boot."""
    note = berth.home / "containers" / name / "stopped-in-boot"
    assert note.exists()
    note.write_text("an earlier boot\n")


def is_alive(pid: int) -> bool:
    """Tell whether process `pid` runs (a zombie does not)."""
    return bool(host_state.describe(pid))


def await_catching(pid: int, number: int) -> None:
    """Wait until process `pid` catches signal `number`, which the kernel keeps from a PID 1 that does not."""
    wait_until(lambda: int(status_field(pid, "SigCgt") or "0", 16) & 1 << (number - 1), f"{pid} catches {number}")


def end_service(berth: Berth) -> None:
    """End the service of `berth` and return when it has ended."""
    operations.end_service(home_of(berth))


def children(pid: int) -> list[int]:
    """Return the children of the single-threaded process `pid`."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def open_files(pid: int) -> dict[int, str]:
    """Return what each descriptor of process `pid` is open on."""
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
    return found


def kill(pid: int) -> None:
    """Kill process `pid` and return when it has ended."""
    assert pid > 0, "to kill(2) anything else is a group of processes: this one's, for 0"
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), f"{pid} has ended")


class PausedStart:
    """A `berth` command that one of its processes has brought to a stand at a stage."""

    def __init__(self, berth: Berth, stage: str, name: str, *arguments: str | Path) -> None:
        self.berth = berth
        self.name = name
        self.client = subprocess.Popen(
            [*berth.command, *arguments],
            env={**berth.environment, "BERTH_PAUSE_AT": stage},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.paused = 0
        wait_until(self._stands, f"a process stands still at {stage}")
        self.roles = self._roles()

    def _stands(self) -> bool:
        assert self.client.poll() is None, f"the command did not stop there: {self.output()}"
        self.paused = next(filter(_is_paused, host_state.processes_of(self.berth.home)), 0)
        return self.paused != 0

    def _roles(self) -> dict[str, int]:
        """Return who takes part: client, worker, monitor, builder, init (PID 1), and child (a set-up child)."""
        found = {"client": self.client.pid}
        monitors, builders = [], []
        for pid in host_state.processes_of(self.berth.home):
            name = status_field(pid, "Name")
            if (status_field(pid, "NSpid") or "").endswith("\t1"):
                found["init"] = pid
            elif name == "berth: worker":
                found["worker"] = pid
            elif name == f"berth: {self.name}":
                monitors.append(pid)
            elif name == "berth: builder":
                builders.append(pid)
        for pid in monitors:  # a builder that was just forked still has the name of its monitor
            if int(status_field(pid, "PPid") or 0) in monitors:
                builders.append(pid)
            else:
                found["monitor"] = pid
        for pid in builders:
            found["child" if int(status_field(pid, "PPid") or 0) in builders else "builder"] = pid
        return found

    def kill(self, *roles: str) -> None:
        """Kill these at once and, when they have ended, let the one that stands still go on, unless it was killed."""
        for role in roles:
            os.kill(self.roles[role], signal.SIGKILL)
        wait_until(lambda: not any(is_alive(self.roles[role]) for role in roles), "the killed have ended")
        self.go_on()

    def go_on(self) -> None:
        """Let the one that stands still go on."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.paused, signal.SIGCONT)

    def output(self) -> str:
        """Wait for the command to end and return what it printed."""
        return self.client.communicate(timeout=SECONDS)[0]

    def settle(self) -> str:
        """Wait until nothing changes any more by itself, and return the condition of the container."""
        self.output()
        try:
            wait_until(self._settled, "the start has come to an end")
        except AssertionError as error:
            left = ", ".join(f"{role} {host_state.describe(pid) or 'ended'}" for role, pid in self.roles.items())
            raise AssertionError(f"{error}; it is {condition(self.berth, self.name)}; {left}") from error
        return condition(self.berth, self.name)

    def _settled(self) -> bool:
        """A monitor has no record yet when it was just forked, and none any more when it is about to end.

        It may have yet to see that init has ended.
        """
        monitor_lives = is_alive(self.roles.get("monitor", 0))
        found = look_up(home_of(self.berth), self.name)
        if found.condition == "running":
            init = found.record.init if found.record else None
            return init is not None and is_alive(init[0])
        return found.condition != "starting" and not (found.condition == "stopped" and monitor_lives)


def _is_paused(pid: int) -> bool:
    """A stopped process, or a PID 1 that waits for SIGCONT: the kernel doesn't let it stop itself."""
    state = status_field(pid, "State") or ""
    if state.startswith("T"):
        return True
    with contextlib.suppress(OSError):
        return "sigtimedwait" in Path(f"/proc/{pid}/wchan").read_text()
    return False
