"""Commands that look or step inside: enter, run, console, events."""

import os
import socket
import sys
import time

import msgspec

from berth.cli import specs
from berth.cli.flags import Invocation
from berth.engine.containers import look_up, look_up_alive
from berth.engine.enter import Program
from berth.engine.events import EVENTS_SOCKET, Event
from berth.engine.journal import RunFolder
from berth.engine.one_off import OneOff
from berth.engine.stop import call_monitor
from berth.errors import BerthError
from berth.home import Home, find_home
from berth.kernel.sockets import connect
from berth.service.session import Session
from berth.store import load_spec, read_text


def enter(invocation: Invocation, session: Session) -> int:
    """`berth enter`: a login shell."""
    user = invocation.words[0] if invocation.words else "root"
    return _run(invocation, session, Program(user=user, environment=_environment(invocation, session)))


def run(invocation: Invocation, session: Session) -> int:
    """`berth run`: a program, its exit code ours."""
    if invocation.switch("rm"):
        return _run_one_off(invocation, session)
    user = invocation.text("user") or "root"
    program = Program(argv=invocation.words, user=user, environment=_environment(invocation, session))
    return _run(invocation, session, program)


def _run_one_off(invocation: Invocation, session: Session) -> int:
    spec = specs.one_off_from(invocation, directory=session.cwd, read=lambda path: read_text(session.path(path)))
    root = session.path(spec.rootfs or "/")
    if not os.path.isdir(root):
        raise BerthError(f"{root}: {_why_no_root(root)}")
    for bind in spec.binds:
        if not os.path.lexists(session.path(bind.source)):
            raise BerthError(f"{bind.source} can't be shown at {bind.destination}: it is not there; check the path")
    one_off = OneOff(
        find_home(os.environ),
        spec,
        invocation.words,
        _terminal_type(session),
        terminal=session.has_terminal,
        reaped=invocation.switch("init"),
    )
    return session.run_one_off(one_off)


def _why_no_root(path: str) -> str:
    if os.path.exists(path):
        return 'a one-off program needs a folder as its root; an image is started by "berth start --rootfs-img"'
    return "there is no such folder; check the path"


def _terminal_type(session: Session) -> dict[str, str]:
    return {key: value for key, value in session.environment.items() if key == "TERM"}


def _environment(invocation: Invocation, session: Session) -> dict[str, str]:
    return {**_terminal_type(session), **specs.environment(invocation, lambda path: read_text(session.path(path)))}


def _run(invocation: Invocation, session: Session, program: Program) -> int:
    container = look_up_alive(find_home(os.environ), invocation.names[0])
    return session.run_inside(container, program)


def console(invocation: Invocation, session: Session) -> int:
    """`berth console`."""
    return attach(find_home(os.environ), invocation.names[0], session)


def attach(home: Home, name: str, session: Session) -> int:
    """Attach the caller to the container's console until it detaches or the container ends."""
    container = look_up(home, name)
    if container.condition == "stopped":
        load_spec(home, name)  # says that there is no such container, where that is so
    if not container.runs:
        raise BerthError(f"container {name}: is {container.condition}; it has no console now")
    conn = call_monitor(RunFolder(home, name), "attach")
    if conn is None:
        raise BerthError(f'container {name}: runs without its monitor, so without a console; run "berth recover"')
    _, descriptors, _, _ = socket.recv_fds(conn, 3, 1)
    if os.isatty(0) and os.isatty(2):
        print(f"console of {name}; Ctrl-] detaches, and the container goes on", file=sys.stderr, flush=True)
    session.lend_terminal(os.dup(conn.fileno()), descriptors[0], detach=True, foreground=os.isatty(0))
    session.wait_for_caller(conn)
    return 0


def events(invocation: Invocation, session: Session) -> int:
    """`berth events`."""
    home = find_home(os.environ)
    try:
        conn = connect(f"{home.run}/{EVENTS_SOCKET}")
    except OSError as error:
        raise BerthError('events: the service does not run; start it with "berth serve --background"') from error
    for line in session.lines_from(conn):
        event = msgspec.json.decode(line, type=Event)
        if invocation.names and event.name not in invocation.names:
            continue
        when = time.strftime("%H:%M:%S", time.localtime(event.at))
        shown = f"{when} {event.name} {event.event}" + (f": {event.detail}" if event.detail else "")
        print(line.decode() if invocation.json else shown, flush=True)
    return 0
