"""The page's own files: those below `webroot` when they were listed, and no others."""

import os
import re
from typing import NamedTuple

_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "ico": "image/x-icon",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "mjs": "text/javascript; charset=utf-8",
    "png": "image/png",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
    "webmanifest": "application/manifest+json",
    "webp": "image/webp",
    "woff2": "font/woff2",
}
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_FILE_BYTES = 4 << 20

PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "font-src 'self'; manifest-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class File(NamedTuple):
    """A file to send: its type, a tag that changes with it, whether `data` is gzip."""

    type: str
    tag: str
    data: bytes
    gzip: bool


class Files:
    """The files below `root`."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._listed = self._list()

    def _list(self) -> frozenset[str]:
        found = set()
        for folder, folders, files in os.walk(self._root):
            folders[:] = [name for name in folders if _PART.fullmatch(name)]
            below = os.path.relpath(folder, self._root)
            for name in files:
                if _PART.fullmatch(name):
                    found.add(name if below == "." else f"{below}/{name}")
        return frozenset(found)

    def find(self, path: str, *, gzip: bool) -> File | None:
        """Return the file that a URL's `path` names, compressed where that lies beside it; None where there is none."""
        name = path.removeprefix("/") or "index.html"
        kind = _TYPES.get(name.rpartition(".")[2])
        if kind is None or not all(_PART.fullmatch(part) for part in name.split("/")):
            return None
        if name not in self._listed:
            self._listed = self._list()  # a file that was added since
            if name not in self._listed:
                return None
        packed = gzip and f"{name}.gz" in self._listed
        try:
            fd = os.open(f"{self._root}/{name}{'.gz' if packed else ''}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        with open(fd, "rb") as file:
            found = os.fstat(fd)
            tag = f'"{found.st_mtime_ns:x}-{found.st_size:x}"'
            return File(kind, tag, file.read(_FILE_BYTES), packed)
