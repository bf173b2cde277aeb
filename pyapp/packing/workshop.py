"""The tools that make the zip's bytes: Debian 13's Python, pip and patchelf, run from a folder by their own loader.

Whatever the developer's machine has, the same tools make the same bytes, and nothing has to be installed.
"""

import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from packing import abi, apt
from packing.contents import PYTHON, RUNTIME, WORKSHOP
from packing.errors import PackingError

PIP_PATH: Final = "usr/lib/python3/dist-packages"
_START: Final = """
import runpy, sys
sys.path.append(sys.argv[1])
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

    def python(self, search_path: Path, module: str, arguments: Sequence[str], failure: str) -> None:
        """Run `module`, found in `search_path`, with `arguments`; raise PackingError with `failure` when it fails."""
        python = [*self.command(f"usr/bin/{PYTHON}"), "-ISB", "-c", _START]
        if subprocess.run([*python, str(search_path), module, *arguments], check=False).returncode:
            raise PackingError(failure)


def set_up(mirrors: apt.Mirrors, cache: Path) -> Workshop:
    """Fetch the tools and return them.

    Raises PackingError for a machine whose processor Berth has no name for.
    """
    here = abi.of_machine(platform.machine())
    if here is None:
        raise PackingError(f"the zip can't be built on {platform.machine()}; use an x86_64 or arm64 machine")
    root = cache / "workshop"
    packages = apt.fetch([*RUNTIME, *WORKSHOP], here.debian, mirrors, cache)
    apt.unpack_once(packages, root)
    return existing(cache)


def existing(cache: Path) -> Workshop:
    """Return the tools that `set_up` left in `cache`."""
    here = abi.of_machine(platform.machine())
    root = cache / "workshop"
    if here is None or not root.is_dir():
        raise PackingError("nothing was fetched yet; build once without --cached")
    libraries = root / "usr/lib" / here.triplet
    return Workshop(root, libraries / here.loader, libraries)
