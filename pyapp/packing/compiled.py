"""The libraries of Python packages, made here from source distributions for a processor that has no wheels.

A library is kept under a digest of all that it is made of: compiling takes longer than all the rest of a zip.
"""

import hashlib
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from packing import compiler as compiler_module
from packing.apt import Package
from packing.compiler import Compiler
from packing.errors import PackingError
from packing.sources import Source


class Recipe(NamedTuple):
    """What a package's own build makes of which of its C files: patterns in the source distribution.

    `library` is where it belongs; a macro may have the package's version without its dots as {number}.
    """

    library: str
    sources: tuple[str, ...]
    macros: tuple[str, ...] = ()


RECIPES: Final = {
    "msgspec": Recipe("msgspec/_core.so", ("src/msgspec/_core.c",)),
    "psutil": Recipe(
        "psutil/_psutil_linux.so",
        ("psutil/_psutil_linux.c", "psutil/arch/all/*.c", "psutil/arch/posix/*.c", "psutil/arch/linux/*.c"),
        ("PSUTIL_POSIX=1", "PSUTIL_LINUX=1", "PSUTIL_SIZEOF_PID_T=4", "PSUTIL_VERSION={number}"),
    ),
}


def make(sources: Sequence[Source], compiler: Compiler, tools: Sequence[Package], cache: Path) -> dict[str, Path]:
    """Return the libraries of `sources` by where they belong, made by `compiler` unless they are in `cache` already.

    `tools` are the packages that the compiler is made of.  Raises PackingError.
    """
    folder = cache / "compiled" / compiler.abi.name
    return {RECIPES[source.name].library: _make_once(source, compiler, tools, folder) for source in sources}


def _make_once(source: Source, compiler: Compiler, tools: Sequence[Package], folder: Path) -> Path:
    target = folder / f"{source.name}-{_digest(source, tools)[:16]}.so"
    if not target.is_file():
        print(f"==> compiling {source.name} for {compiler.abi.name}", flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"{source.name}-*.so"):
            old.unlink()
        with tempfile.TemporaryDirectory(dir=folder) as work:
            made = Path(work, target.name)
            _make(source, compiler, Path(work), made)
            made.rename(target)
    return target


def _digest(source: Source, tools: Sequence[Package]) -> str:
    """What the library depends on."""
    digest = hashlib.sha256(source.sha256.encode())
    for package in tools:
        digest.update(package.sha256.encode())
    for module in (__file__, compiler_module.__file__):
        digest.update(Path(module).read_bytes())
    return digest.hexdigest()


def _make(source: Source, compiler: Compiler, work: Path, target: Path) -> None:
    recipe = RECIPES[source.name]
    with tarfile.open(source.path) as archive:
        archive.extractall(work / "unpacked", filter="data")
    (folder,) = (work / "unpacked").iterdir()
    macros = [macro.format(number=source.version.replace(".", "")) for macro in recipe.macros]
    compiler.make_library(_matching(recipe.sources, folder), macros, folder, target)


def _matching(patterns: Sequence[str], folder: Path) -> list[str]:
    """The files in `folder` that fit `patterns`; raises PackingError for a pattern that none does."""
    found: list[str] = []
    for pattern in patterns:
        fit = sorted(str(path.relative_to(folder)) for path in folder.glob(pattern))
        if not fit:
            raise PackingError(f"{folder.name} has no {pattern}; its recipe in compiled.py is for another version")
        found += fit
    return found
