"""Makes the folder runtime/: Python with its libraries and wheels, and the programs of e2fsprogs, for one processor.

It runs at one absolute place, `MODULE`/runtime, without anything of the system's; anywhere else by
`lib/ld-linux-*.so.* bin/python3`, because the kernel takes a program's loader by its absolute path only.
"""

import fnmatch
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from packing import bytecode
from packing.abi import Abi
from packing.contents import (
    ENCODINGS,
    LOADED_BY_NAME,
    PROGRAMS,
    PYTHON,
    UNUSED_FOLDERS,
    UNUSED_IN_WHEELS,
    UNUSED_MODULES,
)
from packing.elf import Patchelf, is_elf
from packing.errors import PackingError

MODULE: Final = "/data/adb/modules/berth"  # where Magisk, KernelSU and APatch put a module with this id


def make(
    packages: Path, wheels: Iterable[Path], abi: Abi, patchelf: Patchelf, target: Path, *, compiled: Mapping[str, Path]
) -> None:
    """Make runtime/ at `target` from the unpacked Debian `packages` and the `wheels`.

    `compiled` are libraries that take the place of those in the wheels, which are for another processor, by their path.
    Raises PackingError when a library is missing.
    """
    library = target / "lib"
    for source, place in PROGRAMS.items():
        _copy(packages / source, target / place)
    _copy_standard_library(packages / "usr/lib" / PYTHON, library / PYTHON)
    for wheel in wheels:
        _unpack_wheel(wheel, library / "packages", with_libraries=not abi.wheels_of)
    for name, path in compiled.items():
        _copy(path, library / "packages" / name)
    _copy_libraries(packages / "usr/lib" / abi.triplet, abi, patchelf, target)
    for program in (target / "bin").iterdir():
        patchelf.relocate(program, f"{MODULE}/runtime/lib/{abi.loader}", "$ORIGIN/../lib")
    bytecode.compile_tree(library)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _copy_standard_library(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        place = path.relative_to(source)
        if path.is_file() and _is_used(place):
            _copy(path, target / place)


def _is_used(place: Path) -> bool:
    """Return whether a file of the standard library, by its path in it, belongs into the runtime."""
    module = place.name.partition(".")[0]
    if place.suffix not in (".py", ".so") or not UNUSED_FOLDERS.isdisjoint(place.parts):
        return False
    if place.parts[0] == "encodings":
        return module in ENCODINGS
    return not any(fnmatch.fnmatchcase(module, pattern) for pattern in UNUSED_MODULES)


def _unpack_wheel(wheel: Path, target: Path, *, with_libraries: bool) -> None:
    """Unpack what is imported; a wheel's licences are packed from its file."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            folder = name.partition("/")[0]
            unused = any(fnmatch.fnmatchcase(name, pattern) for pattern in UNUSED_IN_WHEELS)
            unused |= name.endswith(".so") and not with_libraries
            if not unused and not name.endswith("/") and not folder.endswith((".dist-info", ".data")):
                archive.extract(name, target)


def _copy_libraries(source: Path, abi: Abi, patchelf: Patchelf, target: Path) -> None:
    """Copy the loader and every library that something in `target` is linked with, directly or not."""
    library = target / "lib"
    found: set[str] = set()
    wanted = {abi.loader, LOADED_BY_NAME}
    for path in target.rglob("*"):
        if path.is_file() and is_elf(path):
            wanted.update(patchelf.needed(path))
    while wanted:
        name = wanted.pop()
        if not (source / name).is_file():
            raise PackingError(f"{name}: none of the packages has this library; add its package to contents.py")
        _copy(source / name, library / name)
        found.add(name)
        wanted |= set(patchelf.needed(library / name)) - found
