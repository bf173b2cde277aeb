"""Fetching a small document by TLS, as a phone finds its host and knows whom to trust."""

import http.client
import os
import ssl
from urllib.parse import urljoin, urlsplit

from berth.android.lookup import addresses_of
from berth.android.resolvers import read_resolvers
from berth.android.system import is_android
from berth.errors import BerthError

_AUTHORITIES = ("/apex/com.android.conscrypt/cacerts", "/system/etc/security/cacerts")  # from Android 14, until 13
_SECONDS = 15.0
_MOST_BYTES = 64 * 1024
_MOST_REDIRECTS = 5


def trusted() -> ssl.SSLContext:
    """Return whom to trust: the device's own authorities, which Android keeps where OpenSSL does not look."""
    context = ssl.create_default_context()
    for folder in _AUTHORITIES:
        if os.path.isdir(folder):
            for entry in os.scandir(folder):
                context.load_verify_locations(entry.path)
            break
    return context


def fetch(address: str, context: ssl.SSLContext) -> bytes:
    """Return the document at `address`, by TLS only; raises BerthError."""
    try:
        for _ in range(_MOST_REDIRECTS):
            parts = urlsplit(address)
            if parts.scheme != "https" or not parts.hostname:
                raise BerthError("updates: the address does not begin with https://, so nobody can be trusted there")
            conn = _Connection(parts.hostname, parts.port, timeout=_SECONDS, context=context)
            try:
                conn.request("GET", f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}")
                answer = conn.getresponse()
                if answer.status == 200:
                    return answer.read(_MOST_BYTES)
                if answer.status not in (301, 302, 303, 307, 308):
                    raise BerthError(f"updates: {parts.hostname} answers {answer.status}; try again later")
                address = urljoin(address, answer.getheader("Location", ""))
            finally:
                conn.close()
    except OSError as error:
        raise BerthError(f"updates: can't be asked for: {error}") from error
    except http.client.HTTPException as error:  # its words are the other side's, whatever that sent
        raise BerthError("updates: what answers there does not speak HTTP; try again later") from error
    raise BerthError("updates: one address leads to the next and so on; try again later")


class _Connection(http.client.HTTPSConnection):
    """Finds its host by the phone's name servers on Android."""

    def connect(self) -> None:
        if not is_android():
            super().connect()
            return
        host = self.host
        self.host = addresses_of(host, read_resolvers(()))[0]
        http.client.HTTPConnection.connect(self)
        self.host = host
        self.sock = self._context.wrap_socket(self.sock, server_hostname=host)  # type: ignore[attr-defined]  # its own
