"""Being told of changes in a folder instead of looking for them.  See inotify(7)."""

import ctypes
import os
import struct
from typing import Final, NamedTuple, Self

from berth.kernel.call import check, libc

# sys/inotify.h
IN_MODIFY: Final = 0x00000002
IN_ATTRIB: Final = 0x00000004
IN_CLOSE: Final = 0x00000018  # IN_CLOSE_WRITE | IN_CLOSE_NOWRITE
IN_MOVED_FROM: Final = 0x00000040
IN_MOVED_TO: Final = 0x00000080
IN_CREATE: Final = 0x00000100
IN_DELETE: Final = 0x00000200
IN_DELETE_SELF: Final = 0x00000400
IN_MOVE_SELF: Final = 0x00000800
IN_ONLYDIR: Final = 0x01000000

_HEADER: Final = struct.Struct("=iIII")  # struct inotify_event: wd, mask, cookie, len
_ROOM: Final = 65536


class Event(NamedTuple):
    """What happened: IN_* bits, and the name of the file in the folder that it happened to ("": the folder)."""

    mask: int
    name: str


class Inotify:
    """An inotify instance; readable when there are events."""

    def __init__(self) -> None:
        """Raises KernelError: EMFILE when the user has fs.inotify.max_user_instances of them."""
        self._fd = check(libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK), "inotify_init1")

    def watch(self, folder: str, mask: int) -> None:
        """Tell of the events `mask` in `folder`.  Raises KernelError: ENOENT, ENOTDIR, ENOSPC for too many watches."""
        path = os.fsencode(folder)
        check(libc.inotify_add_watch(self._fd, path, ctypes.c_uint32(mask | IN_ONLYDIR)), "inotify_add_watch", folder)

    def watch_file(self, file: str, mask: int) -> None:
        """Tell of the events `mask` of one file, whose name is not told with them.  Raises KernelError as `watch`."""
        path = os.fsencode(file)
        check(libc.inotify_add_watch(self._fd, path, ctypes.c_uint32(mask)), "inotify_add_watch", file)

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._fd

    def read(self) -> list[Event]:
        """Return the events since the last call, none when there are none; never waits."""
        try:
            data = os.read(self._fd, _ROOM)
        except BlockingIOError:
            return []
        events = []
        offset = 0
        while offset < len(data):
            _, mask, _, length = _HEADER.unpack_from(data, offset)
            offset += _HEADER.size
            events.append(Event(mask, os.fsdecode(data[offset : offset + length].rstrip(b"\0"))))
            offset += length
        return events

    def close(self) -> None:
        """Stop watching."""
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
