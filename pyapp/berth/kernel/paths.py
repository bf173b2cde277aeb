"""Paths inside a root file system that may be hostile, resolved by descriptor and never out of it.

`openat2(2)` (5.6) does it in the kernel; before that, a walk of one component at a time with O_NOFOLLOW does
the same, following links by hand against the given root.
"""

import ctypes
import errno
import os
import stat
from typing import Final

from berth.kernel.call import KernelError, syscall
from berth.kernel.mounts import mount_id

_SYS_OPENAT2: Final = 437
_RESOLVE_NO_XDEV: Final = 0x01
_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_IN_ROOT: Final = 0x10
_MOST_LINKS: Final = 40  # MAXSYMLINKS of the kernel


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_in_root(
    root: int, path: str, flags: int = os.O_PATH, *, follow: bool = True, across_mounts: bool = True
) -> int:
    """Open `path` as if descriptor `root` were `/`: links and `..` can't lead out of it.

    Returns a close-on-exec descriptor.  With `follow` false a link in the last place is not followed (with
    O_PATH the link itself is opened).  Without `across_mounts` what is mounted below `root` is not entered (EXDEV): a
    file system that root inside has mounted there may never answer.  Raises KernelError.  See openat2(2).
    """
    flags |= os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    resolve = _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS | (0 if across_mounts else _RESOLVE_NO_XDEV)
    how = _OpenHow(flags, 0, resolve)
    arguments = (ctypes.c_int(root), os.fsencode(path), ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how)))
    try:
        return syscall(_SYS_OPENAT2, "openat2", *arguments, path=path)
    except KernelError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):
            return _walk(root, path, flags, follow, None if across_mounts else mount_id(root))
        if error.errno == errno.EAGAIN:  # a rename raced with the look-up of `..`
            return open_in_root(root, path, flags, follow=follow, across_mounts=across_mounts)
        raise


def _walk(root: int, path: str, flags: int, follow: bool, mount: int | None) -> int:
    """Do as openat2 does; everything has to be on `mount`, unless that is None."""
    todo = [part for part in path.split("/") if part not in ("", ".")][::-1]
    stack = [os.dup(root)]  # the folders from the root down to where the walk stands
    links = 0
    try:
        while todo:
            part = todo.pop()
            if part == "..":
                if len(stack) > 1:
                    os.close(stack.pop())
                continue
            fd = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=stack[-1])
            if mount is not None and mount_id(fd) != mount:
                os.close(fd)
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            if stat.S_ISLNK(os.fstat(fd).st_mode) and (todo or follow):
                points_to = os.readlink("", dir_fd=fd)
                os.close(fd)
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                if points_to.startswith("/"):
                    while len(stack) > 1:
                        os.close(stack.pop())
                todo += [piece for piece in points_to.split("/") if piece not in ("", ".")][::-1]
                continue
            stack.append(fd)
        if flags & os.O_PATH:
            found = os.fstat(stack[-1])
            if flags & os.O_DIRECTORY and not stat.S_ISDIR(found.st_mode):
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            return os.dup(stack[-1])
        if stat.S_ISLNK(os.fstat(stack[-1]).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return os.open(f"/proc/self/fd/{stack[-1]}", flags & ~os.O_NOFOLLOW)
    except OSError as error:
        raise KernelError("open", error.errno or errno.EIO, path) from error
    finally:
        for fd in stack:
            os.close(fd)


def make_in_root(root: int, path: str, *, folder: bool, mode: int = 0o755, across_mounts: bool = True) -> int:
    """Make a folder, else an empty file, at `path` inside `root`; the folder above must be there.

    Returns an O_PATH descriptor of what was made.  `across_mounts` is as for `open_in_root`.  Raises KernelError
    (EEXIST when anything has that name).
    """
    parent, _, name = path.rstrip("/").rpartition("/")
    above = open_in_root(root, parent or "/", os.O_PATH | os.O_DIRECTORY, across_mounts=across_mounts)
    try:
        if folder:
            os.mkdir(name, mode, dir_fd=above)
        else:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
            os.close(os.open(name, flags, mode & 0o666, dir_fd=above))
        return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    except OSError as error:
        raise KernelError("mkdir" if folder else "open", error.errno or errno.EIO, path) from error
    finally:
        os.close(above)


def read_in_root(root: int, path: str, limit: int = 65536) -> bytes | None:
    """Return up to `limit` bytes of the regular file at `path` inside `root`; None when there is none.

    What is no regular file is not even opened: a device's node would do something by that, a watchdog's reboot.
    """
    try:
        found = open_in_root(root, path)
    except KernelError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            return None
        fd = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    finally:
        os.close(found)
    try:
        return os.read(fd, limit)
    finally:
        os.close(fd)
