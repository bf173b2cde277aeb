"""`berth dashboard` and `berth api`: the ways into the dashboard that only root has."""

import os
import select
import sys
import time

from berth import values
from berth.cli.flags import Invocation
from berth.cli.output import print_json, write_bytes
from berth.errors import BerthError, UsageError
from berth.home import Home, find_home
from berth.kernel.inotify import IN_MOVED_TO, Inotify
from berth.kernel.processes import uid_above
from berth.service import published
from berth.service.session import Session

_START_SECONDS = 5.0


def dashboard(invocation: Invocation, session: Session) -> int:
    """`berth dashboard`: open the dashboard in Android's browser; elsewhere print a link that does, once and soon."""
    from berth.web import browser
    from berth.web.access import TICKET_SECONDS, Access

    home = find_home(os.environ)
    text = invocation.text("uid")
    uid = None if text is None else values.count("--uid", text)
    found = _await_web(home)
    if uid is None and not invocation.json and browser.is_android():
        chosen = browser.default_browser()
        browser.open_link(chosen, f"{found.url}#ticket={Access(home).make_ticket(chosen.uid)}")
        print(f"The dashboard opens in {chosen.package}.")
        return 0
    if uid is None:
        uid = uid_above(session.pid)
    url = f"{found.url}#ticket={Access(home).make_ticket(uid)}"
    if invocation.json:
        print_json({"url": url, "uid": uid, "seconds": TICKET_SECONDS})
        return 0
    print(url)
    print(f"Open this within {TICKET_SECONDS:.0f} seconds, as the user with uid {uid}.", file=sys.stderr)
    return 0


def _await_web(home: Home) -> published.Listening:
    """Return where the dashboard listens; a service that has just started is given a moment.  Raises BerthError."""
    if found := published.read(home):
        return found
    if not os.path.exists(home.socket):
        raise BerthError('dashboard: the service does not run; start it with "berth serve --background"')
    until = time.monotonic() + _START_SECONDS
    with Inotify() as changes:
        changes.watch(home.run, IN_MOVED_TO)
        while (found := published.read(home)) is None:
            if not select.select([changes], [], [], max(0.0, until - time.monotonic()))[0]:
                raise BerthError(
                    "dashboard: the service runs without it; look into service.log beside the containers, or end it "
                    'with "berth serve --end" and start it with "berth serve --background"'
                )
            changes.read()
    return found


def api(invocation: Invocation, session: Session) -> int:
    """`berth api`: the exit code is 0 whenever there is an answer, be it a problem."""
    from berth.web import bridge  # the service, which this process is a fork of, needs none of it

    home, words = find_home(os.environ), invocation.words
    if invocation.switch("stream"):
        if len(words) > 1:
            raise UsageError("api: --stream takes the subscriptions in base64 and nothing else")
        bridge.stream(home, bridge.decoded(words[0] if words else ""), session.connection.fileno(), write_bytes)
        return 0
    if words == ("-",):
        bridge.answer_apart(home, sys.stdin.buffer.read())
        return 0
    if len(words) not in (2, 3):
        raise UsageError("api: write: berth api METHOD PATH [BODY], the body in base64")
    caller = bridge.root(uid_above(session.pid))
    given = bridge.call(home, caller, words[0], words[1], bridge.decoded(words[2] if len(words) > 2 else ""))
    write_bytes(bridge.shown(given))
    return 0
