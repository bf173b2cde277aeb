"""A container that starts and stops at once, for tests whose subject is not the init."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tests.program import Berth

Answer = TypeVar("Answer")

INIT = "/sbin/quick-init"
_SCRIPT = """\
#!/bin/sh
trap 'exit 0' TERM
while :; do sleep 3600 & wait $!; done
"""


def write_init(root: Path, path: str = INIT, script: str = _SCRIPT) -> str:
    """Put a shell script into the rootfs `root` as an init, and return where; it ends as soon as it gets SIGTERM."""
    file = root / path.lstrip("/")
    if not file.exists():
        file.write_text(script)
        file.chmod(0o755)
    return path


def start(berth: Berth, root: Path, *flags: str | Path, name: str = "quay") -> str:
    """Start the rootfs `root` with the quick init as container `name`; return what the command printed."""
    return berth.succeed("start", name, "--rootfs", root, "--init", write_init(root), *flags)


def info(berth: Berth, name: str = "quay") -> dict[str, Any]:  # JSON
    """Return what `berth info NAME --json` tells."""
    told: dict[str, Any] = json.loads(berth.succeed("info", name, "--json"))
    return told


def inside(berth: Berth, *argv: str, name: str = "quay") -> str:
    """Run a program inside, assert that it exits with 0, and return what it printed, without the last newline."""
    return berth.succeed("run", name, "--", *argv).rstrip("\n")


def shell(berth: Berth, script: str, name: str = "quay") -> str:
    """Run a shell script inside, assert that it exits with 0, and return what it printed."""
    return inside(berth, "/bin/sh", "-c", script, name=name)


def wait_for(ask: Callable[[], Answer | None], seconds: float = 60) -> Answer:
    """Ask until the answer is something, and return that; AssertionError when it never is."""
    until = time.monotonic() + seconds
    while (answer := ask()) is None:
        assert time.monotonic() < until, "that did not come about"
        time.sleep(0.05)
    return answer
