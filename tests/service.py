"""The service as tests start and end it, who takes part, and how one talks to it."""

import array
import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator

from berth.kernel.processes import status_field
from tests import faults
from tests.program import Berth


class Service:
    """`berth serve --background`, and who it is."""

    def __init__(self, berth: Berth) -> None:
        self.berth = berth
        self.run = berth.home / "run"

    @property
    def pid(self) -> int:
        return int((self.run / "supervisor.lock").read_text())

    def start(self) -> int:
        self.berth.succeed("serve", "--background")
        faults.wait_until(self.answers, "the service answers")
        return self.pid

    def answers(self) -> bool:
        with contextlib.suppress(OSError), self.connect():
            return True
        return False

    def connect(self, name: str = "control.sock") -> socket.socket:
        folder = os.open(self.run, os.O_PATH)
        try:
            return connect_in(folder, name)
        finally:
            os.close(folder)

    def end(self, number: int = signal.SIGTERM) -> None:
        if self.answers():  # else the pid may be a stranger's by now
            pid = self.pid
            os.kill(pid, number)
            faults.wait_until(lambda: not faults.is_alive(pid), "the service has ended")

    def workers(self) -> list[int]:
        """The processes that serve a caller."""
        return [pid for pid in faults.children(self.pid) if status_field(pid, "Name") == "berth: worker"]

    def spare(self) -> int:
        """The process that waits for the next caller; 0 while there is none."""
        return self._child("berth: spare")

    def zygote(self) -> int:
        """The process that monitors are forked from; 0 while there is none."""
        return self._child("berth: zygote")

    def web(self) -> int:
        """The web process; 0 while there is none."""
        return self._child("berth: web")

    def _child(self, name: str) -> int:
        return next((pid for pid in faults.children(self.pid) if status_field(pid, "Name") == name), 0)

    def log(self) -> str:
        path = self.berth.home / "service.log"
        return path.read_text() if path.exists() else ""


def connect_in(folder: int, name: str) -> socket.socket:
    """Connect to a socket by its folder: its whole path may be longer than an address."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(f"/proc/self/fd/{folder}/{name}")
    except OSError:
        sock.close()
        raise
    return sock


def ask(sock: socket.socket) -> bytes:
    """Send a whole request for `version` and return the answer."""
    null = os.open("/dev/null", os.O_RDWR)
    request = json.dumps({"call": "command", "argv": ["version"], "cwd": "/", "env": {}}).encode() + b"\n"
    with sock:
        sock.sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null] * 3))])
        os.close(null)
        sock.settimeout(faults.SECONDS)
        return sock.recv(4096)


def monitor_of(berth: Berth, name: str) -> int:
    pid = json.loads(berth.succeed("info", name, "--json"))["monitor_pid"]
    assert isinstance(pid, int)
    return pid


@contextlib.contextmanager
def calling(berth: Berth, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A command that goes on while something else is done, and is killed at the end."""
    process = subprocess.Popen(
        [*berth.command, *arguments],
        env=berth.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()
