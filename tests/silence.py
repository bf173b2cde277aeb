"""A file system of root's inside (FUSE) that never answers what the kernel asks of it."""

import contextlib
import subprocess
from collections.abc import Iterator

from tests import faults
from tests.program import Berth


def mounting(target: str, mode: str = "40755") -> str:
    """Return the shell's words that mount one at `target`, whose root has type and permissions `mode` (octal)."""
    return f"exec 3<>/dev/fuse; mount -t fuse silent {target} -o fd=3,rootmode={mode},user_id=0,group_id=0"


@contextlib.contextmanager
def silent(
    berth: Berth, name: str, target: str, *, mode: str = "40755", then: str = ":"
) -> "Iterator[subprocess.Popen[str]]":
    """Have one at `target` of container `name`, until that ends; the shell that has mounted it does `then`.

    Whoever uses this stops the container before the block ends.
    """
    script = f"{mounting(target, mode)} && echo there; {then}; sleep 600"
    with subprocess.Popen(
        [*berth.command, "run", name, "--", "/bin/sh", "-c", script],
        env=berth.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "there\n"
            yield server
            server.wait(faults.SECONDS)
        finally:
            server.kill()
