"""Reading a container's log as it grows, across the moment when it is turned over (see `console`)."""

import os
from typing import Self

from berth.kernel.inotify import (
    IN_CREATE,
    IN_DELETE,
    IN_DELETE_SELF,
    IN_MODIFY,
    IN_MOVE_SELF,
    IN_MOVED_TO,
    Inotify,
)

_CURRENT, _OLDER = "log", "log.1"
_CHANGES = IN_CREATE | IN_MODIFY | IN_MOVED_TO | IN_DELETE | IN_MOVE_SELF | IN_DELETE_SELF


class LogReader:
    """Reads the log in a container's `folder`, oldest first; readable for a selector when there may be more.

    `gone` becomes true when the folder is removed or renamed: nothing more will come.  With `after`, the `cursor` of an
    earlier reader, it begins where that had come to; `missed` says that this was no more there.
    """

    def __init__(self, folder: str, after: str = "") -> None:
        """Begin to watch; raises OSError when there is no such folder."""
        self.gone = False
        self.missed = False
        self._after = after
        self._folder = folder
        self._file: int | None = None
        self._inotify = Inotify()
        try:
            self._inotify.watch(folder, _CHANGES)
        except OSError:
            self._inotify.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when something has changed."""
        return self._inotify.fileno()

    def read(self) -> bytes:
        """Return what was logged since the last call; the first one returns all that is kept.

        Nothing is lost when the log is turned over between two calls; of several times the last two files are there.
        """
        for event in self._inotify.read():
            removed = event.mask & IN_DELETE and event.name == _CURRENT
            self.gone = self.gone or bool(removed or event.mask & (IN_MOVE_SELF | IN_DELETE_SELF))
        if self._after:
            self._go_on()
        current = self._open(_CURRENT)
        data = self._rest()  # after opening: a file that has a successor is written to no more
        if current is None:
            return data
        if _same(current, self._file):
            os.close(current)
            return data
        older = self._open(_OLDER)
        if older is not None:
            if not _same(older, self._file) and not _same(older, current):
                data += _read_on(older)
            os.close(older)
        if self._file is not None:
            os.close(self._file)
        self._file = current
        return data + self._rest()

    @property
    def cursor(self) -> str:
        """How far it has read: the file's inode and the offset in it, "" for nothing yet."""
        if self._file is None:
            return ""
        return f"{os.fstat(self._file).st_ino}:{os.lseek(self._file, 0, os.SEEK_CUR)}"

    def _go_on(self) -> None:
        """Open the file that the cursor names, if it is one of the two, at the offset."""
        inode, _, offset = self._after.partition(":")
        self._after = ""
        for name in (_CURRENT, _OLDER):
            fd = self._open(name)
            if fd is None:
                continue
            found = os.fstat(fd)
            if str(found.st_ino) == inode and offset.isdecimal() and int(offset) <= found.st_size:
                os.lseek(fd, int(offset), os.SEEK_SET)
                self._file = fd
                return
            os.close(fd)
        self.missed = True

    def close(self) -> None:
        """Let go of the log."""
        self._inotify.close()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, name: str) -> int | None:
        try:
            return os.open(f"{self._folder}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None

    def _rest(self) -> bytes:
        return b"" if self._file is None else _read_on(self._file)


def _same(one: int, other: int | None) -> bool:
    return other is not None and os.path.samestat(os.fstat(one), os.fstat(other))


def _read_on(fd: int) -> bytes:
    parts = []
    while part := os.read(fd, 1 << 16):
        parts.append(part)
    return b"".join(parts)
