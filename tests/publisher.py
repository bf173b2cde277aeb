"""Where newer versions are published, as a test has it: by TLS on this machine, with a certificate of its own."""

import contextlib
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PUBLISHED = {"version": "v9.9.9", "versionCode": 90909, "zipUrl": "https://example.org/berth.zip", "changelog": ""}

BROKEN = {
    "/page": b"HTTP/1.0 200 OK\r\n\r\n<html>",
    "/cut": b'HTTP/1.0 200 OK\r\n\r\n{"version":"v9.9.9","versionCode":909',
    "/short": b"HTTP/1.0 200 OK\r\nContent-Length: 100\r\n\r\n{",
    "/huge": b'HTTP/1.0 200 OK\r\n\r\n{"version":"' + b"v" * 100_000 + b'","versionCode":90909,"zipUrl":""}',
    "/other": b"\x1b]0;a title\x07\r\n\r\n",
    "/silent": b"",
}


class Site(ThreadingHTTPServer):
    """Where it is published; `asked` is set when somebody waits for /held, `left` when they have gone."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Publisher)
        self.address = f"https://localhost:{self.server_address[1]}"
        self.asked, self.left = threading.Event(), threading.Event()


class Publisher(BaseHTTPRequestHandler):
    """Answers /update.json; other paths lead there, in a ring, or to where nobody can be trusted, or answer badly."""

    server: Site

    def do_GET(self) -> None:
        if self.path in BROKEN:
            self.wfile.write(BROKEN[self.path])
            return
        if self.path == "/held":
            self.server.asked.set()
            with contextlib.suppress(OSError):
                self.connection.recv(1)
            self.server.left.set()
            return
        moved = {"/moved": "/update.json", "/round": "/round", "/plain": "http://127.0.0.1/"}.get(self.path)
        self.send_response(302 if moved else 200 if self.path == "/update.json" else 404)
        if moved:
            self.send_header("Location", moved)
        self.end_headers()
        self.wfile.write(b"" if moved else json.dumps(PUBLISHED).encode())

    def log_request(self, *_: object) -> None:
        """Print nothing."""


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Return a new certificate for localhost and its key, in `folder`."""
    key, made = folder / "key", folder / "certificate"
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run([*command, "-keyout", key, "-out", made, *name], check=True, capture_output=True)
    return made, key


@contextlib.contextmanager
def publishing(certificate: tuple[Path, Path]) -> Iterator[Site]:
    """Publish."""
    server = Site()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
