"""The API for root by the command line: what a root manager's web view uses where it can't reach the web process.

Also where the web process has done what a process with threads must not do.
"""

import os
import sys
from collections.abc import Callable

import msgspec

from berth.errors import UsageError
from berth.home import Home
from berth.web import audit
from berth.web.api import TABLE
from berth.web.encoding import from_base64
from berth.web.models import StreamRequest
from berth.web.routes import Answer, Call, Caller, HttpError, answer, parse_body, parse_query, problem_of
from berth.web.streams import Stream


def root(uid: int) -> Caller:
    """Return root by the command line, for whom a process of `uid` became root."""
    return Caller(uid=uid, token="", name="bridge")


def call(home: Home, caller: Caller, method: str, target: str, body: bytes) -> Answer:
    """Answer one request; `target` is the path with its query, percent-encoded."""
    path, _, query = target.partition("?")
    try:
        route, words = TABLE.find(method, path)
        asked = Call(home, caller, words, parse_query(route, query), parse_body(route, body))
    except HttpError as error:
        return problem_of(error)
    given = answer(route, asked)
    if method != "GET":
        audit.note(home, caller, f"{method} {path}", given.status)
    return given


def shown(given: Answer) -> bytes:
    """Return an answer as one line of JSON."""
    return b'{"status":%d,"body":%s}\n' % (given.status, given.body or b"null")


def decoded(text: str) -> bytes:
    """Return the body that a command line has in base64; raises UsageError for what is none."""
    try:
        return from_base64(text)
    except UsageError as error:
        raise UsageError("api: the body is no base64") from error


def stream(home: Home, body: bytes, caller: int, write: Callable[[bytes], None]) -> None:
    """Write frames until `caller`, a descriptor, tells that its other end has gone, or `write` fails."""
    try:
        request = msgspec.json.decode(body or b"{}", type=StreamRequest)
    except msgspec.MsgspecError as error:
        raise UsageError(f"api: the subscriptions are wrong: {error}") from error
    opened = Stream(home, "", request)
    opened.watch(caller)
    try:
        for frame in opened.frames():
            write(frame)
    finally:
        opened.close()


def answer_apart(home: Home, data: bytes) -> None:
    """Answer a request of the web process, which has let its sender in: JSON on the input, the answer on the output."""
    asked = msgspec.json.decode(data, type=Apart)
    route, words = TABLE.find(asked.method, asked.path)
    caller = Caller(asked.uid, asked.token, asked.name)
    try:
        request = Call(home, caller, words, {}, parse_body(route, asked.body))
        given = answer(route, request)
    except HttpError as error:
        given = problem_of(error)
    sys.stdout.flush()
    os.write(1, shown(given))


class Apart(msgspec.Struct, frozen=True):
    """A request that the web process passes on, already judged to be permitted."""

    method: str
    path: str
    body: bytes
    uid: int
    token: str
    name: str
