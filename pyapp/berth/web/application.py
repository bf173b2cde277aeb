"""The WSGI application: what a request must bring along, which route it is for, and how the answer goes out."""

import threading
from collections.abc import Iterator
from typing import Any

import msgspec
from flask import Flask, Response, request

from berth.errors import BerthError
from berth.home import Home
from berth.service.client import run_command
from berth.web import audit, containers
from berth.web.api import STREAMS, TABLE
from berth.web.bridge import Apart
from berth.web.files import PAGE_HEADERS, Files
from berth.web.gate import Gate, Headers
from berth.web.models import StreamRequest
from berth.web.routes import (
    PREFIX,
    Answer,
    Call,
    Caller,
    HttpError,
    Route,
    answer,
    parse_body,
    parse_query,
    problem,
    problem_of,
)
from berth.web.snapshot import Snapshot
from berth.web.streams import Stream, end_stream

_MOST_STREAMS = 24
_STREAM = Route(method="POST", path=STREAMS, function=lambda _: None, takes=StreamRequest, summary="Tell what happens.")


class Dashboard:
    """The application of one web process."""

    def __init__(self, home: Home, gate: Gate, files: Files) -> None:
        self._home = home
        self._gate = gate
        self._files = files
        self._snapshot = Snapshot(home)
        self._streams = threading.BoundedSemaphore(_MOST_STREAMS)

    def wsgi(self) -> Flask:
        """Return it as an application for a WSGI server that puts the caller's uid into `berth.uid`."""
        app = Flask("berth", static_folder=None)
        app.before_request(self._respond)  # every one, of any method: the gate comes before what Flask might say
        app.after_request(self._finish)
        app.register_error_handler(Exception, self._fail)
        return app

    def _respond(self) -> Response:
        headers = Headers(
            host=request.headers.get("Host", ""),
            origin=request.headers.get("Origin"),
            authorization=request.headers.get("Authorization", ""),
            content_type=request.mimetype,
            body_bytes=request.content_length or 0,
        )
        path, _, query = str(request.environ["REQUEST_URI"]).partition("?")
        try:
            self._gate.check_origin(headers)
            if not path.startswith(f"{PREFIX}/"):
                return self._page(path)
            if request.method == "OPTIONS" and headers.origin is not None:
                return Response(status=204)
            caller = self._gate.identify(request.method, path, _uid(), headers)
            return self._api(caller, path, query)
        except HttpError as error:
            given = problem_of(error)
            if error.status in (401, 403, 421, 429):
                audit.note(self._home, Caller(_uid(), "", "refused"), f"{request.method} {path}", error.status)
            response = _response(given)
            if error.allow:
                response.headers["Allow"] = error.allow
            return response
        except (BerthError, OSError) as error:  # such as the file of tokens, which somebody has written by hand
            return _response(problem_of(error))

    def _page(self, path: str) -> Response:
        self._gate.check_page(_uid())
        if request.method not in ("GET", "HEAD"):
            raise HttpError(405, "a file of the page can only be read", allow="GET, HEAD")
        file = self._files.find(path, gzip="gzip" in request.headers.get("Accept-Encoding", ""))
        if file is None:
            raise HttpError(404, "the dashboard has no such file")
        headers = {"ETag": file.tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        if request.headers.get("If-None-Match") == file.tag:
            return Response(status=304, headers=headers)
        if file.gzip:
            headers["Content-Encoding"] = "gzip"
        return Response(file.data, content_type=file.type, headers=headers)

    def _api(self, caller: Caller, path: str, query: str) -> Response:
        if (request.method, path) == ("POST", f"{PREFIX}{STREAMS}"):
            return self._stream(caller, parse_body(_STREAM, request.get_data()))
        route, words = TABLE.find(request.method, path)
        call = Call(self._home, caller, words, parse_query(route, query), parse_body(route, request.get_data()))
        if route.function is containers.list_all:
            return _response(Answer(200, self._snapshot.containers()))
        given = self._apart(call, path) if route.apart else answer(route, call)
        if request.method != "GET" and not path.endswith(("/input", "/proof")):
            audit.note(self._home, caller, f"{request.method} {path}", given.status)
        return _response(given)

    def _apart(self, call: Call, path: str) -> Answer:
        """Have a worker answer: what forks must not be done among threads."""
        asked = Apart(request.method, path, request.get_data(), *call.caller)
        try:
            outcome = run_command(self._home, ("api", "-"), msgspec.json.encode(asked))
        except BerthError as error:
            return problem(503, str(error))
        if outcome.code:
            return problem(500, outcome.errors.decode(errors="replace").strip().removeprefix("berth: "))
        told = msgspec.json.decode(outcome.output, type=_Told)
        return Answer(told.status, b"" if told.status == 204 else bytes(told.body))

    def _stream(self, caller: Caller, wanted: StreamRequest) -> Response:
        if not self._streams.acquire(blocking=False):
            raise HttpError(503, f"{_MOST_STREAMS} pages look at the dashboard already; close one")
        try:
            stream = Stream(self._home, caller.token, wanted)
        except OSError as error:
            self._streams.release()
            return _response(problem_of(error))
        channel = request.environ["berth.channel"]
        channel.when_gone(lambda: end_stream(self._home, stream.id))
        frames = _Frames(stream, self._streams)
        return Response(frames, content_type="application/x-ndjson", direct_passthrough=True)

    def _finish(self, response: Response) -> Response:
        response.headers.extend(PAGE_HEADERS)
        origin = request.headers.get("Origin")
        private = request.headers.get("Access-Control-Request-Private-Network") == "true"
        response.headers.extend(self._gate.cors(origin, private_network=private))
        return response

    def _fail(self, error: Exception) -> Response:
        """Answer where werkzeug itself refuses a request, or where something is wrong with this program."""
        status = getattr(error, "code", None)
        if isinstance(status, int):
            return _response(problem(status, str(getattr(error, "description", "") or error)))
        return _response(problem(500, f"this is a bug of Berth: {type(error).__name__}: {error}"))


class _Told(msgspec.Struct, frozen=True):
    status: int
    body: msgspec.Raw


class _Frames:
    """The body of a stream's response; `close` is called by the server whether it was begun or not."""

    def __init__(self, stream: Stream, room: threading.BoundedSemaphore) -> None:
        self._stream = stream
        self._frames = stream.frames()
        self._room: threading.BoundedSemaphore | None = room

    def __iter__(self) -> Iterator[bytes]:
        return self._frames

    def close(self) -> None:
        """End the stream and make room for another."""
        if self._room is not None:
            self._stream.close()
            self._room.release()
            self._room = None


def _uid() -> int:
    uid: Any = request.environ["berth.uid"]
    return int(uid)


def _response(given: Answer) -> Response:
    kind = "application/problem+json" if given.status >= 400 else "application/json"
    headers = {"Cache-Control": "no-store"}
    if given.status == 429:
        headers["Retry-After"] = "60"
    if given.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="berth"'
    if given.status == 204:
        return Response(status=204, headers=headers)
    return Response(given.body, status=given.status, content_type=kind, headers=headers)
