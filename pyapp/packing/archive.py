"""Archives whose bytes depend on nothing but what is in them: sorted, one time, one owner, modes by kind."""

import io
import lzma
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_TIME: Final = 1230768000  # 2009-01-01; Android's own build tools use that year, for zip can't go below 1980
_ZIP_TIME: Final = (2009, 1, 1, 0, 0, 0)
_DICTIONARY: Final = 32 << 20  # what unpacking takes of a phone's memory, in bytes
_PROGRAM_FOLDERS: Final = ("bin", "sbin", "init.d")


def tar_xz(files: Mapping[str, Path]) -> bytes:
    """Return a .tar.xz with `files` by their name in it, readable by BusyBox, which knows no CRC64 on every phone."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for folder in sorted({str(parent) for name in files for parent in Path(name).parents} - {"."}):
            archive.addfile(_entry(folder, tarfile.DIRTYPE, 0o755, 0))
        for name, path in sorted(files.items()):
            with path.open("rb") as file:
                archive.addfile(_entry(name, tarfile.REGTYPE, mode_of(name), path.stat().st_size), file)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": _DICTIONARY}]
    return lzma.compress(plain.getvalue(), check=lzma.CHECK_CRC32, filters=filters)


def write_zip(target: Path, files: Mapping[str, bytes]) -> None:
    """Write a zip with `files` at `target`, in one step; what is compressed already is stored."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"{target.name}.unfinished")
    with zipfile.ZipFile(unfinished, "w") as archive:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _ZIP_TIME)
            entry.create_system = 3  # Unix, for the modes
            entry.external_attr = (0o100000 | mode_of(name)) << 16
            entry.compress_type = zipfile.ZIP_STORED if name.endswith(".xz") else zipfile.ZIP_DEFLATED
            archive.writestr(entry, content, compresslevel=9)
    unfinished.replace(target)


def mode_of(name: str) -> int:
    """Return the mode of the file `name`: programs, the loader and scripts can be executed."""
    path = Path(name)
    executable = path.suffix == ".sh" or path.parent.name in _PROGRAM_FOLDERS or path.name.startswith("ld-linux")
    return 0o755 if executable else 0o644


def _entry(name: str, kind: bytes, mode: int, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.size, entry.mtime = kind, mode, size, _TIME
    return entry
