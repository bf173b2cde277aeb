"""Wheels made here, of source distributions, for a processor that nobody publishes them for.

What is in such a wheel is what the package's own build would put there, but for the name of its library.  A wheel is
kept under a digest of all that it is made of: compiling takes longer than all the rest of a zip.
"""

import hashlib
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from email.parser import HeaderParser
from pathlib import Path
from typing import Final, NamedTuple

from packing import compiler as compiler_module
from packing.apt import Package, digest_of
from packing.compiler import Compiler
from packing.errors import PackingError
from packing.sources import Source
from packing.wheels import Wheel


class Recipe(NamedTuple):
    """Where in a source distribution the package lies, and which C files make the module `library` of it, if any.

    `sources` are patterns; a macro may have the package's version without its dots as {number}.
    """

    package: str
    library: str = ""
    sources: tuple[str, ...] = ()
    macros: tuple[str, ...] = ()


RECIPES: Final = {
    "markupsafe": Recipe("src/markupsafe"),  # its part in C is a faster form of what it has in Python
    "msgspec": Recipe("src/msgspec", "_core", ("src/msgspec/_core.c",)),
    "psutil": Recipe(
        "psutil",
        "_psutil_linux",
        ("psutil/_psutil_linux.c", "psutil/arch/all/*.c", "psutil/arch/posix/*.c", "psutil/arch/linux/*.c"),
        ("PSUTIL_POSIX=1", "PSUTIL_LINUX=1", "PSUTIL_SIZEOF_PID_T=4", "PSUTIL_VERSION={number}"),
    ),
}


def make(sources: Sequence[Source], compiler: Compiler, tools: Sequence[Package], cache: Path) -> list[Wheel]:
    """Return a wheel of each of `sources`, made by `compiler` unless it is in `cache` already.

    `tools` are the packages that the compiler is made of.  Raises PackingError.
    """
    return [_make_once(source, compiler, tools, cache / "compiled" / compiler.abi.name) for source in sources]


def _make_once(source: Source, compiler: Compiler, tools: Sequence[Package], folder: Path) -> Wheel:
    target = folder / f"{source.name}-{source.version}-{_digest(source, tools)[:16]}.whl"
    if not target.is_file():
        print(f"==> compiling {source.name} for {compiler.abi.name}", flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            made = Path(work, target.name)
            _make(source, RECIPES[source.name], compiler, Path(work), made)
            for old in folder.glob(f"{source.name}-*.whl"):
                old.unlink()
            made.rename(target)
    return Wheel(source.name, source.version, digest_of(target), target)


def _digest(source: Source, tools: Sequence[Package]) -> str:
    """What the wheel depends on."""
    digest = hashlib.sha256(source.sha256.encode())
    for package in tools:
        digest.update(package.sha256.encode())
    for module in (__file__, compiler_module.__file__):
        digest.update(Path(module).read_bytes())
    return digest.hexdigest()


def _make(source: Source, recipe: Recipe, compiler: Compiler, work: Path, target: Path) -> None:
    unpacked, library = work / "unpacked", work / f"{recipe.library}.so"
    with tarfile.open(source.path) as archive:
        archive.extractall(unpacked, filter="data")
    (folder,) = unpacked.iterdir()
    package = folder / recipe.package
    files = {f"{package.name}/{path.relative_to(package)}": path for path in sorted(package.rglob("*.py"))}
    if recipe.library:
        macros = [macro.format(number=source.version.replace(".", "")) for macro in recipe.macros]
        compiler.make_library(_matching(recipe.sources, folder), macros, folder, library)
        files[f"{package.name}/{library.name}"] = library
    about = f"{source.name}-{source.version}.dist-info"
    metadata = folder / "PKG-INFO"
    files[f"{about}/METADATA"] = metadata
    for licence in HeaderParser().parsestr(metadata.read_text()).get_all("License-File", []):
        files[f"{about}/licenses/{licence}"] = folder / licence
    with zipfile.ZipFile(target, "w") as wheel:
        for name, path in files.items():
            wheel.write(path, name)


def _matching(patterns: Sequence[str], folder: Path) -> list[str]:
    """The files in `folder` that fit `patterns`; raises PackingError for a pattern that none does."""
    found: list[str] = []
    for pattern in patterns:
        fit = sorted(str(path.relative_to(folder)) for path in folder.glob(pattern))
        if not fit:
            raise PackingError(f"{folder.name} has no {pattern}; its recipe in compiled.py is for another version")
        found += fit
    return found
