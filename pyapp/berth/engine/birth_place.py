"""The cgroups that a new process is to be in: born there where the kernel can do that, else moved."""

import os
from collections.abc import Iterable

from berth.engine import cgroups
from berth.kernel.processes import fork, fork_into_cgroup


class BirthPlace:
    """One folder in each hierarchy; at most one of them is cgroup2's."""

    def __init__(self, directories: Iterable[str]) -> None:
        """Open the cgroup2 folder; raises OSError when it has gone."""
        self._directories = tuple(directories)
        unified = [path for path in self._directories if not os.path.exists(f"{path}/tasks")]
        self._unified = unified[0] if unified else None
        self._born = False

    def fork(self) -> int:
        """Fork; return what `fork` returns.  The child calls `enter` next."""
        if self._unified is None:
            return fork()
        fd = os.open(self._unified, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            pid, self._born = fork_into_cgroup(fd)
        finally:
            os.close(fd)
        return pid

    def enter(self) -> None:
        """Move the caller, who must have one thread, to where it has not been born; raises KernelError."""
        cgroups.enter(path for path in self._directories if not (self._born and path == self._unified))
