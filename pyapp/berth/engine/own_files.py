"""Keeps Berth's own program files from being written to by a container that gets hold of one of its processes.

A process that enters a container is seen by root inside until it has become the program.  Through its /proc/PID/exe and
/proc/PID/map_files that root can open the files that are mapped: the interpreter and the libraries of the host, as in
CVE-2019-5736.  What was mapped on a read-only mount can't be opened for writing, whoever asks.
"""

import os
import sys

from berth.kernel.call import KernelError
from berth.kernel.mounts import (
    MOUNT_ATTR_RDONLY,
    MS_BIND,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    mount,
    mount_setattr,
    read_mounts,
    remount_flags,
)
from berth.kernel.namespaces import setns, unshare

_OUTSIDE = "BERTH_OUTSIDE"


def map_read_only() -> None:
    """Begin this program anew with all its files on read-only mounts; return in that second life.

    The mounts are copies in a mount namespace of the process' own.  When everything is imported that will be needed,
    `return_outside` goes back to the host's.  Where no such namespace can be made, the first life goes on.
    """
    if _OUTSIDE in os.environ:
        return
    outside = [os.open(path, flags) for path, flags in _PLACES.items()]
    environment = {**os.environ, _OUTSIDE: ",".join(map(str, outside))}
    try:
        _enter(outside)  # it is there already; but whoever may not do this could not come back
        unshare("mount")
    except OSError:
        _close(outside)
        return
    try:
        mount(None, "/", None, MS_PRIVATE | MS_REC)
        _make_all_read_only()
        for fd in outside:
            os.set_inheritable(fd, True)
        os.execve(sys.executable, sys.orig_argv, environment)
    except OSError:
        _enter(outside)
        _close(outside)


def return_outside() -> None:
    """Go back to the mounts, root and working folder that `map_read_only` left, if it did; raises KernelError."""
    if _OUTSIDE in os.environ:
        outside = [int(number) for number in os.environ.pop(_OUTSIDE).split(",")]
        _enter(outside)
        _close(outside)


_PLACES = {"/proc/self/ns/mnt": os.O_RDONLY, "/": os.O_PATH | os.O_DIRECTORY, ".": os.O_PATH | os.O_DIRECTORY}


def _enter(outside: list[int]) -> None:
    mounts, root, folder = outside
    setns(mounts, "mount")
    os.fchdir(root)
    os.chroot(".")  # entering a mount namespace leads to its true root, which need not be the caller's
    os.fchdir(folder)


def _close(outside: list[int]) -> None:
    for fd in outside:
        os.close(fd)


def _make_all_read_only() -> None:
    try:
        mount_setattr("/", set_bits=MOUNT_ATTR_RDONLY, recursive=True)
    except KernelError:  # ENOSYS before 5.12; or one of the many can't be: then each for itself
        for entry in read_mounts():
            _make_read_only(entry.target)


def _make_read_only(target: str) -> None:
    try:
        mount(None, target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | remount_flags(target))
    except KernelError:
        return  # below another mount, or not to be reached: nothing is mapped from there either
