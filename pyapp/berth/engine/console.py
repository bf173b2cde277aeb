"""A container's console: always drained, into a capped ring, a rotated log, and to whoever looks on."""

import contextlib
import errno
import os
import socket

_RING_BYTES = 64 * 1024
_LOG_BYTES = 1024 * 1024
_CHUNK = 64 * 1024
_BEHIND_BYTES = 256 * 1024


class Console:
    """The master of the console's terminal; `slave` stays open so that the master never reports an end."""

    def __init__(self, master: int, slave: int, log: str) -> None:
        self.master = master
        self._slave = slave
        self._log = log
        self._ring = bytearray()
        self.viewers: dict[socket.socket, bytearray] = {}
        os.set_blocking(master, False)
        self._file = self._open_log()

    def _open_log(self) -> int | None:
        try:
            return os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            return None  # a full or read-only disk must never stop the draining

    def fileno(self) -> int:
        """Return the master, for a selector."""
        return self.master

    def drain(self) -> bool:
        """Read what init has written and hand it on; False when there was nothing."""
        try:
            data = os.read(self.master, _CHUNK)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno == errno.EIO:
                return False
            raise
        self._ring += data
        del self._ring[:-_RING_BYTES]
        self.write_log(data)
        for viewer, pending in self.viewers.items():
            pending.extend(data)
            del pending[:-_BEHIND_BYTES]  # a viewer that is far behind misses the oldest, never blocks the container
            self.flush(viewer)
        return bool(data)

    def write_log(self, data: bytes) -> None:
        """Append to the log, turning it over at 1 MiB; a disk that can't take it loses it."""
        if self._file is None:
            self._file = self._open_log()
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            os.write(self._file, data)
            if os.fstat(self._file).st_size > _LOG_BYTES:
                os.replace(self._log, f"{self._log}.1")
                os.close(self._file)
                self._file = self._open_log()

    def attach(self, viewer: socket.socket) -> None:
        """Show `viewer` what the ring holds and everything from now on."""
        viewer.setblocking(False)
        self.viewers[viewer] = bytearray(self._ring)
        self.flush(viewer)

    def flush(self, viewer: socket.socket) -> bool:
        """Send a viewer what it can take; True when nothing is left over."""
        pending = self.viewers[viewer]
        with contextlib.suppress(BlockingIOError, OSError):
            while pending:
                del pending[: viewer.send(pending)]
        return not pending

    def is_behind(self, viewer: socket.socket) -> bool:
        """Tell whether something waits to be sent to a viewer."""
        return bool(self.viewers[viewer])

    def type(self, viewer: socket.socket) -> bool:
        """Pass on what a viewer typed; False when it has gone."""
        try:
            data = viewer.recv(4096)
        except BlockingIOError:
            return True
        except OSError:
            return False
        with contextlib.suppress(BlockingIOError):
            os.write(self.master, data)
        return bool(data)

    def detach(self, viewer: socket.socket) -> None:
        """Forget a viewer."""
        self.viewers.pop(viewer, None)
        viewer.close()

    def hang_up(self) -> None:
        """Drain what is left of this boot and let go of its terminal; those who look on stay."""
        if self.master < 0:
            return
        while self.drain():
            pass
        os.close(self.master)
        os.close(self._slave)
        self.master = self._slave = -1

    def renew(self, master: int, slave: int) -> None:
        """Go on with the terminal of the next boot; whoever looks on gets its master, to follow the window's size."""
        self.master, self._slave = master, slave
        os.set_blocking(master, False)
        for viewer in self.viewers:
            with contextlib.suppress(OSError):
                socket.send_fds(viewer, [b"\r"], [master])
