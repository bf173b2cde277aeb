"""GCC of Debian 13 for another processor: C goes in, a library that Python can open comes out.

Its parts are run one after the other by the workshop's loader: gcc(1) would have them started by that of the machine,
whose C library may be older than they need.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from packing import apt, workshop
from packing.abi import Abi
from packing.apt import Mirrors, Package
from packing.contents import COMPILER, HEADERS, PYTHON
from packing.errors import PackingError
from packing.workshop import Workshop

_GCC: Final = "14"
# What Debian's gcc(1) tells its parts of the processor; times of 64 bits are what all of Debian 13 is compiled with.
_PROCESSORS: Final = {"arm-linux-gnueabihf": ("-march=armv7-a+fp", "-mfloat-abi=hard", "-mthumb")}
_C: Final = (
    *("-quiet", "-O2", "-fPIC", "-fwrapv", "-Werror=date-time"),
    *("-DNDEBUG", "-D_TIME_BITS=64", "-D_FILE_OFFSET_BITS=64"),
)
_LINK: Final = ("-shared", "--strip-all", "--build-id=none", "--hash-style=gnu", "-z", "relro", "-z", "now")


class Compiler(NamedTuple):
    """The `tools`, and the `headers` and libraries that they use, of the processor `abi`."""

    abi: Abi
    tools: Workshop
    headers: Path

    def make_library(self, sources: Sequence[str], macros: Sequence[str], folder: Path, target: Path) -> None:
        """Compile the C files `sources`, which lie in `folder`, to the library `target`; objects are left beside it.

        Nothing of where `folder` lies gets into the bytes.  Raises PackingError.
        """
        triplet = self.abi.triplet
        objects = [target.with_name(f"{index}.o") for index in range(len(sources))]
        for source, made in zip(sources, objects, strict=True):
            assembly = made.with_suffix(".s")
            self._run(folder, f"usr/libexec/gcc-cross/{triplet}/{_GCC}/cc1", *self._c(macros), "-o", assembly, source)
            self._run(folder, f"usr/bin/{triplet}-as", "-meabi=5", "-o", made, assembly)
        libraries = self.headers / "usr/lib" / triplet
        linked = (libraries / "libc.so.6", libraries / "libm.so.6", self._gcc / "libgcc.a")
        self._run(folder, f"usr/bin/{triplet}-ld", *_LINK, "-o", target, *objects, "--as-needed", *linked)

    @property
    def _gcc(self) -> Path:
        return self.headers / "usr/lib/gcc" / self.abi.triplet / _GCC

    def _c(self, macros: Sequence[str]) -> list[str | Path]:
        include = self.headers / "usr/include"
        found = (self._gcc / "include", include / self.abi.triplet, include, include / PYTHON)
        words: list[str | Path] = [*_C, *_PROCESSORS[self.abi.triplet], "-nostdinc"]
        words += [word for path in found for word in ("-isystem", path)]
        return words + [f"-D{macro}" for macro in macros]

    def _run(self, folder: Path, program: str, *words: str | Path) -> None:
        # No environment: CPATH would bring in a user's headers, LD_RUN_PATH a user's folders.
        if subprocess.run([*self.tools.command(program), *words], check=False, cwd=folder, env={}).returncode:
            raise PackingError(f"{program.rpartition('/')[2]} failed for {self.abi.name}; see its message above")


def fetch(abi: Abi, mirrors: Mirrors, cache: Path) -> list[Package]:
    """Bring what compiles for `abi` into `cache`; return its packages.  Raises PackingError."""
    here = workshop.this_machine()
    tools = apt.fetch(list(COMPILER), here.debian, mirrors, cache)
    headers = apt.fetch(list(HEADERS), abi.debian, mirrors, cache)
    made = existing(abi, cache)
    apt.unpack_once(tools, made.tools.root)
    apt.unpack_once(headers, made.headers)
    return [*tools, *headers]


def existing(abi: Abi, cache: Path) -> Compiler:
    """Return the compiler for `abi` that `fetch` left in `cache`."""
    return Compiler(abi, workshop.unpacked(cache / "compiler" / abi.name), cache / "headers" / abi.name)
