"""What a program is linked with, and where it looks for that: read and changed with patchelf(1)."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from packing.errors import PackingError


def is_elf(path: Path) -> bool:
    """Return whether the file at `path` is a program or a library."""
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


class Patchelf(NamedTuple):
    """`command` is how patchelf is run."""

    command: Sequence[str]

    def needed(self, path: Path) -> list[str]:
        """Return the names of the libraries that `path` is linked with; none for a static program."""
        return self._run("--print-needed", path).split() if self._is_dynamic(path) else []

    def relocate(self, path: Path, loader: str, libraries: str) -> None:
        """Make the program at `path` start with `loader`, an absolute path, and look into `libraries` first.

        DT_RPATH, unlike DT_RUNPATH, also counts for the libraries of its libraries and for what it opens while it
        runs (ld.so(8)), so that no library has to be changed.  A static program stays as it is.
        """
        if self._is_dynamic(path):
            # In two runs and this order: at once, patchelf 0.18 lets the dynamic section of a program without PIE
            # (Python on x86_64) share a page with a read-only segment, and the loader's first write there is its end.
            self._run("--force-rpath", "--set-rpath", libraries, path)
            self._run("--set-interpreter", loader, path)

    def _is_dynamic(self, path: Path) -> bool:
        result = subprocess.run([*self.command, "--print-rpath", path], check=False, capture_output=True)
        return result.returncode == 0

    def _run(self, *arguments: str | Path) -> str:
        result = subprocess.run([*self.command, *arguments], check=False, capture_output=True, text=True)
        if result.returncode:
            raise PackingError(f"patchelf failed on {arguments[-1]}: {result.stderr.strip()}")
        return result.stdout
