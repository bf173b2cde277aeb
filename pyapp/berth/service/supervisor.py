"""The supervisor: one thread that waits for callers and forks a worker for each.

Everything that a worker needs is imported here, once; a fork of it is ready in a millisecond or two.  It holds
no state that matters: containers, their monitors and their records live without it.
"""

import contextlib
import fcntl
import gc
import os
import select
import signal
import socket

from berth.engine.cgroup_mounts import read_cgroup_mounts
from berth.engine.surroundings import leave_surroundings
from berth.errors import BerthError
from berth.home import Home
from berth.kernel.processes import name_process
from berth.kernel.signals import Wakeup
from berth.service.protocol import peer_of
from berth.service.worker import Run, work

_BACKLOG = 64


class Supervisor:
    """Listens on the control socket of `home` and has `run` carry requests out."""

    def __init__(self, home: Home, run: Run) -> None:
        self.home = home
        self._run = run

    def listen(self) -> None:
        """Take the control socket; raises BerthError when another supervisor holds it, or the folder can't be had."""
        try:
            os.makedirs(self.home.run, mode=0o700, exist_ok=True)
            os.chmod(self.home.run, 0o700)
            self._lock = os.open(f"{self.home.run}/supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._listener = self._bind()
        except BlockingIOError:
            raise BerthError(f"the service runs already (it holds {self.home.run}/supervisor.lock)") from None
        except OSError as error:
            raise BerthError(f"the service can't use {self.home.run}: {error.strerror}") from error

    def _bind(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        folder = os.open(self.home.run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.home.socket)
        mask = os.umask(0o177)
        listener.bind(f"/proc/self/fd/{folder}/control.sock")  # a whole path may be longer than an address
        os.umask(mask)
        os.close(folder)
        listener.listen(_BACKLOG)
        return listener

    def descriptors(self) -> tuple[int, int]:
        """Return what must stay open in a process that takes over after a fork."""
        return self._listener.fileno(), self._lock

    def serve(self) -> None:
        """Serve until SIGTERM or SIGINT; containers go on."""
        poller = select.poll()
        poller.register(self._listener, select.POLLIN)
        gc.collect()
        gc.freeze()  # what is there now is shared with every fork, and no collection may touch it
        with Wakeup(signal.SIGCHLD, signal.SIGTERM, signal.SIGINT) as news:
            poller.register(news, select.POLLIN)
            while not news.arrived & {signal.SIGTERM, signal.SIGINT}:
                for fd, _ in poller.poll():
                    if fd == news.fileno():
                        news.clear()
                        _reap()
                    else:
                        self._accept()
        os.unlink(self.home.socket)
        mask = os.umask(0o177)
        listener.bind(f"/proc/self/fd/{folder}/control.sock")  # a whole path may be longer than an address
        os.umask(mask)
        os.close(folder)
        listener.listen(_BACKLOG)
        return listener

    def descriptors(self) -> tuple[int, int]:
        """Return what must stay open in a process that takes over after a fork."""
        return self._listener.fileno(), self._lock

    def serve(self) -> None:
        """Serve until SIGTERM or SIGINT; containers go on."""
        waker, wakeup = socket.socketpair()
        for end in (waker, wakeup):
            end.setblocking(False)
        ended = []
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: ended.append(number))
        signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
        poller = select.poll()
        poller.register(self._listener, select.POLLIN)
        poller.register(waker, select.POLLIN)
        gc.collect()
        gc.freeze()  # what is there now is shared with every fork, and no collection may touch it
        while not ended:
            for fd, _ in poller.poll():
                if fd == waker.fileno():
                    waker.recv(4096)
                    _reap()
                else:
                    self._accept()
        os.unlink(self.home.socket)

    def _accept(self) -> None:
        try:
            caller, _ = self._listener.accept()
        except OSError:
            return  # the caller has gone again
        if peer_of(caller)[1] == 0 and os.fork() == 0:
            work(caller, self._run)
        caller.close()


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def serve_forever(home: Home, run: Run, *, background: bool) -> int:
    """Be the supervisor of `home`; with `background` return at once and leave it to a process of its own.

    Raises BerthError when it can't listen.
    """
    supervisor = Supervisor(home, run)
    supervisor.listen()
    if background:
        if os.fork():
            return 0
        leave_surroundings(supervisor.descriptors(), read_cgroup_mounts())
        os.setsid()
    name_process("berth: service")
    supervisor.serve()
    return 0
