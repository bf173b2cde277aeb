"""Whether there is a newer version, asked only when the user wants to know: nothing calls home by itself.

Where to ask stands in the module's module.prop, as root managers read it (updateJson).
"""

import http.client
import os
import ssl
from collections.abc import Mapping
from urllib.parse import urljoin, urlsplit

import msgspec
from msgspec import Struct

from berth import __version__
from berth.android.lookup import addresses_of
from berth.android.resolvers import read_resolvers
from berth.errors import BerthError
from berth.web.browser import is_android
from berth.web.models import UpdateAnswer
from berth.web.routes import Call

_FOLDER = "BERTH_MODULE"  # service.sh says where the module lies
_AUTHORITIES = ("/apex/com.android.conscrypt/cacerts", "/system/etc/security/cacerts")  # from Android 14, until 13
_SECONDS = 15.0
_MOST_BYTES = 64 * 1024
_MOST_REDIRECTS = 5


class Announcement(Struct, frozen=True):
    """What is published for root managers."""

    version: str
    versionCode: int
    zipUrl: str
    changelog: str = ""


def look(call: Call) -> UpdateAnswer:
    """Look for a newer version."""
    properties = read_properties(os.environ.get(_FOLDER))
    address = properties.get("updateJson")
    if not address:
        raise BerthError("updates: this build does not say where newer ones are published; look where you got it")
    return judge(properties, fetch(address, trusted()))


def read_properties(folder: str | None) -> Mapping[str, str]:
    """Return the entries of the module.prop in `folder`; none where there is no module."""
    if folder is None:
        return {}
    try:
        with open(f"{folder}/module.prop", encoding="utf-8") as file:
            return dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)
    except OSError as error:
        raise BerthError(f"updates: {folder}/module.prop can't be read: {error.strerror}") from error


def judge(properties: Mapping[str, str], data: bytes) -> UpdateAnswer:
    """Return what the announcement `data` says to a module with these properties; raises BerthError."""
    try:
        found = msgspec.json.decode(data, type=Announcement)
    except msgspec.MsgspecError as error:
        raise BerthError("updates: what is published there tells of no version; try again later") from error
    own = properties.get("versionCode", "")
    newer = own.isdecimal() and found.versionCode > int(own)
    links = [link if link.startswith("https://") else "" for link in (found.zipUrl, found.changelog)]
    return UpdateAnswer(version=__version__, latest=found.version[:64], newer=newer, zip=links[0], changelog=links[1])


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
    except (OSError, http.client.HTTPException) as error:
        raise BerthError(f"updates: can't be asked for: {error}") from error
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
