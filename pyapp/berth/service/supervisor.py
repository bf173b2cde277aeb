"""The supervisor: one thread that waits for callers and forks a worker for each, and keeps the web process alive.

Everything that a worker needs is imported here, once, and the next worker is always there already.  It holds no state
that matters: containers, their monitors and their records live without it.
"""

import contextlib
import fcntl
import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial

import msgspec

from berth.engine import zygote
from berth.engine.cgroup_mounts import read_cgroup_mounts
from berth.engine.events import EVENTS_SOCKET, NOTIFY_SOCKET, Event
from berth.engine.surroundings import leave_app, leave_surroundings, set_oom_score_adj
from berth.errors import BerthError
from berth.home import Home
from berth.kernel.processes import close_all_but, die_with_parent, end_with, fork, name_process, reset_signals
from berth.kernel.signals import Wakeup
from berth.kernel.sockets import accept, listen
from berth.service.autostart import Autostart
from berth.service.companion import Companion
from berth.service.operations import Operation, Operations
from berth.service.protocol import peer_of
from berth.service.published import bind
from berth.service.spare import Spare
from berth.service.worker import Run, work

_LOG_BYTES = 256 * 1024
_REHEARSALS = 12  # CPython 3.11 writes to code that has run for less than 8 times

Web = Callable[[Home, socket.socket], None]


class AlreadyServing(BerthError):
    """Another supervisor serves this home."""

    exit_code = 3  # service.sh leaves it at that


class Supervisor:
    """Listens on the control socket of `home`, has `run` carry requests out, and passes events on.

    `rehearse` does what `run` does, as far as nothing comes of it, so that a request is carried out quickly.
    `web` serves the dashboard on a listening socket, in a process of its own; None for none.
    """

    def __init__(self, home: Home, run: Run, rehearse: Callable[[], None], web: Web | None) -> None:
        """Take the sockets; raises BerthError when another supervisor has them, or the folder can't be had."""
        self.home = home
        self._run = run
        self._rehearse = rehearse
        self._spare: Spare | None = None
        self._zygote = 0
        self._subscribers: list[socket.socket] = []
        self._front: socket.socket | None = None  # held here, so that nobody gets it while the web process is dead
        self._autostart = Autostart(home, self._fork, self._log)
        self._actions: dict[int, Callable[[], None]] = {}
        self._poller = select.poll()
        self._web = None if web is None else Companion(partial(self._fork_web, web))
        try:
            os.makedirs(home.run, mode=0o700, exist_ok=True)
            os.chmod(home.run, 0o700)
            self._lock = os.open(f"{home.run}/supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._control = listen(home.socket)
            self._notices = listen(f"{home.run}/{NOTIFY_SOCKET}", socket.SOCK_DGRAM)
            self._events = listen(f"{home.run}/{EVENTS_SOCKET}")
            self._operations = Operations(
                home, self._watch, self._fork_worker, self._tell_of, self._autostart.try_again
            )
        except BlockingIOError:
            raise AlreadyServing(f"the service runs already (it holds {home.run}/supervisor.lock)") from None
        except OSError as error:
            raise BerthError(f"the service can't use {home.run}: {error.strerror}") from error

    def descriptors(self) -> tuple[int, ...]:
        """Return what must stay open in a process that takes over after a fork."""
        return (self._lock, *(sock.fileno() for sock in self._listeners()))

    def _listeners(self) -> tuple[socket.socket | Operations, ...]:
        return self._control, self._notices, self._events, self._operations

    def sign(self, pid: int) -> None:
        """Write the pid of who serves into the lock file, for people who look there; it may outlive that process."""
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{pid}\n".encode(), 0)

    def serve(self) -> None:
        """Recover what a crash left, start what is to be started, then serve until SIGTERM, SIGINT or asked to end.

        Containers go on after that.
        """
        self._watch(self._control.fileno(), self._accept)
        self._watch(self._notices.fileno(), self._pass_on)
        self._watch(self._events.fileno(), self._subscribe)
        for _ in range(_REHEARSALS):
            self._rehearse()
        gc.collect()
        gc.freeze()  # what is there now is shared with every fork, and no collection may touch it
        self._renew_zygote()
        with Wakeup(signal.SIGCHLD, signal.SIGTERM, signal.SIGINT) as news:
            self._watch(news.fileno(), news.clear)
            self._autostart.begin()
            while not (self._operations.end_asked_for or news.arrived & {signal.SIGTERM, signal.SIGINT}):
                if self._web is not None:
                    self._web.revive()
                for fd, _ in self._poller.poll(0) or self._wait():
                    if fd in self._actions:  # what was ready before it may have ended it
                        self._actions[fd]()
                self._reap()
                self._autostart.end_probations()
            if self._web is not None:
                self._web.end()
        self._operations.close()
        for path in (self.home.socket, f"{self.home.run}/{NOTIFY_SOCKET}", f"{self.home.run}/{EVENTS_SOCKET}"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def _milliseconds(self) -> float | None:
        """Return how long nothing is due; None for ever."""
        due = [self._autostart.milliseconds(), None if self._web is None else self._web.milliseconds()]
        return min((time for time in due if time is not None), default=None)

    def _watch(self, fd: int, action: Callable[[], None] | None) -> None:
        """Do `action` whenever `fd` is readable, until it is None."""
        if action is not None:
            self._actions[fd] = action
            self._poller.register(fd, select.POLLIN)
        elif self._actions.pop(fd, None) is not None:
            self._poller.unregister(fd)

    def _fork_web(self, web: Web) -> int:
        try:
            self._front = self._front or bind(self.home)
        except OSError as error:
            self._log(f"the dashboard has no port to listen on: {error.strerror}")
            raise
        parent, front = os.getpid(), self._front
        pid = os.fork()  # with threads to come, Python has to renew what it keeps for them
        if pid == 0:
            reset_signals()
            set_oom_score_adj()
            close_all_but(front.fileno())
            die_with_parent(signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(0)
            name_process("berth: web")
            end_with(lambda: web(self.home, front), lambda error: self._log(f"the web process failed: {error!r}"))
        return pid

    def _fork_worker(self, caller: socket.socket) -> int:
        pid = fork()
        if pid == 0:
            work(caller, self._run)
        return pid

    def _wait(self) -> list[tuple[int, int]]:
        """Use the time while nobody calls to fork a spare worker, then wait for what comes."""
        if self._spare is None:
            if not self._zygote:
                self._renew_zygote()
            with contextlib.suppress(OSError):
                self._spare = Spare(self._run, self._rehearse)
        return self._poller.poll(self._milliseconds())

    def _renew_zygote(self) -> None:
        """Fork the zygote, or do without: then workers fork monitors themselves."""
        with contextlib.suppress(OSError):
            self._zygote = zygote.start_zygote()

    def _accept(self) -> None:
        caller = accept(self._control)
        if caller is None:
            return
        with caller, contextlib.suppress(OSError):  # without room for one more process this caller is not served
            if peer_of(caller)[1] != 0:
                return
            spare, self._spare = self._spare, None
            if spare is None or not spare.take(caller):
                self._fork_worker(caller)

    def _subscribe(self) -> None:
        listener = accept(self._events)
        if listener is None:
            return
        if peer_of(listener)[1] != 0:
            listener.close()
            return
        listener.setblocking(False)
        self._subscribers.append(listener)

    def _pass_on(self) -> None:
        """Pass on all that was announced: before what did it is heard to have ended, and that is told."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._tell_what(self._notices.recv(65536))

    def _tell_what(self, data: bytes) -> None:
        with contextlib.suppress(msgspec.DecodeError):
            event = msgspec.json.decode(data, type=Event)
            if self._operations.take_note(event):
                return
            self._autostart.take_note(event)
        self._broadcast(data)

    def _tell_of(self, operation: Operation) -> None:
        told = {"event": "operation", "name": operation.container, "at": operation.ended_at or operation.started_at}
        detail = f"{operation.kind} {operation.state}"
        self._broadcast(msgspec.json.encode({**told, "detail": detail, "operation": operation}))

    def _broadcast(self, data: bytes) -> None:
        for subscriber in list(self._subscribers):
            try:
                subscriber.send(data + b"\n")
            except OSError:  # gone, or too slow to be waited for
                subscriber.close()
                self._subscribers.remove(subscriber)

    def _reap(self) -> None:
        """Collect ended workers; the end of a start may be what another container waits for."""
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == self._zygote:
                self._zygote = 0
            if self._web is not None and self._web.ended(pid):
                self._log("the web process ended and is started again")
            self._autostart.ended(pid)

    def _fork(self, action: Callable[[], None]) -> int:
        """Do `action` in a process of its own and return its pid."""
        pid = fork()
        if pid == 0:
            reset_signals()
            set_oom_score_adj()
            close_all_but(*zygote.filenos())
            end_with(action, lambda error: self._log(str(error)))
        return pid

    def _log(self, sentence: str) -> None:
        path = f"{self.home.state}/service.log"
        with contextlib.suppress(OSError):
            if os.path.exists(path) and os.stat(path).st_size > _LOG_BYTES:
                os.replace(path, f"{path}.1")
            with open(path, "a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {sentence}\n")


def serve_forever(home: Home, run: Run, rehearse: Callable[[], None], web: Web | None, *, background: bool) -> int:
    """Be the supervisor of `home`; with `background` return at once and leave it to a process of its own.

    Raises AlreadyServing when another one serves it, BerthError when it can't listen.
    """
    leave_app()  # the root manager's, when its button has started the service
    supervisor = Supervisor(home, run, rehearse, web)
    if background:
        sys.stdout.flush()
        if pid := fork():
            supervisor.sign(pid)
            return 0
        leave_surroundings(supervisor.descriptors(), read_cgroup_mounts())
        os.setsid()
    else:
        supervisor.sign(os.getpid())
    name_process("berth: service")
    supervisor.serve()
    return 0
