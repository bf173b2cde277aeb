"""Who may use the API: tokens, hashed at rest, and the one-use tickets that a browser gets its token by.

A token is for the uid that it was made for; a uid with a token is a paired one.
"""

import contextlib
import fcntl
import hashlib
import hmac
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from berth.errors import BerthError, MissingError, UsageError
from berth.home import Home
from berth.store import replace_file

TICKET_SECONDS = 30.0
_USED = ".used"
_USE_SECONDS = 600.0  # how exact the last use is: each note of it is a write to the flash
_MOST_TOKENS = 64
_MOST_PAGES = 16  # of one uid
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,64}")


class Token(Struct, frozen=True, kw_only=True):
    """A token without its secret; times are Unix times, `used_at` is exact to ten minutes.

    `port` is where a page got it, which no page served elsewhere can read; None for a program's.
    """

    id: str
    name: str
    uid: int
    digest: str
    created_at: float
    used_at: float | None = None
    port: int | None = None


class Ticket(Struct, frozen=True):
    """For whom a ticket is good, and until when (CLOCK_BOOTTIME)."""

    uid: int
    until: float


class Access:
    """The tokens and tickets of one home; for whom it serves at `port`, what pages got on other ports is no token."""

    def __init__(self, home: Home, port: int | None = None) -> None:
        self._port = port
        self._state = home.state
        self._path = f"{home.state}/access.json"
        self._folder = f"{home.run}/tickets"
        self._seen: tuple[int, int, int] | None = None
        self._tokens: tuple[Token, ...] = ()

    def tokens(self) -> tuple[Token, ...]:
        """Return all tokens, oldest first."""
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return ()
        seen = (found.st_ino, found.st_mtime_ns, found.st_size)
        if seen != self._seen:
            try:
                with open(self._path, "rb") as file:
                    self._tokens = msgspec.json.decode(file.read(), type=tuple[Token, ...])
            except (OSError, msgspec.MsgspecError) as error:
                raise BerthError(f"{self._path}: it can't be read; remove it and pair your browser again") from error
            self._seen = seen
        return self._tokens

    def add(self, name: str, uid: int, port: int | None = None) -> tuple[Token, str]:
        """Make a token for `uid` and return it with its secret, which nobody can tell again.  Raises BerthError.

        With `port` it is for a page; of too many pages of one uid, the one that was used longest ago loses its token.
        """
        if not _NAME.fullmatch(name):
            raise UsageError("name: a token's name has 1 to 64 letters and no control characters")
        secret = secrets.token_urlsafe(32)
        made_at = time.time()
        token = Token(
            id=secrets.token_hex(6), name=name, uid=uid, digest=_digest(secret), created_at=made_at, port=port
        )

        def added(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
            kept = _without_oldest_pages(tokens, uid) if port is not None else tokens
            if len(kept) >= _MOST_TOKENS:
                raise BerthError(f"there are {_MOST_TOKENS} tokens already; revoke one first")
            return (*kept, token)

        self._change(added)
        return token, secret

    def revoke(self, identity: str) -> None:
        """Forget a token; raises MissingError where there is none."""

        def without(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
            kept = tuple(token for token in tokens if token.id != identity)
            if len(kept) == len(tokens):
                raise MissingError("there is no such token; it may have been revoked already")
            return kept

        self._change(without)

    def revoke_all(self, uid: int) -> tuple[str, ...]:
        """Forget all tokens of `uid` and return their ids; raises BerthError."""
        gone = tuple(token.id for token in self.tokens() if token.uid == uid)
        if gone:
            self._change(lambda tokens: tuple(token for token in tokens if token.uid != uid))
        return gone

    def forget_pages_elsewhere(self, port: int) -> None:
        """Forget what pages got on other ports than `port`; raises BerthError.

        Such a page can't be served there any more, and whoever took its port may have been shown its token.
        """
        if any(token.port not in (None, port) for token in self.tokens()):
            self._change(lambda tokens: tuple(token for token in tokens if token.port in (None, port)))

    def prove(self, identity: str, nonce: str, host: str, uid: int) -> str | None:
        """Return what only who has made, or has, token `identity` of `uid` can say to `nonce`; None for no such token.

        That is an HMAC-SHA256 whose key is the token's own hash, over `host` as well: what another port's page asked
        can't be answered with it.  See RFC 2104.
        """
        for token in self.tokens():
            if token.id == identity and uid in (0, token.uid):
                return hmac.new(bytes.fromhex(token.digest), f"berth {host} {nonce}".encode(), "sha256").hexdigest()
        return None

    def find(self, secret: str, uid: int) -> Token | None:
        """Return the token with this secret, None where there is none, or it is another uid's; root may use all."""
        digest, found = _digest(secret), None
        for token in self.tokens():
            if hmac.compare_digest(token.digest, digest) and uid in (0, token.uid):
                found = token
        if found is not None and self._port is not None and found.port not in (None, self._port):
            return None
        return found

    def note_use(self, token: Token) -> None:
        """Remember that `token` is used now; a disk that refuses loses no more than that."""
        now = time.time()
        if token.used_at is not None and 0 <= now - token.used_at < _USE_SECONDS:
            return
        with contextlib.suppress(OSError, BerthError):
            self._change(
                lambda tokens: tuple(replace(one, used_at=now) if one.id == token.id else one for one in tokens)
            )

    def is_paired(self, uid: int) -> bool:
        """Whether there is a token for `uid`."""
        return any(token.uid == uid for token in self.tokens())

    def make_ticket(self, uid: int) -> str:
        """Return a ticket by which a process of `uid` gets a token, once, within TICKET_SECONDS.  Raises OSError."""
        self._remove_old()
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        ticket = secrets.token_urlsafe(32)
        data = msgspec.json.encode(Ticket(uid, _now() + TICKET_SECONDS))
        path = f"{self._folder}/{_digest(ticket)}"
        fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, data)
        finally:
            os.close(fd)
        os.rename(f"{path}.new", path)
        return ticket

    def is_awaited(self, uid: int) -> bool:
        """Whether a ticket for `uid` lives."""
        return any(ticket.uid == uid and _now() < ticket.until for _, ticket in self._tickets())

    def redeem(self, ticket: str, uid: int, port: int) -> tuple[Token, str] | None:
        """Make a token for the page at `port` of a ticket, which is used up, and return it with its secret.

        None for one that was used, is too old, or is for another uid (then it stays).  Raises BerthError.
        """
        path = f"{self._folder}/{_digest(ticket)}"
        found = _read_ticket(path)
        if found is None or found.uid != uid:
            return None
        try:
            os.rename(path, f"{path}{_USED}")  # of two that use it at once, one gets here
        except FileNotFoundError:
            return None
        try:
            return self.add("browser", uid, port) if _now() < found.until else None
        finally:
            os.unlink(f"{path}{_USED}")  # not before there is the token: the page asks for the rest of itself meanwhile

    def _tickets(self) -> Iterator[tuple[str, Ticket]]:
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self._folder):
                for path in (f"{self._folder}/{name}", f"{self._folder}/{name}{_USED}"):
                    ticket = _read_ticket(path)
                    if ticket is not None:
                        yield path, ticket

    def _remove_old(self) -> None:
        for path, ticket in list(self._tickets()):
            if _now() >= ticket.until:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)

    def _change(self, change: Callable[[tuple[Token, ...]], tuple[Token, ...]]) -> None:
        """Write what `change` makes of the tokens, atomically, with nobody else writing meanwhile."""
        try:
            os.makedirs(self._state, mode=0o700, exist_ok=True)
            lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BerthError(f"{self._path}: tokens can't be kept there: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            replace_file(self._path, msgspec.json.encode(change(self.tokens())))
        except OSError as error:
            raise BerthError(f"{self._path}: tokens can't be kept there: {error.strerror}") from error
        finally:
            os.close(lock)


def _without_oldest_pages(tokens: tuple[Token, ...], uid: int) -> tuple[Token, ...]:
    """Leave room for one more page of `uid`."""
    pages = [token for token in tokens if token.port is not None and token.uid == uid]
    pages.sort(key=lambda token: token.used_at or token.created_at)
    gone = {token.id for token in pages[: max(0, len(pages) - _MOST_PAGES + 1)]}
    return tuple(token for token in tokens if token.id not in gone)


def _digest(secret: str) -> str:
    """256 random bits need no salt and no slow hash."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def _read_ticket(path: str) -> Ticket | None:
    try:
        with open(path, "rb") as file:
            return msgspec.json.decode(file.read(), type=Ticket)
    except (OSError, msgspec.MsgspecError):
        return None


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
