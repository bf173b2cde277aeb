"""The supervisor: one thread that waits for callers and forks a worker for each.

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

from berth.engine import launch
from berth.engine.cgroup_mounts import read_cgroup_mounts
from berth.engine.events import EVENTS_SOCKET, NOTIFY_SOCKET
from berth.engine.recover import recover
from berth.engine.surroundings import leave_surroundings
from berth.engine.warm import warm_up
from berth.errors import BerthError
from berth.home import Home
from berth.kernel.processes import close_all_but, end_with, fork, name_process, reset_signals
from berth.kernel.signals import Wakeup
from berth.kernel.sockets import listen
from berth.service.autostart import startable, waiting_for
from berth.service.protocol import peer_of
from berth.service.spare import Spare
from berth.service.worker import Run, work
from berth.spec import Spec, StartOptions
from berth.store import list_names, load_spec

_LOG_BYTES = 256 * 1024


class AlreadyServing(BerthError):
    """Another supervisor serves this home."""


class Supervisor:
    """Listens on the control socket of `home`, has `run` carry requests out, and passes events on."""

    def __init__(self, home: Home, run: Run) -> None:
        """Take the sockets; raises BerthError when another supervisor has them, or the folder can't be had."""
        self.home = home
        self._run = run
        self._spare: Spare | None = None
        self._subscribers: list[socket.socket] = []
        self._waiting: dict[str, frozenset[str]] = {}
        self._starting: dict[int, str] = {}
        self._started: set[str] = set()
        try:
            os.makedirs(home.run, mode=0o700, exist_ok=True)
            os.chmod(home.run, 0o700)
            self._lock = os.open(f"{home.run}/supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._control = listen(home.socket)
            self._notices = listen(f"{home.run}/{NOTIFY_SOCKET}", socket.SOCK_DGRAM)
            self._events = listen(f"{home.run}/{EVENTS_SOCKET}")
        except BlockingIOError:
            raise AlreadyServing(f"the service runs already (it holds {home.run}/supervisor.lock)") from None
        except OSError as error:
            raise BerthError(f"the service can't use {home.run}: {error.strerror}") from error

    def descriptors(self) -> tuple[int, ...]:
        """Return what must stay open in a process that takes over after a fork."""
        return (self._lock, *(sock.fileno() for sock in (self._control, self._notices, self._events)))

    def sign(self) -> None:
        """Write the pid of the calling process into the lock file, for whoever wants to end the service."""
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def serve(self) -> None:
        """Recover what a crash left, start what is to be started, then serve until SIGTERM or SIGINT.

        Containers go on after that.
        """
        actions: dict[int, Callable[[], None]] = {
            self._control.fileno(): self._accept,
            self._notices.fileno(): self._pass_on,
            self._events.fileno(): self._subscribe,
        }
        warm_up()
        gc.collect()
        gc.freeze()  # what is there now is shared with every fork, and no collection may touch it
        poller = select.poll()
        for fd in actions:
            poller.register(fd, select.POLLIN)
        with Wakeup(signal.SIGCHLD, signal.SIGTERM, signal.SIGINT) as news:
            poller.register(news, select.POLLIN)
            self._fork(self._recover)
            self._waiting = waiting_for(self._specs())
            while not news.arrived & {signal.SIGTERM, signal.SIGINT}:
                for fd, _ in poller.poll(0) or self._wait(poller):
                    actions.get(fd, news.clear)()
                self._reap()
        for path in (self.home.socket, f"{self.home.run}/{NOTIFY_SOCKET}", f"{self.home.run}/{EVENTS_SOCKET}"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def _specs(self) -> list[Spec]:
        specs = []
        for name in list_names(self.home):
            try:
                specs.append(load_spec(self.home, name))
            except BerthError as error:
                self._log(str(error))
        return specs

    def _wait(self, poller: select.poll) -> list[tuple[int, int]]:
        """Use the time while nobody calls to fork a spare worker, then wait for what comes."""
        if self._spare is None:
            with contextlib.suppress(OSError):
                self._spare = Spare(self._run)
        return poller.poll()

    def _accept(self) -> None:
        try:
            caller, _ = self._control.accept()
        except OSError:
            return  # the caller has gone again
        with caller, contextlib.suppress(OSError):  # without room for one more process this caller is not served
            if peer_of(caller)[1] != 0:
                return
            spare, self._spare = self._spare, None
            if (spare is None or not spare.take(caller)) and fork() == 0:
                work(caller, self._run)

    def _subscribe(self) -> None:
        with contextlib.suppress(OSError):
            listener, _ = self._events.accept()
            if peer_of(listener)[1] != 0:
                listener.close()
                return
            listener.setblocking(False)
            self._subscribers.append(listener)

    def _pass_on(self) -> None:
        try:
            data = self._notices.recv(65536)
        except BlockingIOError:
            return
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
            if pid in self._starting:
                self._started.add(self._starting.pop(pid))
        if self._waiting and "" in self._started:
            self._start_waiting()

    def _start_waiting(self) -> None:
        for name in startable(self._waiting, self._starting.values(), self._started):
            del self._waiting[name]
            self._fork(partial(self._start, name), name)

    def _fork(self, action: Callable[[], None], name: str = "") -> None:
        """Do `action` in a process of its own; its end is told by `name` (empty: the recovery, which comes first)."""
        pid = fork()
        if pid:
            self._starting[pid] = name
            return
        reset_signals()
        close_all_but()
        end_with(action, lambda error: self._log(str(error)))

    def _recover(self) -> None:
        for sentence in recover(self.home):
            self._log(sentence)

    def _start(self, name: str) -> None:
        launch.start(self.home, load_spec(self.home, name), StartOptions())

    def _log(self, sentence: str) -> None:
        path = f"{self.home.state}/service.log"
        with contextlib.suppress(OSError):
            if os.path.exists(path) and os.stat(path).st_size > _LOG_BYTES:
                os.replace(path, f"{path}.1")
            with open(path, "a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {sentence}\n")


def serve_forever(home: Home, run: Run, *, background: bool) -> int:
    """Be the supervisor of `home`; with `background` return at once and leave it to a process of its own.

    Raises BerthError when it can't listen; that another one does is fine in the background.
    """
    try:
        supervisor = Supervisor(home, run)
    except AlreadyServing as error:
        if not background:
            raise
        print(error)
        return 0
    if background:
        sys.stdout.flush()
        if fork():
            return 0
        leave_surroundings(supervisor.descriptors(), read_cgroup_mounts())
        os.setsid()
    name_process("berth: service")
    supervisor.sign()
    supervisor.serve()
    return 0
