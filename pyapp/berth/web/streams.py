"""One stream for a page: frames of all that it has subscribed to, in one response.

A stream is one thread, or one process of the command line, in one poll.  It is changed by packets to its own socket, so
that whoever wants to change it may be in any process; it holds nothing that a page could not ask for again.
"""

import contextlib
import os
import secrets
import select
import socket
from collections.abc import Iterator

import msgspec

from berth.errors import BerthError, MissingError, UsageError
from berth.home import Home
from berth.kernel.call import explain
from berth.kernel.sockets import listen, short_path
from berth.web.models import StreamChange, StreamRequest, Subscription
from berth.web.sources import Source, open_source

_CHANGE_BYTES = 64 * 1024
_MOST_SUBSCRIPTIONS = 64


class Stream:
    """A stream of the token `token` ("" for root by the command line); iterate over `frames`, then `close` it.

    One that tells of events ends with them: that is with the service, and whoever reads it has to come again.
    """

    def __init__(self, home: Home, token: str, request: StreamRequest) -> None:
        """Raises OSError when there can be no more."""
        self._home = home
        self._sources: dict[str, Source] = {}
        self._poller = select.poll()
        self._polled: dict[int, str] = {}
        self._begin = request
        self._events: set[str] = set()
        self._is_over = False
        self.id = f"{token or 'bridge'}-{secrets.token_hex(16)}"
        os.makedirs(f"{home.run}/streams", mode=0o700, exist_ok=True)
        self._changes = listen(_path(home, self.id), socket.SOCK_DGRAM)
        self._poller.register(self._changes, select.POLLIN)

    def watch(self, fd: int) -> None:
        """End the stream when `fd` becomes readable or its other end goes."""
        self._polled[fd] = ""
        self._poller.register(fd, select.POLLIN)

    def frames(self) -> Iterator[bytes]:
        """Yield frames, each a JSON object with the line's end, until the stream is ended."""
        yield _line({"kind": "hello", "stream": self.id})
        yield from self._change(StreamChange(add=self._begin.subscriptions))
        while not self._is_over:
            for fd, _ in self._poller.poll(self._milliseconds()):
                if fd == self._changes.fileno():
                    data = self._changes.recv(_CHANGE_BYTES)
                    if data in (b"", b"end"):
                        return
                    yield from self._change(msgspec.json.decode(data, type=StreamChange))
                elif name := self._polled.get(fd):
                    yield from self._frames_of(name)
                elif fd in self._polled:
                    return
            for name in [name for name, source in self._sources.items() if source.due() == 0]:
                yield from self._frames_of(name)

    def _milliseconds(self) -> float | None:
        due = [seconds for source in self._sources.values() if (seconds := source.due()) is not None]
        return min(due) * 1000 + 1 if due else None

    def _change(self, change: StreamChange) -> Iterator[bytes]:
        for name in change.drop:
            self._drop(name)
        for wanted in change.add:
            self._drop(wanted.id)
            yield from self._add(wanted)

    def _add(self, wanted: Subscription) -> Iterator[bytes]:
        if wanted.kind == "events":
            self._events.add(wanted.id)
        try:
            if len(self._sources) >= _MOST_SUBSCRIPTIONS:
                raise BerthError("this page looks at too much at once; close a terminal or a log")
            source = open_source(self._home, wanted)
        except (BerthError, OSError) as error:
            yield self._failed(wanted.id, error)
            return
        self._sources[wanted.id] = source
        fd = source.fileno()
        if fd is not None:
            self._polled[fd] = wanted.id
            self._poller.register(fd, select.POLLIN)
        yield from self._frames_of(wanted.id, first=True)

    def _frames_of(self, name: str, *, first: bool = False) -> Iterator[bytes]:
        source = self._sources.get(name)
        if source is None:
            return
        try:
            for frame in source.first() if first else source.more():
                yield _line({"sub": name, **frame})
        except (BerthError, OSError) as error:
            yield self._failed(name, error)
            self._drop(name)
            return
        if source.ended:
            self._drop(name)

    def _failed(self, name: str, error: Exception) -> bytes:
        self._is_over = self._is_over or name in self._events
        said = explain(error) if isinstance(error, OSError) else str(error)
        return _line({"sub": name, "kind": "error", "detail": said})

    def _drop(self, name: str) -> None:
        self._events.discard(name)
        source = self._sources.pop(name, None)
        if source is None:
            return
        fd = source.fileno()
        if fd is not None:
            self._poller.unregister(fd)
            self._polled.pop(fd)
        source.close()

    def close(self) -> None:
        """Let go of everything."""
        for name in list(self._sources):
            self._drop(name)
        self._changes.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_path(self._home, self.id))


def change_stream(home: Home, identity: str, change: StreamChange) -> None:
    """Have a stream tell of other things; raises MissingError where it has ended, UsageError for too many of them."""
    data = msgspec.json.encode(change)
    if len(data) > _CHANGE_BYTES:
        raise UsageError("these are too many subscriptions at once; ask for them one after the other")
    _send(home, identity, data)


def end_stream(home: Home, identity: str) -> None:
    """End a stream; that there is none any more is as well."""
    with contextlib.suppress(MissingError):
        _send(home, identity, b"end")


def end_streams(home: Home, token: str) -> None:
    """End all streams that were opened by a token."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(f"{home.run}/streams"):
            if name.startswith(f"{token}-"):
                end_stream(home, name)


def forget_dead_streams(home: Home) -> None:
    """Remove the sockets of streams whose process was killed."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(f"{home.run}/streams"):
            with contextlib.suppress(BerthError):
                _send(home, name, msgspec.json.encode(StreamChange()))


def _send(home: Home, identity: str, data: bytes) -> None:
    path = _path(home, identity)
    try:
        with (
            short_path(path) as address,
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock,
        ):
            sock.sendto(data, address)
    except ConnectionRefusedError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # of a process that was killed
        raise MissingError("this stream has ended; open a new one") from None
    except BlockingIOError as error:
        raise BerthError("the stream is too far behind to be changed; try again") from error
    except OSError as error:
        raise MissingError("this stream has ended; open a new one") from error


def _path(home: Home, identity: str) -> str:
    if not identity.replace("-", "").isalnum():
        raise MissingError("there is no such stream")
    return f"{home.run}/streams/{identity}"


def _line(frame: dict[str, object]) -> bytes:
    return msgspec.json.encode(frame) + b"\n"
