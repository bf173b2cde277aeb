"""Merges Android's network groups into the files of a rootfs, by replacing each file in one step."""

import contextlib
import os
import stat

from berth.kernel.paths import open_in_root
from berth.plan.network_groups import with_apt, with_groups

_MOST_BYTES = 1 << 20


def merge_network_groups(root: int) -> None:
    """Bring /etc/group and /etc/passwd below the descriptor `root` up to date; what is up to date is left alone.

    A link, or anything else that is no plain file of at most 1 MiB, is left alone too.  Raises OSError.
    """
    folder = open_in_root(root, "/etc", os.O_RDONLY | os.O_DIRECTORY)
    try:
        passwd, group = _read(folder, "passwd"), _read(folder, "group")
        if group is not None:
            _replace(folder, "group", group, with_groups(group, passwd or ""))
        if passwd is not None:
            _replace(folder, "passwd", passwd, with_apt(passwd))
    finally:
        os.close(folder)


def _read(folder: int, name: str) -> str | None:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return None
    with open(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MOST_BYTES:
            return None
        return file.read(_MOST_BYTES).decode(errors="surrogateescape")


def _replace(folder: int, name: str, before: str, after: str) -> None:
    if before == after:
        return
    owner = os.stat(name, dir_fd=folder, follow_symlinks=False)
    beside = f".{name}.berth"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(beside, dir_fd=folder)
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    with open(fd, "wb") as file:
        file.write(after.encode(errors="surrogateescape"))
        os.fchown(fd, owner.st_uid, owner.st_gid)
        os.fchmod(fd, stat.S_IMODE(owner.st_mode))
        file.flush()
        os.fsync(fd)
    os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
