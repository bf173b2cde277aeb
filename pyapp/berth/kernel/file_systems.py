"""New file systems by the calls of Linux 5.2: fsopen(2), fsconfig(2), fsmount(2)."""

import ctypes
import os
from typing import Final, NamedTuple, Self

from berth.kernel.call import syscall
from berth.kernel.files import read_file
from berth.kernel.mounts import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_DIRSYNC,
    MS_LAZYTIME,
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_NOSYMFOLLOW,
    MS_RDONLY,
    MS_STRICTATIME,
    MS_SYNCHRONOUS,
)

_SYS_FSOPEN: Final = 430
_SYS_FSCONFIG: Final = 431
_SYS_FSMOUNT: Final = 432
_CLOEXEC: Final = 1
_SET_FLAG, _SET_STRING, _CMD_CREATE = 0, 1, 6

_MOUNT_ATTR_NOATIME: Final = 0x10
_MOUNT_ATTR_STRICTATIME: Final = 0x20
_MOUNT_ATTR_NODIRATIME: Final = 0x80
_MOUNT_ATTR_NOSYMFOLLOW: Final = 0x00200000
_MS_MGC_MSK, _MS_MGC_VAL = 0xFFFF0000, 0xC0ED0000

_OF_THE_MOUNT: Final = {
    MS_RDONLY: MOUNT_ATTR_RDONLY,
    MS_NOSUID: MOUNT_ATTR_NOSUID,
    MS_NODEV: MOUNT_ATTR_NODEV,
    MS_NOEXEC: MOUNT_ATTR_NOEXEC,
    MS_NODIRATIME: _MOUNT_ATTR_NODIRATIME,
    MS_NOSYMFOLLOW: _MOUNT_ATTR_NOSYMFOLLOW,
}
_OF_THE_FILE_SYSTEM: Final = {
    MS_RDONLY: "ro",
    MS_SYNCHRONOUS: "sync",
    MS_DIRSYNC: "dirsync",
    MS_LAZYTIME: "lazytime",
}


class MountFlags(NamedTuple):
    """What the flags of mount(2) say in these calls: words for the file system, MOUNT_ATTR_* for the mount."""

    words: tuple[str, ...]
    attributes: int
    read_only: bool

    @classmethod
    def read(cls, flags: int) -> Self:
        """Take the MS_* of a new mount apart as the kernel does."""
        if flags & _MS_MGC_MSK == _MS_MGC_VAL:
            flags &= ~_MS_MGC_MSK
        attributes = sum(attribute for bit, attribute in _OF_THE_MOUNT.items() if flags & bit)
        if flags & MS_STRICTATIME:
            attributes |= _MOUNT_ATTR_STRICTATIME
        elif flags & MS_NOATIME:
            attributes |= _MOUNT_ATTR_NOATIME
        words = tuple(word for bit, word in _OF_THE_FILE_SYSTEM.items() if flags & bit)
        return cls(words, attributes, bool(flags & MS_RDONLY))


def open_context(filesystem: bytes) -> int:
    """Return a descriptor in which a new file system is described.

    Raises KernelError, with ENODEV when the kernel has none of that name.
    """
    return syscall(_SYS_FSOPEN, "fsopen", ctypes.c_char_p(filesystem), ctypes.c_uint(_CLOEXEC), path=_text(filesystem))


def create(filesystem: bytes, source: str, flags: MountFlags, options: tuple[tuple[str, str | None], ...]) -> int:
    """Make a file system, or find the one that there is, and return a descriptor of a mount of it that is nowhere yet.

    Raises KernelError.
    """
    context = open_context(filesystem)
    try:
        name, _, subtype = _text(filesystem).partition(".")
        if subtype:
            _configure(context, _SET_STRING, "subtype", subtype)
        _configure(context, _SET_STRING, "source", source)
        for word in flags.words:
            _configure(context, _SET_FLAG, word)
        for key, value in options:
            _configure(context, _SET_FLAG if value is None else _SET_STRING, key, value)
        _configure(context, _CMD_CREATE, None)
        return syscall(
            _SYS_FSMOUNT,
            "fsmount",
            ctypes.c_int(context),
            ctypes.c_uint(_CLOEXEC),
            ctypes.c_uint(flags.attributes),
            path=name,
        )
    finally:
        os.close(context)


def read_listed() -> dict[str, bool]:
    """Return the file systems of /proc/filesystems, each with whether it needs a block device."""
    pairs = (line.split("\t") for line in read_file("/proc/filesystems").decode().splitlines())
    return {name: kind != "nodev" for kind, name in pairs}


def _configure(context: int, command: int, key: str | None, value: str | None = None) -> None:
    syscall(
        _SYS_FSCONFIG,
        "fsconfig",
        ctypes.c_int(context),
        ctypes.c_uint(command),
        ctypes.c_char_p(None if key is None else os.fsencode(key)),
        ctypes.c_char_p(None if value is None else os.fsencode(value)),
        ctypes.c_int(0),
        path=key,
    )


def _text(name: bytes) -> str:
    return os.fsdecode(name)
