"""Who gets in: which uids may connect at all, and what a request must bring along.

The uid at the other end of a connection is a gate and no credential: a container on the device's network has any uid
that it likes.  Only a token opens the API.
"""

import os
import threading
import time
from collections.abc import Mapping
from typing import NamedTuple

from berth.home import Home
from berth.kernel.inet_diag import Address, owner_of
from berth.web import audit
from berth.web.access import Access
from berth.web.routes import PREFIX, Caller, HttpError

MANAGER_ORIGIN = "https://mui.kernelsu.org"
_SHELL = 2000  # AID_SHELL: who has a computer attached
_ANDROID = "/system/build.prop"
_FREE_FAILURES = 5
_DOUBLINGS = 6  # of one second
_LONGEST_SECONDS = 60.0
_NOTE_SECONDS = 60.0
_WITH_BODY = ("POST", "PUT", "PATCH", "DELETE")


class Headers(NamedTuple):
    """What a request says of itself."""

    host: str
    origin: str | None
    authorization: str
    content_type: str
    body_bytes: int


class _Failures(NamedTuple):
    number: int
    until: float


class Gate:
    """The gate of one web process, which listens on `port` of 127.0.0.1."""

    def __init__(self, home: Home, port: int) -> None:
        self.access = Access(home, port)
        self._home = home
        self._host = f"127.0.0.1:{port}"
        self._port = port
        self._always = {0, _SHELL} if os.path.exists(_ANDROID) else {0}
        self._lock = threading.Lock()
        self._failures: dict[int, _Failures] = {}
        self._noted: dict[int, float] = {}

    def admit(self, peer: Address) -> int | None:
        """Return the uid of the process that has just connected from `peer`; None for one to be refused.

        Raises OSError, BerthError where it can't be told.
        """
        owner = owner_of(peer, ("127.0.0.1", self._port))
        if owner is None or owner.inode == 0:
            return None
        if self._may_come(owner.uid):
            return owner.uid
        self._note(owner.uid)
        return None

    def _may_come(self, uid: int) -> bool:
        """In this order: a ticket goes when its token has come."""
        return uid in self._always or self.access.is_awaited(uid) or self.access.is_paired(uid)

    def _note(self, uid: int) -> None:
        """Write down who was refused, not more often than once a minute for each."""
        now = time.monotonic()
        with self._lock:
            if now - self._noted.get(uid, -_NOTE_SECONDS) < _NOTE_SECONDS:
                return
            self._noted[uid] = now
        audit.note(self._home, Caller(uid, "", "not paired"), "connect", 403)

    def check_origin(self, headers: Headers) -> None:
        """Raise HttpError for another host's name than ours (DNS rebinding), or a request from another's page."""
        if headers.host != self._host:
            raise HttpError(421, f"the dashboard is at http://{self._host}/ and at no other name")
        if headers.origin not in (None, f"http://{self._host}", MANAGER_ORIGIN):
            raise HttpError(403, "this page may not use the dashboard's API")

    def check_page(self, uid: int) -> None:
        """Raise HttpError where `uid` may not even see the page any more."""
        if not self._may_come(uid):
            raise HttpError(403, 'this app is not paired any more; open the dashboard again by "berth dashboard"')

    def identify(self, method: str, path: str, uid: int, headers: Headers) -> Caller:
        """Return who makes a request of the API; raises HttpError for nobody known, or a body of another type."""
        if method in _WITH_BODY and headers.body_bytes and headers.content_type != "application/json":
            raise HttpError(415, "the API takes bodies of type application/json")
        if (method, path) == ("POST", f"{PREFIX}/pair"):
            if not self.access.is_awaited(uid):
                raise HttpError(
                    403, 'this link is too old, or for another app; open the dashboard again by "berth dashboard"'
                )
            return Caller(uid, "", "pairing")
        if (method, path) == ("POST", f"{PREFIX}/proof"):  # of no use to anybody but a page that has a token
            return Caller(uid, "", "page")
        self._refuse_while_backing_off(uid)
        scheme, _, secret = headers.authorization.partition(" ")
        if not secret or scheme.lower() != "bearer":
            raise HttpError(401, 'a token is needed; open the dashboard by "berth dashboard"')
        token = self.access.find(secret.strip(), uid)
        if token is None:
            self._count_failure(uid)
            raise HttpError(401, 'this token is not good any more; open the dashboard again by "berth dashboard"')
        with self._lock:
            self._failures.pop(uid, None)
        self.access.note_use(token)
        return Caller(uid, token.id, token.name)

    def _refuse_while_backing_off(self, uid: int) -> None:
        with self._lock:
            found = self._failures.get(uid)
        if found is not None and time.monotonic() < found.until:
            raise HttpError(429, "there were too many wrong tokens; wait a minute")

    def _count_failure(self, uid: int) -> None:
        with self._lock:
            count = self._failures.get(uid, _Failures(0, 0.0)).number + 1
            doubled = min(count - _FREE_FAILURES, _DOUBLINGS)  # a float ends at 2.0**1024
            wait = min(2.0**doubled, _LONGEST_SECONDS) if doubled >= 0 else 0.0
            self._failures[uid] = _Failures(count, time.monotonic() + wait)

    def cors(self, origin: str | None, *, private_network: bool) -> Mapping[str, str]:
        """Return the headers by which a browser lets the manager's page read our answers."""
        if origin != MANAGER_ORIGIN:
            return {}
        headers = {
            "Access-Control-Allow-Origin": MANAGER_ORIGIN,
            "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE",
            "Access-Control-Allow-Headers": "authorization, content-type",
            "Access-Control-Max-Age": "600",
            "Vary": "Origin",
        }
        if private_network:
            headers["Access-Control-Allow-Private-Network"] = "true"
        return headers
