"""Unix sockets by paths of any length: an address holds 107 bytes, so the folder is named by a descriptor."""

import contextlib
import os
import socket
from collections.abc import Iterator

from berth.kernel.call import calling


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
