"""The cgroups that a new process is to be in: born there where the kernel can do that, else moved."""

import os
from collections.abc import Iterable

from berth.engine import cgroups
from berth.kernel.call import KernelError
from berth.kernel.processes import clone, fork


class BirthPlace:
    """One folder in each hierarchy; at most one of them is cgroup2's."""

    def __init__(self, directories: Iterable[str]) -> None:
        self._directories = tuple(directories)
        unified = [path for path in self._directories if not os.path.exists(f"{path}/tasks")]
        self._unified = unified[0] if unified else None
        self._born = False

    def fork(self) -> int:
        """Fork; return what `fork` returns.  The child calls `enter` next.  Raises OSError when a folder has gone."""
        if self._unified is None:
            return fork()
        try:
            return self.clone()
        except KernelError:
            return fork()

    def clone(self, namespaces: int = 0) -> int:
        """Do as `fork` does, with new namespaces of these CLONE_NEW* flags; raises KernelError where `clone` does."""
        if self._unified is None:
            return clone(namespaces)
        fd = os.open(self._unified, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._born = True  # before the child has its copy of this
            return clone(namespaces, fd)
        except KernelError:
            self._born = False
            raise
        finally:
            os.close(fd)

    def enter(self) -> None:
        """Move the caller, who must have one thread, to where it has not been born; raises KernelError."""
        cgroups.enter(path for path in self._directories if not (self._born and path == self._unified))
