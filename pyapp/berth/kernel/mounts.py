"""Mount system calls, one thin function each, and the kernel's own list of mounts.

Callers pass descriptors or paths and exact flags.  A descriptor stands for the very object it was opened on,
so that nothing can be swapped for a link between a check and the mount.  Nothing here resolves paths, retries
or logs; which mounts to make, and in what order, is the plan's job.
"""

import ctypes
import os
import re
from typing import Final

from msgspec import Struct

from berth.kernel.call import KernelError, check, libc, syscall
from berth.kernel.files import read_file

# linux/mount.h
MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_SYNCHRONOUS: Final = 16
MS_REMOUNT: Final = 32
MS_DIRSYNC: Final = 128
MS_NOSYMFOLLOW: Final = 256
MS_NOATIME: Final = 1024
MS_NODIRATIME: Final = 2048
MS_BIND: Final = 4096
MS_MOVE: Final = 8192
MS_REC: Final = 16384
MS_SILENT: Final = 32768
MS_UNBINDABLE: Final = 1 << 17
MS_PRIVATE: Final = 1 << 18
MS_SLAVE: Final = 1 << 19
MS_SHARED: Final = 1 << 20
MS_RELATIME: Final = 1 << 21
MS_STRICTATIME: Final = 1 << 24
MS_LAZYTIME: Final = 1 << 25

MNT_DETACH: Final = 2
UMOUNT_NOFOLLOW: Final = 8

AT_FDCWD: Final = -100
AT_EMPTY_PATH: Final = 0x1000
AT_RECURSIVE: Final = 0x8000

OPEN_TREE_CLONE: Final = 1
OPEN_TREE_CLOEXEC: Final = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH: Final = 0x04
MOVE_MOUNT_T_EMPTY_PATH: Final = 0x40

MOUNT_ATTR_RDONLY: Final = 0x01
MOUNT_ATTR_NOSUID: Final = 0x02
MOUNT_ATTR_NODEV: Final = 0x04
MOUNT_ATTR_NOEXEC: Final = 0x08

_SYS_OPEN_TREE: Final = 428  # 5.2
_SYS_MOVE_MOUNT: Final = 429  # 5.2
_SYS_MOUNT_SETATTR: Final = 442  # 5.12

_ATIME: Final = MS_NOATIME | MS_RELATIME | MS_STRICTATIME
# word of mount(8): (bits it sets, bits it takes back)
_OPTIONS: Final = {
    "defaults": (0, 0),
    "ro": (MS_RDONLY, 0),
    "rw": (0, MS_RDONLY),
    "nosuid": (MS_NOSUID, 0),
    "suid": (0, MS_NOSUID),
    "nodev": (MS_NODEV, 0),
    "dev": (0, MS_NODEV),
    "noexec": (MS_NOEXEC, 0),
    "exec": (0, MS_NOEXEC),
    "nosymfollow": (MS_NOSYMFOLLOW, 0),
    "sync": (MS_SYNCHRONOUS, 0),
    "async": (0, MS_SYNCHRONOUS),
    "dirsync": (MS_DIRSYNC, 0),
    "noatime": (MS_NOATIME, _ATIME),
    "relatime": (MS_RELATIME, _ATIME),
    "strictatime": (MS_STRICTATIME, _ATIME),
    "nodiratime": (MS_NODIRATIME, 0),
    "lazytime": (MS_LAZYTIME, 0),
    "silent": (MS_SILENT, 0),
    "remount": (MS_REMOUNT, 0),
    "bind": (MS_BIND, 0),
    "rbind": (MS_BIND | MS_REC, 0),
    "private": (MS_PRIVATE, 0),
    "rprivate": (MS_PRIVATE | MS_REC, 0),
    "slave": (MS_SLAVE, 0),
    "rslave": (MS_SLAVE | MS_REC, 0),
    "shared": (MS_SHARED, 0),
    "rshared": (MS_SHARED | MS_REC, 0),
    "unbindable": (MS_UNBINDABLE, 0),
    "runbindable": (MS_UNBINDABLE | MS_REC, 0),
}

libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]
libc.pivot_root.argtypes = [ctypes.c_char_p, ctypes.c_char_p]


class MountEntry(Struct, frozen=True):
    """One line of /proc/PID/mountinfo, proc_pid_mountinfo(5), with its escapes undone.

    `device` is the file system's st_dev, `root` the path inside that file system that shows at `target`;
    `propagation` holds the tagged fields ("shared:2", "master:7", "unbindable"), nothing for a private mount;
    `options` belong to this mount, `super_options` to the file system behind it.
    """

    id: int
    parent: int
    device: int
    root: str
    target: str
    options: tuple[str, ...]
    propagation: tuple[str, ...]
    filesystem: str
    source: str
    super_options: tuple[str, ...]


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def mount(
    source: str | int | None, target: str | int, filesystem: str | None = None, flags: int = 0, data: str = ""
) -> None:
    """Mount, bind, move, remount or change propagation: what it is, `flags` say.  See mount(2).

    A descriptor given for `source` or `target` is used through /proc/self/fd, which must be mounted.
    Raises KernelError naming the target.
    """
    check(
        libc.mount(
            None if source is None else os.fsencode(_path(source)),
            os.fsencode(_path(target)),
            None if filesystem is None else os.fsencode(filesystem),
            flags,
            os.fsencode(data) if data else None,
        ),
        "mount",
        _path(target),
    )


def umount(target: str | int, flags: int = 0) -> None:
    """Take the topmost mount at `target` away.  See umount2(2).

    A descriptor given for `target` itself keeps the mount busy, so it works with MNT_DETACH only, and never
    with UMOUNT_NOFOLLOW.  Raises KernelError naming the target.
    """
    check(libc.umount2(os.fsencode(_path(target)), flags), "umount", _path(target))


def pivot_root(new: str | int, old: str | int) -> None:
    """Make `new` the root of this mount namespace and put the previous root at `old`.  See pivot_root(2).

    Raises KernelError; EINVAL where the current root is the initial ramfs, among other reasons.
    """
    check(libc.pivot_root(os.fsencode(_path(new)), os.fsencode(_path(old))), "pivot_root", _path(new))


def open_tree(source: str | int, flags: int = 0) -> int:
    """Return a descriptor for the mount at `source`, close-on-exec; a detached copy with OPEN_TREE_CLONE.

    See open_tree(2), Linux 5.2.  Raises KernelError, with ENOSYS before.
    """
    directory, path, empty = _at(source)
    return syscall(
        _SYS_OPEN_TREE,
        "open_tree",
        ctypes.c_int(directory),
        ctypes.c_char_p(path),
        ctypes.c_uint(flags | OPEN_TREE_CLOEXEC | (AT_EMPTY_PATH if empty else 0)),
        path=_path(source),
    )


def move_mount(tree: int, target: str | int) -> None:
    """Attach the mount behind descriptor `tree` at `target`.  See move_mount(2), Linux 5.2.

    Raises KernelError, with ENOSYS before.
    """
    directory, path, empty = _at(target)
    syscall(
        _SYS_MOVE_MOUNT,
        "move_mount",
        ctypes.c_int(tree),
        ctypes.c_char_p(b""),
        ctypes.c_int(directory),
        ctypes.c_char_p(path),
        ctypes.c_uint(MOVE_MOUNT_F_EMPTY_PATH | (MOVE_MOUNT_T_EMPTY_PATH if empty else 0)),
        path=_path(target),
    )


def mount_setattr(
    target: str | int, *, set_bits: int = 0, clear_bits: int = 0, propagation: int = 0, recursive: bool = False
) -> None:
    """Set and clear MOUNT_ATTR_* on the mount at `target`, and on all below it with `recursive`: all or none.

    `propagation` is one of MS_PRIVATE, MS_SLAVE, MS_SHARED, MS_UNBINDABLE.  See mount_setattr(2), Linux 5.12.
    Raises KernelError, with ENOSYS before.
    """
    directory, path, empty = _at(target)
    attributes = _MountAttributes(attr_set=set_bits, attr_clr=clear_bits, propagation=propagation)
    syscall(
        _SYS_MOUNT_SETATTR,
        "mount_setattr",
        ctypes.c_int(directory),
        ctypes.c_char_p(path),
        ctypes.c_uint((AT_EMPTY_PATH if empty else 0) | (AT_RECURSIVE if recursive else 0)),
        ctypes.byref(attributes),
        ctypes.c_size_t(ctypes.sizeof(attributes)),
        path=_path(target),
    )


def option_flags(words: tuple[str, ...]) -> int:
    """Return the MS_* flags that mount(8)'s `words` stand for; a later word overrides an earlier one.

    Raises ValueError for a word that is not a flag (file system options belong into `data`).
    """
    flags = 0
    for word in words:
        if word not in _OPTIONS:
            raise ValueError(f"{word!r} is not a mount flag")
        set_bits, clear_bits = _OPTIONS[word]
        flags = flags & ~clear_bits | set_bits
    return flags


def remount_flags(target: str | int) -> int:
    """Return the MS_* flags in force at `target`.

    A remount replaces all of them, so one that only adds MS_RDONLY has to repeat these (and inside a user
    namespace is refused with EPERM otherwise).  Raises KernelError.
    """
    try:
        have = os.statvfs(_path(target)).f_flag
    except OSError as error:
        raise KernelError("statvfs", error.errno or 0, _path(target)) from None
    shared_bits = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME
    st_relatime, st_nosymfollow = 0x1000, 0x2000  # the two that statfs(2) numbers differently
    return (
        have & shared_bits
        | (MS_RELATIME if have & st_relatime else 0)
        | (MS_NOSYMFOLLOW if have & st_nosymfollow else 0)
    )


def read_mounts(pid: int | str = "self") -> list[MountEntry]:
    """Return the mounts that process `pid` sees, in the kernel's order: of two at one target the later is on top.

    Raises KernelError; ESRCH or ENOENT when the process is gone.
    """
    # Not splitlines(): a carriage return in a path is not escaped by the kernel and ends no line.
    return [parse_mountinfo(line) for line in _read(f"/proc/{pid}/mountinfo").split(b"\n") if line]


def parse_mountinfo(line: bytes) -> MountEntry:
    """Return what one line of mountinfo says.  Raises ValueError for anything else."""
    head, separator, tail = line.partition(b" - ")
    mount_fields, superblock_fields = head.split(b" "), tail.split(b" ", 2)
    if not separator or len(mount_fields) < 6 or len(superblock_fields) != 3:
        raise ValueError(f"not a line of mountinfo: {line!r}")
    number, parent, device, root, target, options, *propagation = mount_fields
    filesystem, source, super_options = superblock_fields
    major, minor = device.split(b":")
    return MountEntry(
        id=int(number),
        parent=int(parent),
        device=os.makedev(int(major), int(minor)),
        root=_unescape(root),
        target=_unescape(target),
        options=_words(options),
        propagation=tuple(field.decode() for field in propagation),
        filesystem=_unescape(filesystem),
        source=_unescape(source),
        super_options=_words(super_options),
    )


def mount_id(fd: int) -> int:
    """Return the id, as in mountinfo, of the mount that descriptor `fd` lies on (Linux 3.15); asks no file system.

    Raises KernelError.
    """
    path = f"/proc/self/fdinfo/{fd}"
    for line in _read(path).splitlines():
        key, _, value = line.partition(b":")
        if key == b"mnt_id":
            return int(value)
    raise LookupError(f"{path} has no mnt_id: this kernel is older than 3.15")


def fd_path(fd: int) -> str:
    """Return the path through which calls that want a path reach the object behind `fd`."""
    return f"/proc/self/fd/{fd}"


def _path(place: str | int) -> str:
    return fd_path(place) if isinstance(place, int) else place


def _at(place: str | int) -> tuple[int, bytes, bool]:
    """Directory descriptor, path and whether the path is empty, for the calls that take a descriptor directly."""
    return (place, b"", True) if isinstance(place, int) else (AT_FDCWD, os.fsencode(place), False)


def _words(options: bytes) -> tuple[str, ...]:
    """Split first: a comma inside an option (an overlay's path) is escaped, one between options is not."""
    return tuple(_unescape(word) for word in options.split(b","))


def _unescape(field: bytes) -> str:
    r"""Undo the kernel's octal escapes: \040 is a space, \134 a backslash."""
    if b"\\" not in field:
        return os.fsdecode(field)
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda octal: bytes((int(octal[1], 8),)), field))


def _read(path: str) -> bytes:
    try:
        return read_file(path)
    except OSError as error:
        raise KernelError("read", error.errno or 0, path) from None
