"""Small files, as those of proc and cgroup, by bare system calls.

What `open` returns takes several objects and calls to make.  In a process that was just forked their code and data are
memory that it has yet to copy from its parent: a quarter of a megabyte where text is read.
"""

import os

_CHUNK = 16384


def read_file(path: str) -> bytes:
    """Return what is in the file at `path`.  Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return read_descriptor(fd)
    finally:
        os.close(fd)


def read_descriptor(fd: int) -> bytes:
    """Return what is left to read from `fd`.  Raises OSError."""
    data = os.read(fd, _CHUNK)
    chunk = data
    while chunk:
        chunk = os.read(fd, _CHUNK)
        data += chunk
    return data


def write_file(path: str, data: bytes) -> None:
    """Write `data` to the file at `path`, which is there, in one write(2).  Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def note_file(path: str, data: bytes) -> None:
    """Make `data` the whole content of the file at `path`, in place and not synced.  Raises OSError.

    It is cut only behind `data`: ext4 begins to write a file to the disk when one that was emptied is closed.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        os.write(fd, data)
        os.ftruncate(fd, len(data))
    finally:
        os.close(fd)
