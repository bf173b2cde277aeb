"""An app without any right that listens where the dashboard was, and writes down what it is told.

Run with a uid, a port, a folder for the file `heard`; where there is a file `other` in it, that names the port to which
questions are passed on.
"""

import os
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Squatter(BaseHTTPRequestHandler):
    """Says yes to everything; a proof it makes up, or has another port's owner make one."""

    folder = Path()

    def _take(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        lines = [f"{self.command} {self.path}", *(f"{name}: {value}" for name, value in self.headers.items())]
        with (self.folder / "heard").open("ab") as file:
            file.write("\n".join(lines).encode() + b"\n\n" + body + b"\n")
        answer = b'{"proof":"%s"}' % (b"0" * 64)
        other = self.folder / "other"
        if other.exists() and self.path.endswith("/proof"):
            answer = self._relay(int(other.read_text()), body)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = do_DELETE = _take

    def _relay(self, port: int, body: bytes) -> bytes:
        """What the service elsewhere answers; nothing where it closes."""
        head = (
            f"POST /api/v1/proof HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        seen = b""
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
                sock.sendall(head.encode() + body)
                while part := sock.recv(65536):
                    seen += part
        except ConnectionError:
            pass
        with (self.folder / "heard").open("ab") as file:
            file.write(b"relayed: " + seen + b"\n")
        return seen.partition(b"\r\n\r\n")[2]

    def log_request(self, *_: object) -> None:
        """Print nothing."""


def take(port: int) -> ThreadingHTTPServer:
    """Listen on `port` as soon as the last process that has it is gone; raises OSError after a while."""
    until = time.monotonic() + 60
    while True:
        try:
            return ThreadingHTTPServer(("127.0.0.1", port), Squatter)
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.005)


if __name__ == "__main__":
    uid, port, Squatter.folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    server = take(port)
    (Squatter.folder / "heard").touch()
    os.chown(Squatter.folder / "heard", uid, uid)
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    print("listens", flush=True)
    server.serve_forever()
