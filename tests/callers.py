"""People at a terminal, as tests play them: a shell of their own, the program that runs for them, its processes."""

import contextlib
import os
import re
import select
import socket
import subprocess
import tempfile
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect

from berth.kernel.processes import status_field
from tests import faults, host_state, rootfs
from tests.program import Berth

SECONDS = faults.SECONDS
SIZE = (33, 77)
PROMPT = "outside> "
INSIDE = "inside# "

if TYPE_CHECKING:
    Terminal = pexpect.spawn[str]
else:
    Terminal = pexpect.spawn


def at_terminal(berth: Berth, *command: str | Path) -> Terminal:
    """Start `command` as the only program of a new terminal, SIZE large."""
    argv = [str(word) for word in command]
    environment = {**berth.environment, "TERM": "xterm", "PS1": PROMPT}
    return pexpect.spawn(
        argv[0], argv[1:], env=environment, encoding="utf-8", timeout=SECONDS, dimensions=SIZE, echo=True
    )


def with_terminal(berth: Berth, *arguments: str | Path) -> Terminal:
    """Start `berth` with `arguments` as the only program of a new terminal."""
    return at_terminal(berth, *berth.command, *arguments)


def interactive_shell(berth: Berth) -> Terminal:
    """Start an interactive bash that has `berth` as a command and PROMPT as its prompt."""
    shell = at_terminal(berth, "bash", "--norc", "--noprofile", "-i")
    shell.expect_exact(PROMPT)
    shell.sendline(f"bind 'set enable-bracketed-paste off'; alias berth='{' '.join(berth.command)}'")
    shell.expect_exact(PROMPT)
    return shell


def shell_inside(berth: Berth, run: list[str]) -> Terminal:
    """A shell in the container, at its prompt INSIDE; busybox' asks the terminal for its place, nobody answers."""
    shell = with_terminal(berth, *run, "env", f"PS1={INSIDE}", "TERM=dumb", "sh")
    shell.expect_exact(INSIDE)
    return shell


def say(shell: Terminal, line: str, prompt: str = INSIDE) -> list[str]:
    """Type `line` at the prompt and return what was answered until the next one."""
    shell.sendline(line)
    shell.expect_exact("\n")
    shell.expect_exact(prompt)
    assert shell.before is not None
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shell.before).splitlines()


def suspend(shell: Terminal, prompt: str = PROMPT) -> None:
    """Type Ctrl-Z, and wait until `shell` tells that the program has stopped and shows its prompt."""
    shell.send("\x1a")
    shell.expect("Stopped")
    shell.expect_exact(prompt)


def leave(shell: Terminal) -> None:
    """End a shell that is at its prompt."""
    shell.sendline("exit 0")
    assert exit_code(shell) == 0


def matched(terminal: Terminal) -> str:
    """Return what the first group of the last expected pattern has matched."""
    assert isinstance(terminal.match, re.Match)
    return str(terminal.match.group(1))


def pid_of(terminal: Terminal) -> int:
    """Return the pid of the program that was started at `terminal`."""
    assert terminal.pid is not None
    return terminal.pid


def exit_code(terminal: Terminal) -> int | None:
    """Wait until the program of `terminal` has ended and return its exit code, None when a signal ended it."""
    terminal.expect(pexpect.EOF)
    terminal.close()
    return terminal.exitstatus


@contextlib.contextmanager
def caller(home: Path, *, served: bool) -> Iterator[Berth]:
    """Have a `berth` command, with its service running or without; fails when that leaves anything on the host."""
    before = host_state.look(home)
    berth = Berth(home)
    with service(berth) if served else contextlib.nullcontext():
        yield berth
    different = host_state.difference(before, home)
    assert not different, "the host is not as it was:\n" + "\n".join(different)


@contextlib.contextmanager
def running(berth: Berth, name: str, kind: str, *options: str) -> Iterator[Path]:
    """Have container `name` running from a copy of root file system `kind`, which is yielded."""
    folder = Path(tempfile.mkdtemp(dir=berth.home.parent))
    try:
        root = rootfs.copy(rootfs.directory(kind), folder / "root")
        berth.succeed("start", name, "--rootfs", root, *options)
        try:
            yield root
        finally:
            berth("stop", name, "--timeout", "0")  # what init says to that is tested elsewhere
            berth.succeed("rm", name, "--yes")
    finally:
        rootfs.remove(folder)


@contextlib.contextmanager
def service(berth: Berth) -> Iterator[None]:
    """Have the service running; containers that it started are stopped by whoever started them."""
    server = subprocess.Popen([*berth.command, "serve"], env=berth.environment, start_new_session=True)
    try:
        _await_socket(server, str(berth.home / "run" / "control.sock"))
        yield
    finally:
        server.terminate()
        server.wait(SECONDS)


def _await_socket(server: "subprocess.Popen[bytes]", path: str) -> None:
    until = time.monotonic() + SECONDS
    while time.monotonic() < until and server.poll() is None:
        with socket.socket(socket.AF_UNIX) as sock, contextlib.suppress(OSError):
            sock.connect(path)
            return
        time.sleep(0.01)
    raise AssertionError("the service does not listen")


def find_process(mark: str) -> int:
    """Wait for a program with the word `mark` on its command line and return its pid on the host.

    Neither a shell that starts it is meant, nor the berth command and its forks, which have the same words.
    """
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                caller = words[0] in (b"sh", b"/bin/sh") or any(os.path.basename(word) == b"berth" for word in words)
                if mark.encode() in words and not caller:
                    return int(folder.name)
        time.sleep(0.01)
    raise AssertionError(f"no process has {mark} on its command line")


def parent_of(pid: int) -> int:
    """Return the pid of the parent of process `pid`."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


class Watched:
    """A process whose end can be waited for; take hold of it while it runs."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)

    def ends(self, seconds: float = SECONDS) -> bool:
        """Tell whether it ends within `seconds`."""
        try:
            return bool(select.select([self._pidfd], [], [], seconds)[0])
        finally:
            os.close(self._pidfd)


def await_state(pid: int, state: str) -> None:
    """Wait until process `pid` is in that state of proc_pid_stat(5)."""
    stat = Path(f"/proc/{pid}/stat")
    faults.wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == state, f"{pid} is in state {state}")


def await_client(shell: Terminal, number: int) -> None:
    """Wait until a command that `shell` runs catches signal `number`: what it runs may be there a moment before."""

    def catches() -> bool:
        masks = [status_field(pid, "SigCgt") or "0" for pid in faults.children(pid_of(shell))]
        return any(int(mask, 16) & 1 << (number - 1) for mask in masks)

    faults.wait_until(catches, f"it catches {number}")


def await_raw(terminal: Terminal, *, raw: bool = True) -> None:
    """Wait until the caller's terminal is in raw mode, or no longer."""
    mode = "raw" if raw else "its lines"
    faults.wait_until(lambda: bool(termios.tcgetattr(terminal.child_fd)[3] & termios.ICANON) != raw, f"it has {mode}")
