"""Runs one command: the line is read, the right function called, its exit code returned."""

import os
import socket
import sys
from collections.abc import Callable

from berth.cli import checks, dashboard, info, inside, lifecycle, logs, net, plans, report, updates
from berth.cli.completion import script
from berth.cli.flags import Invocation, parse
from berth.cli.help import help_text
from berth.cli.output import print_json, room
from berth.cli.rehearsal import rehearse
from berth.errors import BerthError, UsageError
from berth.home import Home, find_home
from berth.service.operations import end_service
from berth.service.session import Session
from berth.service.supervisor import AlreadyServing, serve_forever

Action = Callable[[Invocation, Session], int]

_ACTIONS: dict[str, Action] = {
    "start": lifecycle.start,
    "demo": lifecycle.demo,
    "stop": lifecycle.stop,
    "restart": lifecycle.restart,
    "rename": lifecycle.rename,
    "rm": lifecycle.remove,
    "recover": lifecycle.recover,
    "scan": lifecycle.scan,
    "safe-mode": lifecycle.safe_mode,
    "enter": inside.enter,
    "run": inside.run,
    "console": inside.console,
    "logs": logs.logs,
    "events": inside.events,
    "show": report.show,
    "list": report.list_all,
    "info": info.info,
    "net": net.net,
    "plan": plans.plan,
    "check": checks.check,
    "updates": updates.updates,
    "dashboard": dashboard.dashboard,
    "api": dashboard.api,
    "version": report.version,
}
_FOR_ANYBODY = ("help", "version", "completion", "check")


def serve_if_asked(argv: list[str]) -> int | None:
    """Be the supervisor if `argv` is the command `serve`; return its exit code, None for another command."""
    try:
        invocation = parse(argv)
        if invocation.command != "serve":
            return None
        if invocation.switch("end"):
            return _end_service(invocation)
        return _serve(invocation)
    except BerthError as error:
        print(f"berth: {error}", file=sys.stderr)
        return error.exit_code


def _serve(invocation: Invocation) -> int:
    """Be the supervisor.  In the background it is as good that another one is it already."""
    background = invocation.switch("background")
    web = None if invocation.switch("no-dashboard") else _serve_web
    try:
        return serve_forever(find_home(os.environ), run, rehearse, web, background=background)
    except AlreadyServing as error:
        if not background:
            raise
        _say(invocation, "runs already", str(error))
        return 0


def _end_service(invocation: Invocation) -> int:
    if invocation.switch("background") or invocation.switch("no-dashboard"):
        raise UsageError("serve: --end ends the service that runs, so it goes with no other flag")
    end_service(find_home(os.environ))
    _say(invocation, "ended", "the service has ended; containers go on")
    return 0


def _say(invocation: Invocation, result: str, sentence: str) -> None:
    if invocation.json:
        print_json({"result": result})
    else:
        print(sentence)


def _serve_web(home: Home, sock: socket.socket) -> None:
    """Be the web process.  What it needs is imported there only."""
    from berth.web.process import serve

    serve(home, sock)


def run(argv: list[str], session: Session) -> int:
    """Carry out the command line `argv` for `session`; raises BerthError with its exit code."""
    invocation = parse(argv)
    if os.geteuid() != 0 and invocation.command not in _FOR_ANYBODY:
        raise BerthError(f"{invocation.command}: only root may do that; try again as root, by su or sudo")
    if invocation.command == "help":
        print(help_text(invocation.words[0] if invocation.words else None, room(session)))
        return 0
    if invocation.command == "completion":
        print(script(invocation.words[0], find_home(os.environ)))
        return 0
    return _ACTIONS[invocation.command](invocation, session)
