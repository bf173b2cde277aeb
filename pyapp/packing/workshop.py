"""The tools that make the zip's bytes: Debian 13's Python, pip and patchelf, run from a folder by their own loader.

Whatever the developer's machine has, the same tools make the same bytes, and nothing has to be installed.
"""

import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from packing import abi, apt
from packing.abi import Abi
from packing.contents import PYTHON, RUNTIME, WORKSHOP
from packing.errors import PackingError

_START: Final = """
import runpy, sys
sys.path += sys.argv[1].split(":")
del sys.argv[:2]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


class Workshop(NamedTuple):
    """Debian 13's programs for this machine, unpacked at `root`."""

    root: Path
    loader: Path
    libraries: Path

    def command(self, program: str) -> list[str]:
        """Return the start of a command line that runs `program`, a path inside `root`."""
        return [str(self.loader), "--library-path", str(self.libraries), str(self.root / program)]

    @property
    def pip(self) -> Path:
        """The folder in which Python finds pip."""
        return self.root / "usr/lib/python3/dist-packages"

    def python(self, search_path: Sequence[Path], module: str, arguments: Sequence[str], failure: str) -> None:
        """Run `module`, found in `search_path`, with `arguments`; raise PackingError with `failure` when it fails."""
        python = [*self.command(f"usr/bin/{PYTHON}"), "-ISB", "-c", _START]
        if subprocess.run([*python, ":".join(map(str, search_path)), module, *arguments], check=False).returncode:
            raise PackingError(failure)


def set_up(mirrors: apt.Mirrors, cache: Path) -> Workshop:
    """Fetch the tools and return them.

    Raises PackingError for a machine whose processor Berth has no name for.
    """
    packages = apt.fetch([*RUNTIME, *WORKSHOP], this_machine().debian, mirrors, cache)
    apt.unpack_once(packages, cache / "workshop")
    return existing(cache)


def existing(cache: Path) -> Workshop:
    """Return the tools that `set_up` left in `cache`."""
    if not (cache / "workshop").is_dir():
        raise PackingError("nothing was fetched yet; build once without --cached")
    return unpacked(cache / "workshop")


def unpacked(root: Path) -> Workshop:
    """Return the programs of packages for this machine, with the C library among them, that are unpacked at `root`."""
    here = this_machine()
    libraries = root / "usr/lib" / here.triplet
    return Workshop(root, libraries / here.loader, libraries)


def this_machine() -> Abi:
    """Return what this machine is called; raise PackingError where nothing can be built."""
    here = abi.of_machine(platform.machine())
    if here is None or here.compiled:
        raise PackingError(f"the zip can't be built on {platform.machine()}; use an x86_64 or arm64 machine")
    return here
