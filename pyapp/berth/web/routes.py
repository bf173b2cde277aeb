"""The shape of the API: routes, how one is found and answered, and how what goes wrong is told."""

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

import msgspec
from msgspec import Struct

from berth.errors import BerthError, MissingError, UsageError
from berth.home import Home
from berth.kernel.call import explain
from berth.web.models import Problem

PREFIX = "/api/v1"
_NOTHING_BUT = re.compile(r"\{(\w+)\}")


class Caller(NamedTuple):
    """Who asks: the uid, and the token's id and name ("" and "bridge" for root by the command line)."""

    uid: int
    token: str
    name: str


class Call(NamedTuple):
    """A request as a route's function sees it; `words` are the path's, `body` is of the route's own type."""

    home: Home
    caller: Caller
    words: Mapping[str, str]
    query: Mapping[str, str]
    body: Any  # whatever Route.takes says; the function knows


class Route(Struct, frozen=True, kw_only=True):
    """One call: what it `takes` and `gives` are types for msgspec, None for nothing.

    `apart` is for what must not be done by a process with threads.  `query` names the parameters that it may have, with
    what each must match; `tokenless` is for the calls of a page that has no token, or does not show it yet.
    """

    method: str
    path: str
    function: Callable[[Call], object]
    summary: str
    takes: Any = None
    gives: Any = None
    status: int = 200
    apart: bool = False
    query: dict[str, str] = {}
    tokenless: bool = False

    @property
    def words(self) -> list[str]:
        """The names of the variable parts of its path."""
        return _NOTHING_BUT.findall(self.path)


class Answer(NamedTuple):
    """What is sent back: the status and a JSON document (b"" for none)."""

    status: int
    body: bytes = b""


class HttpError(Exception):
    """A request that is wrong as such; carries the status, the sentence, and with 405 the methods that are right."""

    def __init__(self, status: int, detail: str, *, allow: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.allow = allow


class Table:
    """All routes, found by method and path."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self.routes = routes
        self._patterns = [
            (route, re.compile(_NOTHING_BUT.sub(r"(?P<\1>[^/]+)", PREFIX + route.path))) for route in routes
        ]

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """Return the route and the words of a still percent-encoded `path`; raises HttpError."""
        allowed = []
        for route, pattern in self._patterns:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            if route.method == method:
                return route, {key: _decoded(word) for key, word in match.groupdict().items()}
            allowed.append(route.method)
        if allowed:
            methods = ", ".join(sorted(set(allowed)))
            raise HttpError(405, f"{method} can't be done to this; {methods} can", allow=methods)
        raise HttpError(404, "there is nothing at this address; the dashboard may be of another version")


def answer(route: Route, call: Call) -> Answer:
    """Do what `route` is for; whatever a user can cause becomes a problem."""
    try:
        result = route.function(call)
    except (BerthError, HttpError, OSError) as error:
        return problem_of(error)
    return Answer(route.status, b"" if result is None else _encoded(result))


def parse_query(route: Route, query: str) -> dict[str, str]:
    """Return the parameters of a query string; raises HttpError for one that the route does not know."""
    found = dict(parse_qsl(query, keep_blank_values=True))
    for key, value in found.items():
        if key not in route.query or not re.fullmatch(route.query[key], value):
            raise HttpError(400, "the address has a parameter that is not known here, or one with a wrong value")
    return found


def parse_body(route: Route, data: bytes) -> Any:
    """Return `data` as what `route` takes; raises HttpError that says what is wrong where."""
    if route.takes is None:
        if data not in (b"", b"{}"):
            raise HttpError(400, "this takes no body")
        return None
    try:
        return msgspec.json.decode(data or b"{}", type=route.takes)
    except (msgspec.MsgspecError, RecursionError) as error:
        complaint, found, place = str(error).replace("`", "").partition(" - at ")
        where = f" at {place.removeprefix('$.')}" if found else ""
        raise HttpError(400, f"the request is wrong{where}: {complaint[:1].lower()}{complaint[1:]}") from error


def problem_of(error: Exception) -> Answer:
    """Return what is told of `error`: the sentence that the command line would print."""
    if isinstance(error, HttpError):
        return problem(error.status, str(error))
    if isinstance(error, UsageError):
        return problem(400, str(error))
    if isinstance(error, MissingError):
        return problem(404, str(error))
    if isinstance(error, OSError):
        return problem(500, explain(error))
    return problem(409, str(error))


def problem(status: int, detail: str) -> Answer:
    """Return a problem document.  See RFC 9457."""
    told = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail)
    return Answer(status, _encoded(told))


def _decoded(word: str) -> str:
    decoded = unquote(word, errors="replace")
    if "\0" in decoded or "/" in decoded:
        raise HttpError(400, "the address has a character in it that no name has")
    return decoded


def _encoded(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:  # a path on disk that is no UTF-8
        return msgspec.json.encode(_readable(msgspec.to_builtins(value)))


def _readable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_readable(key): _readable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_readable(item) for item in value]
    return value
