"""Berth as a contender: as a command that is started anew, and as a service that is asked."""

import json
import os
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import build
from berth.kernel.sockets import connect
from berth.service.protocol import Connection
from tests.bench.match import Failed
from tests.bench.processes import Programs, end, wait_readable


class Ours:
    """Berth with a state folder of its own."""

    def __init__(self, folder: Path, home: Path) -> None:
        """Make the folder `home` and the command, as `build.py setup` makes it for the Python that runs this."""
        home.mkdir()
        self.home = home
        self.programs = Programs(folder / f"{home.name}.output", {**os.environ, "BERTH_HOME": str(home)})
        self.command = folder / f"berth-{home.name}"
        self.command.write_text(build.launcher(sys.executable, [f"{build.ROOT}/pyapp", sysconfig.get_path("purelib")]))
        self.command.chmod(0o755)

    def cold(self, *arguments: str | Path) -> float:
        """Run the command from nothing; return milliseconds.  Raises Failed."""
        return self.programs.run(self.command, *arguments)

    def ask(self, *arguments: str | Path) -> float:
        """Have the service carry out a command line for this process; return milliseconds.  Raises Failed."""
        began = time.perf_counter()
        self.await_exit(self.send(*arguments))
        return (time.perf_counter() - began) * 1000

    def send(self, *arguments: str | Path) -> Connection:
        """Send the service a command line; its output goes where that of programs goes."""
        connection = Connection(connect(f"{self.home}/run/control.sock"))
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        output = os.open(self.programs.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        request = {"call": "command", "argv": list(map(str, arguments)), "cwd": "/", "env": {}}
        connection.send(request, (null, output, output))
        os.close(null)
        os.close(output)
        return connection

    def await_exit(self, connection: Connection) -> None:
        """Wait for the exit code of what was sent; raises Failed unless it is 0."""
        message: dict[str, object] | None = {}
        while message is not None and "exit" not in message:
            message, _ = connection.receive()
        connection.close()
        if message is None or message["exit"] != 0:
            raise Failed(self.programs.last_words() or "the worker was killed")

    def pids(self, name: str) -> tuple[int, int]:
        """Return the pids of init and monitor of a running container."""
        self.cold("info", name, "--json")
        found = json.loads(self.programs.output.read_text())
        return found["pid"], found["monitor_pid"]

    @contextmanager
    def service(self) -> Iterator[int]:
        """Run the supervisor; gives its pid."""
        pid = self.programs.start(self.command, "serve")
        try:
            self._await_service(pid)
            yield pid
        finally:
            end(pid)

    def _await_service(self, pid: int) -> None:
        """Return when the service answers; it tells nobody when, so this asks."""
        pidfd = os.pidfd_open(pid)
        try:
            while not wait_readable(pidfd, 0.005):
                try:
                    self.ask("version")
                except (FileNotFoundError, ConnectionRefusedError):
                    continue
                else:
                    return
        finally:
            os.close(pidfd)
        raise Failed(f"berth serve: {self.programs.last_words()}")
