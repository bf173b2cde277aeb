"""The `berth` command as a test calls it: a process of its own, with a state folder of its own."""

import os
import subprocess
import sys
from pathlib import Path

import build

SECONDS = 120.0


class Berth:
    """Calls the `berth` command: `berth("info", "demo")` returns the finished process with its output as text."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {**os.environ, "BERTH_HOME": str(home)}
        self.command = [str(build.BERTH)]
        if not build.BERTH.exists():  # a developer's own interpreter, without set-up
            self.command = [sys.executable, "-m", "berth"]
            self.environment["PYTHONPATH"] = str(build.ROOT / "pyapp")

    def __call__(
        self, *arguments: str | Path, stdin: str = "", seconds: float = SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run the command with `arguments`, feed it `stdin` and return how it ended; it has `seconds` to do so."""
        return subprocess.run(
            [*self.command, *arguments],
            check=False,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
        )

    def succeed(self, *arguments: str | Path, stdin: str = "", seconds: float = SECONDS) -> str:
        """Run the command, assert that it exits with 0, and return what it printed."""
        result = self(*arguments, stdin=stdin, seconds=seconds)
        assert result.returncode == 0, f"berth {' '.join(map(str, arguments))}: {result.stdout}{result.stderr}"
        return result.stdout
