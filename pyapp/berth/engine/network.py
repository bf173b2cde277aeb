"""The engine's side of the net process: it is started where it is needed, asked, and watched."""

import contextlib
import fcntl
import os
import resource
import socket
import time
from collections.abc import Callable

from berth.engine.cgroup_mounts import read_cgroup_mounts
from berth.engine.inspect import read_host
from berth.engine.surroundings import leave_surroundings
from berth.engine.switchboard import Switchboard
from berth.errors import BerthError
from berth.home import Home
from berth.host import Lease
from berth.kernel.namespaces import setns
from berth.kernel.processes import end_with, name_process
from berth.kernel.sockets import connect, listen
from berth.network.messages import Answer, Request, receive_answer, send
from berth.network.model import Traffic, wish_of
from berth.network.records import NetFolder
from berth.spec import Port, Spec

EFFECT = "network"
_SERVE_SECONDS = 20.0
_ATTEMPTS = 3
_QUICK_SECONDS = 5.0
_MOST_QUICK_ENDS = 3  # in a row, and no other net process is started


class _EndedError(BerthError):
    """The net process ended before it answered."""


class Membership:
    """A container's connection to the net process, held by its monitor for as long as that lives.

    `mounts` is the mount namespace in which another net process would be started, the caller's own unless given.
    """

    def __init__(
        self,
        home: Home,
        name: str,
        sock: socket.socket,
        *,
        lease: Lease | None = None,
        notices: tuple[str, ...] = (),
        mounts: int | None = None,
    ) -> None:
        self.home = home
        self.name = name
        self.lease = lease
        self.notices = notices
        self._socket = sock
        self._mounts = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC) if mounts is None else mounts
        self._connected = time.monotonic()
        self._quick_ends = 0

    def fileno(self) -> int:
        """Return the connection, which must stay open where another process goes on with it."""
        return self._socket.fileno()

    def attach(self, pid: int) -> None:
        """Give the network namespace of process `pid` its link; raises BerthError."""
        _ask(self._socket, Request(call="attach", name=self.name, pid=pid))

    def watch_by(self, board: Switchboard, complain: Callable[[str], None]) -> None:
        """Have `board` hear the end of the net process, so that one that was killed is replaced at once."""
        board.watch(self._socket.fileno(), lambda: self._hear_end(complain))

    def _hear_end(self, complain: Callable[[str], None]) -> None:
        """Connect to the next net process, by the same descriptor: that is the one which is waited for."""
        held = self._socket.fileno()
        self._quick_ends = self._quick_ends + 1 if time.monotonic() - self._connected < _QUICK_SECONDS else 0
        if self._quick_ends == _MOST_QUICK_ENDS:
            complain("the net process ends again and again; names and ports wait for the next start or stop")
            silence = os.eventfd(0, os.EFD_CLOEXEC)
        else:
            try:
                silence = self._connect_again()
            except (BerthError, OSError) as error:
                complain(f"the net process ended and can't be started again: {error}")
                silence = os.eventfd(0, os.EFD_CLOEXEC)
        os.dup2(silence, held, inheritable=False)
        os.close(silence)

    def _connect_again(self) -> int:
        sock, _ = _call(self.home, Request(call="watch", name=self.name), self._mounts)
        self._connected = time.monotonic()
        return sock.detach()


def join(home: Home, spec: Spec) -> Membership:
    """Reserve an address and ports for `spec`, before anything else is done for it.

    Raises BerthError: a port is taken, no address is free.
    """
    sock, answer = _call(home, Request(call="reserve", name=spec.name, wish=wish_of(spec)))
    return Membership(home, spec.name, sock, lease=answer.lease, notices=answer.notices)


def rejoin(home: Home, name: str) -> Membership:
    """Return the membership of a container that has one, for a monitor that came later; raises BerthError."""
    sock, _ = _call(home, Request(call="watch", name=name))
    return Membership(home, name, sock)


def leave(run: str, name: str) -> None:
    """Take the network of container `name` away; where it has none, nothing happens.  Raises OSError."""
    folder = NetFolder(run)
    if not folder.remains() and not os.path.exists(folder.socket):
        return
    try:
        sock, _ = _call(Home(os.path.dirname(run), run), Request(call="detach", name=name))
    except BerthError as error:
        raise OSError(str(error)) from error
    sock.close()


def change_ports(home: Home, name: str, *, add: tuple[Port, ...], remove: tuple[Port, ...]) -> None:
    """Show and hide ports of the running container `name`; raises BerthError with nothing changed."""
    _call(home, Request(call="ports", name=name, add=add, remove=remove))[0].close()


def set_subnet(home: Home, subnet: str) -> None:
    """Have containers live in `subnet` from the next start on.

    Raises BerthError while any live elsewhere, or where the phone has somebody else there.
    """
    _call(home, Request(call="subnet", subnet=subnet))[0].close()


def settle(home: Home) -> None:
    """Have what a killed net process left behind taken over, or taken back where no container needs it.

    What others took away is put back.
    """
    if NetFolder(home.run).remains():
        _call(home, Request(call="mend"))[0].close()


def status(home: Home) -> Answer:
    """Return what the net process tells of all containers; nothing where none runs."""
    folder = NetFolder(home.run)
    if not folder.remains():
        return Answer()
    sock, answer = _call(home, Request(call="status"))
    sock.close()
    return answer


def missing(home: Home) -> tuple[str, ...]:
    """Return, in words, what the firewall lacks of the rules that the net process made; raises BerthError."""
    sock, answer = _call(home, Request(call="missing"))
    sock.close()
    return answer.missing


def lease_of(home: Home, name: str) -> Lease | None:
    """Return what container `name` has on the network; None where the net process does not know it.

    Raises BerthError and OSError.
    """
    return next((member.lease for member in status(home).members if member.name == name), None)


def traffic(home: Home, name: str) -> Traffic | None:
    """Return what container `name` has received and sent; None where the net process does not tell."""
    try:
        told = status(home).members
    except (BerthError, OSError):
        return None
    return next((member.traffic for member in told if member.name == name), None)


def _call(home: Home, request: Request, mounts: int | None = None) -> tuple[socket.socket, Answer]:
    """Connect and ask; return the connection, to be held or closed, and the answer.  Raises BerthError, OSError.

    A net process that is being killed may still take a connection, so that is tried again.
    """
    for attempt in range(_ATTEMPTS):
        sock = _connect(home, mounts)
        try:
            return sock, _ask(sock, request)
        except _EndedError:
            sock.close()
            if attempt == _ATTEMPTS - 1:
                raise
        except BaseException:
            sock.close()
            raise
    raise AssertionError("the last attempt returns or raises")


def _ask(sock: socket.socket, request: Request) -> Answer:
    sock.settimeout(_SERVE_SECONDS)
    try:
        send(sock, request)
        answer = receive_answer(sock)
    except OSError as error:
        raise BerthError(f"the net process does not answer ({error}); look at network.log") from error
    finally:
        sock.settimeout(None)
    if answer is None:
        raise _EndedError("the net process was killed; try again, and look at network.log if it happens again")
    if answer.error:
        raise BerthError(answer.error)
    return answer


def _connect(home: Home, mounts: int | None = None) -> socket.socket:
    """Connect to the net process, starting one where there is none; raises OSError.

    The lock keeps two from starting one each, and one that is about to end from doing so before this one is heard.
    """
    folder = NetFolder(home.run)
    folder.make()
    lock = os.open(folder.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            return connect(folder.socket, socket.SOCK_SEQPACKET)
        with listen(folder.socket, socket.SOCK_SEQPACKET) as listener:
            _fork_net(home, listener, mounts)
        return connect(folder.socket, socket.SOCK_SEQPACKET)
    finally:
        os.close(lock)


def _fork_net(home: Home, listener: socket.socket, mounts: int | None) -> None:
    pid = os.fork()
    if pid == 0:
        if os.fork() == 0:  # twice, so that the caller has no child to reap
            end_with(lambda: _be_net(home, listener, mounts), lambda _: None)  # it writes its own log
        os._exit(0)
    os.waitpid(pid, 0)


def _be_net(home: Home, listener: socket.socket, mounts: int | None) -> None:
    """Be the net process.  Among the monitor's mounts it would hold the container's image."""
    leave_surroundings((listener.fileno(), *(() if mounts is None else (mounts,))), read_cgroup_mounts())
    os.setsid()
    if mounts is not None:
        setns(mounts, "mount")
    os.chdir("/")
    name_process("berth: net")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most // 2, most))  # accept() wants room above
    from berth.network.server import serve  # the only place that brings pyroute2 in

    serve(home, listener, _read_servers if read_host().android else None)


def _read_servers() -> tuple[str, ...]:
    """The phone's name servers, as containers on its own network are given them."""
    return read_host(resolvers=True).dns
