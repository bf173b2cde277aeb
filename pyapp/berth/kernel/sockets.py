"""Unix sockets by paths of any length: an address holds 107 bytes, so the folder is named by a descriptor."""

import contextlib
import errno
import os
import resource
import socket
from collections.abc import Iterator

from berth.kernel.call import calling

_NOBODY = 65534


@contextlib.contextmanager
def short_path(path: str) -> Iterator[str]:
    """Yield an address for the socket at `path`, good while the block lasts; raises OSError without its folder."""
    folder, name = os.path.split(path)
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{name}"
    finally:
        os.close(fd)


def listen(path: str, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """Return a non-blocking socket bound to `path` with mode 0600, in the place of one that a crash left there.

    Raises OSError.
    """
    sock = socket.socket(socket.AF_UNIX, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        with short_path(path) as address:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            mask = os.umask(0o177)
            try:
                with calling("bind", path):
                    sock.bind(address)
            finally:
                os.umask(mask)
        if kind != socket.SOCK_DGRAM:
            with calling("listen", path):
                sock.listen(64)
    except OSError:
        sock.close()
        raise
    return sock


def accept(listener: socket.socket) -> socket.socket | None:
    """Return the next caller of a listener that does not block; None when it has gone again.

    One for whom this process has no descriptor left is turned away: while it waited, the listener would stay readable,
    and whoever polls it would never sleep.  Raises OSError when not even that can be done.  See accept(2).
    """
    try:
        return _accept(listener)
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft + 1, max(soft + 1, hard)))
    except ValueError as error:  # it is the most that is permitted
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE)) from error
    try:
        caller = _accept(listener)
        if caller is not None:
            caller.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return None


def _accept(listener: socket.socket) -> socket.socket | None:
    try:
        return listener.accept()[0]
    except (BlockingIOError, ConnectionAbortedError):
        return None


def connect(path: str, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """Return a socket connected to `path`; raises OSError when nobody listens there."""
    sock = socket.socket(socket.AF_UNIX, kind | socket.SOCK_CLOEXEC)
    try:
        with short_path(path) as address:
            sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


def sockets_need_a_group() -> bool:
    """Tell whether the kernel refuses an internet socket to a process without capabilities and groups.

    Kernels of Android's up to 4.14 do (CONFIG_ANDROID_PARANOID_NETWORK).  A child tries it; False where none can be
    had.
    """
    try:
        pid = os.fork()
    except OSError:
        return False
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
        except PermissionError:
            os._exit(1 if os.getuid() == _NOBODY else 0)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
