"""One cgroup and all that lies below it: who is in there, killing them, removing the folders.

A container may nest groups as deep as it likes, so trees are walked by descriptor and without recursion: neither
the length of a path nor Python's stack is a limit.  Everything here bears a folder that vanishes meanwhile.
"""

import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterator

from berth.kernel.call import KernelError
from berth.kernel.files import read_descriptor, read_file, write_file
from berth.kernel.processes import Process

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_GONE = (errno.ENOENT, errno.ENODEV)
_HOLDING = (("cgroup.freeze", "1"), ("freezer.state", "FROZEN"), ("pids.max", "0"))
_LOOK_AGAIN = 0.1  # seconds: a process that forked while it was killed has left a child


def identify(path: str) -> str | None:
    """Return what tells this cgroup from a later one of the same name, "device:inode"; None when it is not there."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return f"{found.st_dev}:{found.st_ino}"


def read(path: str) -> str:
    """Return the content of a cgroup file without the newline, "" when it is gone.  Raises KernelError."""
    try:
        return read_file(path).decode().strip()
    except OSError as error:
        if error.errno in _GONE:
            return ""
        raise KernelError("read", error.errno or 0, path) from None


def write(path: str, value: str) -> None:
    """Write `value` to a cgroup file in one write(2), as the kernel wants it.  Raises KernelError naming the file."""
    try:
        write_file(path, value.encode())
    except OSError as error:
        raise KernelError("write", error.errno or 0, path) from None


def make(directory: str) -> None:
    """Make a cgroup unless it is there.  Raises KernelError."""
    try:
        os.mkdir(directory, 0o755)
    except FileExistsError:
        pass
    except OSError as error:
        raise KernelError("mkdir", error.errno or 0, directory) from None


def processes(path: str) -> set[int]:
    """Return the pids in the cgroup and below, none when it is gone."""
    found: set[int] = set()
    for _, fd in _bottom_up(path):
        found.update(_listed(fd))
    found.discard(0)  # a process that this PID namespace can't see; kill(0) would strike our own group
    return found


def kill(path: str, patience: float = 5.0) -> tuple[int, ...]:
    """Kill every process in the cgroup and below and wait until they are gone, `patience` seconds at most.

    Returns the pids that are still there then (stuck in the kernel); the caller itself is spared.
    """
    own, deadline = os.getpid(), time.monotonic() + patience
    while victims := (there := processes(path)) - {own}:
        if own in there:
            _kill_each(victims)  # what strikes a whole group would strike the caller as well
        elif not _wrote(f"{path}/cgroup.kill", "1"):  # 5.14
            victims = _kill_held(path, deadline)
        while waited_for := processes(path) & victims:
            left = deadline - time.monotonic()
            if left <= 0:
                return tuple(sorted(waited_for))
            if _ended(min(waited_for), min(left, _LOOK_AGAIN)):
                time.sleep(0.0005)  # it has ended, and leaves the list within moments
            else:
                break
        if time.monotonic() > deadline:
            return tuple(sorted(processes(path) - {own}))
    return ()


def remove(path: str, patience: float = 10.0) -> None:
    """Remove the cgroup and all below it, waiting `patience` seconds for the last processes to leave.

    Raises KernelError: EBUSY when processes stay.
    """
    deadline = time.monotonic() + patience
    while not remove_if_empty(path):
        if time.monotonic() > deadline:
            raise KernelError("rmdir", errno.EBUSY, path)
        time.sleep(0.002)


def remove_if_empty(path: str) -> bool:
    """Remove the cgroup and all below it; False when processes are in one of them.  Raises KernelError."""
    try:
        for name, fd in _bottom_up(path):
            _remove_one(name, fd)
    except OSError as error:
        if error.errno == errno.EBUSY:
            return False
        raise KernelError("rmdir", error.errno or 0, path) from None
    return True


def _remove_one(name: str, fd: int) -> None:
    above = os.open("..", _FOLDER, dir_fd=fd)
    try:
        os.rmdir(name, dir_fd=above)
    except FileNotFoundError:
        pass
    finally:
        os.close(above)


def _kill_held(path: str, deadline: float) -> set[int]:
    """Kill all in the cgroup and below while none of them can fork; return whom.

    The frozen can't (cgroup2 from 5.2; v1's freezer), nor those whose group may hold no more processes (pids).  In
    another hierarchy of an old kernel whoever forks fast may get away until the PID 1 of its namespace is killed.
    """
    for file, value in _HOLDING:
        _wrote(f"{path}/{file}", value)
    struck: set[int] = set()
    try:
        while fresh := processes(path) - struck:
            _kill_each(fresh)
            struck |= fresh
            if time.monotonic() > deadline:
                break
    finally:
        _thaw(path)
    return struck


def _kill_each(pids: set[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _ended(pid: int, seconds: float) -> bool:
    process = Process(pid)
    try:
        return process.wait(seconds)
    finally:
        process.close()


def _thaw(path: str) -> None:
    """In v1 the frozen die only when thawed, and the container may have frozen a group below."""
    _wrote(f"{path}/cgroup.freeze", "0")
    _wrote(f"{path}/freezer.state", "THAWED")
    for _, fd in _bottom_up(path):
        _wrote(f"/proc/self/fd/{fd}/freezer.state", "THAWED")


def _wrote(path: str, value: str) -> bool:
    try:
        write(path, value)
    except KernelError as error:
        if error.errno in (*_GONE, errno.EOPNOTSUPP):  # not in this kernel, not in this hierarchy, or a threaded group
            return False
        raise
    return True


def _listed(folder: int) -> list[int]:
    try:
        fd = os.open("cgroup.procs", os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
        try:
            return [int(line) for line in read_descriptor(fd).split()]
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno in (*_GONE, errno.EOPNOTSUPP):  # a threaded group: the one above lists its processes
            return []
        raise KernelError("read", error.errno or 0, "cgroup.procs") from None


def _bottom_up(path: str) -> Iterator[tuple[str, int]]:
    """Name and open folder of each cgroup of the tree, those below before the one above."""
    try:
        fd = os.open(path, _FOLDER)
    except FileNotFoundError:
        return
    way = [(os.path.basename(path), _folders_in(fd))]
    try:
        while way:
            name, below = way[-1]
            if below:
                down = _opened(below[-1], fd)
                inner = below.pop()
                if down is not None:
                    os.close(fd)
                    fd = down
                    way.append((inner, _folders_in(fd)))
                continue
            yield name, fd
            way.pop()
            if way:
                up = os.open("..", _FOLDER, dir_fd=fd)
                os.close(fd)
                fd = up
    finally:
        os.close(fd)


def _opened(name: str, above: int) -> int | None:
    try:
        return os.open(name, _FOLDER, dir_fd=above)
    except FileNotFoundError:
        return None


def _folders_in(fd: int) -> list[str]:
    try:
        with os.scandir(fd) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        if error.errno in _GONE:
            return []
        raise KernelError("scandir", error.errno or 0, f"/proc/self/fd/{fd}") from None
