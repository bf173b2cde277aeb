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


class Publisher(BaseHTTPRequestHandler):
    """Answers /update.json; other paths lead there, in a ring, or to where nobody can be trusted."""

    def do_GET(self) -> None:
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
def publishing(certificate: tuple[Path, Path]) -> Iterator[str]:
    """Publish, and give the address without a path."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Publisher)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"https://localhost:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
