"""The control protocol: one JSON object per line on a Unix stream socket, descriptors by SCM_RIGHTS.

A caller sends one request, `{"call": "command", "argv": [...], "cwd": "...", "env": {...}}` with its standard streams
beside it, and reads lines until `{"exit": N}`; `"foreground": false` says that it is not in the foreground of a
terminal that is both its input and its output.  In between it may be told of a program that now runs for it
(`program`), of a terminal to copy bytes for (`terminal`, with the master beside it), and of the signal that stopped
the program (`stopped`).  It may send `{"signal": N}` for the program, `{"typed": N}` for a key that means signal N, and
beside them `"foreground": true` to let the program have its terminal.
"""

import array
import json
import os
import socket
from typing import Any

_CHUNK = 65536
_MOST_BYTES = 1 << 22
_MOST_DESCRIPTORS = 8


class Connection:
    """One end of a control connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = b""

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self.sock.fileno()

    def send(self, message: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
        """Send one line with `descriptors` beside it; raises OSError when the other end is gone."""
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        sent = self.sock.sendmsg([data], beside)
        if sent < len(data):
            self.sock.sendall(data[sent:])

    def receive(self) -> tuple[dict[str, Any] | None, list[int]]:
        """Wait for one line and its descriptors (close-on-exec); (None, []) at the end.

        Raises ValueError for what is no JSON object or longer than 4 MiB.
        """
        descriptors: list[int] = []
        while b"\n" not in self._buffer:
            try:
                data, received, _, _ = socket.recv_fds(self.sock, _CHUNK, _MOST_DESCRIPTORS)
            except ConnectionResetError:
                return None, []
            for fd in received:
                os.set_inheritable(fd, False)
            descriptors += received
            if not data:
                return None, descriptors
            self._buffer += data
            if len(self._buffer) > _MOST_BYTES:
                raise ValueError("a line of more than 4 MiB")
        line, _, self._buffer = self._buffer.partition(b"\n")
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError("a line that is no JSON object")
        return message, descriptors

    @property
    def pending(self) -> bool:
        """Whether a whole line has been read already, so that a selector would not tell of it."""
        return b"\n" in self._buffer

    def close(self) -> None:
        """Close this end."""
        self.sock.close()


def peer_of(sock: socket.socket) -> tuple[int, int]:
    """Return (pid, uid) of the process at the other end when it connected.  See SO_PEERCRED in unix(7)."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    values = array.array("i", raw)
    return values[0], values[1]
