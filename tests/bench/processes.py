"""Starting programs and waiting for them, with as little of our own in the measured time as Python can do."""

import os
import select
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from berth.kernel.mounts import MNT_DETACH, MS_REC, MS_SLAVE, mount, umount
from berth.kernel.namespaces import unshare
from tests.bench.match import Failed

UNIFIED = "/sys/fs/cgroup/unified"  # where a hybrid layout has its cgroup2
_PATIENCE = 60.0


class Programs:
    """Starts programs with no input and their output in the file `output`, whose last line explains a failure."""

    def __init__(self, output: Path, environment: Mapping[str, str]) -> None:
        self.output = output
        self.environment = {**environment}

    def start(self, *command: str | Path) -> int:
        """Start `command` by posix_spawn(3) and return its pid.  Raises Failed when there is no such program."""
        program = shutil.which(command[0], path=self.environment.get("PATH"))
        if program is None:
            raise Failed(f"{command[0]}: not found")
        to = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        streams = (
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(self.output), to, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        )
        return os.posix_spawn(program, [*map(str, command)], self.environment, file_actions=streams)

    def last_words(self) -> str:
        """Return the last line that the last program printed."""
        lines = self.output.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def finish(self, pid: int, command: Sequence[str | Path]) -> None:
        """Wait for the program `pid`; raises Failed with the last line that it printed unless it exits with 0."""
        _, status = os.waitpid(pid, 0)
        if code := os.waitstatus_to_exitcode(status):
            raise Failed(f"{Path(command[0]).name}: exit code {code}: {self.last_words()}")

    def run(self, *command: str | Path) -> float:
        """Run `command` and return the milliseconds from before its start until its end was seen."""
        began = time.perf_counter()
        pid = self.start(*command)
        self.finish(pid, command)
        return (time.perf_counter() - began) * 1000

    def run_without_unified(self, *command: str | Path) -> float:
        """Do the same as `run` where no cgroup2 is mounted beside v1: crun gives up where that has controllers."""
        if not os.path.ismount(UNIFIED):
            return self.run(*command)
        return _apart(lambda: self.run(*command))


def _apart(action: Callable[[], float]) -> float:
    """Return what `action` returns in a forked child that sees no cgroup2."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            unshare("mount")
            mount(None, "/", None, MS_SLAVE | MS_REC)
            umount(UNIFIED, MNT_DETACH)
            os.write(writing, f"{action()}".encode())
        except (Failed, OSError) as error:
            os.write(writing, f"!{error}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    if not answer or answer.startswith("!"):
        raise Failed(answer[1:] or "the process that measures was killed")
    return float(answer)


def end(pid: int, number: int = signal.SIGTERM) -> None:
    """Send a child `number` and wait for its end, killing it when that takes too long."""
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, number)
        if not wait_readable(pidfd, _PATIENCE):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)
    os.waitpid(pid, 0)


def wait_end(pidfd: int) -> None:
    """Wait until the process behind `pidfd` has ended, and close it; raises Failed when it does not."""
    try:
        if not wait_readable(pidfd, _PATIENCE):
            raise Failed(f"it did not end within {_PATIENCE:g} s")
    finally:
        os.close(pidfd)


def wait_readable(fd: int, seconds: float) -> bool:
    """Wait up to `seconds` until `fd` is readable."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(seconds * 1000))
