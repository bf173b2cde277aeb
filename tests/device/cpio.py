"""Write trees as cpio archives in the `newc` form, which the kernel unpacks as its initramfs one after the other.

See Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.  Owner of everything is root.
"""

import os
import stat
from pathlib import Path
from typing import BinaryIO


def append_tree(archive: BinaryIO, tree: Path, prefix: str = "") -> None:
    """Write all that is below `tree`, named below `prefix` (such as "srv/box"), as one whole archive.

    Hard links become files of their own.
    """
    number = 0
    for above in reversed(Path(prefix).parents[:-1]):
        number += 1
        _entry(archive, number, str(above), stat.S_IFDIR | 0o755, b"")
    for folder, folders, files in os.walk(tree):
        folders.sort()
        for path in (Path(folder), *(Path(folder, name) for name in sorted(files) + _links(folder, folders))):
            number += 1
            name = Path(prefix, path.relative_to(tree))
            _append(archive, number, str(name), path)
    _entry(archive, number + 1, "TRAILER!!!", 0, b"")


def _links(folder: str, folders: list[str]) -> list[str]:
    """Return those of `folders` that are links: os.walk does not go into them, and so would not show them."""
    return [name for name in folders if Path(folder, name).is_symlink()]


def _append(archive: BinaryIO, number: int, name: str, path: Path) -> None:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        content = os.fsencode(path.readlink())
    elif stat.S_ISREG(mode):
        content = path.read_bytes()
    elif stat.S_ISDIR(mode):
        content = b""
    else:
        raise ValueError(f"{path}: only files, folders and links can go into an initramfs")
    _entry(archive, number, name, mode, content)


def _entry(archive: BinaryIO, number: int, name: str, mode: int, content: bytes) -> None:
    raw = os.fsencode(name) + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (number, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(raw), 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields) + raw
    archive.write(header + _padding(len(header)) + content + _padding(len(content)))


def _padding(size: int) -> bytes:
    return b"\0" * (-size % 4)
