"""The net process: one for all containers with `--net=nat`, there as long as the first and the last of them.

It is forked by whoever needs it first, waits in one poll for requests and for the kernel's news of the network, and can
be killed at any time: the kernel goes on forwarding, and the next net process begins with what the records say.
"""

import contextlib
import fcntl
import os
import socket
import time
import traceback
from collections.abc import Callable
from functools import partial

import msgspec

from berth.errors import BerthError
from berth.home import Home
from berth.kernel.call import explain
from berth.kernel.processes import start_time
from berth.kernel.sockets import accept
from berth.network.addresses import BRIDGE
from berth.network.firewall_news import FirewallNews, Patience, listen_to
from berth.network.hub import Hub
from berth.network.links import traffic_of
from berth.network.loop import Loop
from berth.network.messages import ROOM, Answer, MemberStatus, Request, send
from berth.network.model import Init
from berth.network.news import News
from berth.network.plugs import Plugs
from berth.network.records import NetFolder
from berth.network.servers import Read

_SETTLING_SECONDS = 0.03  # a change of network is many messages
_LOG_BYTES = 64 * 1024


def serve(home: Home, listener: socket.socket, read_servers: Read | None) -> None:
    """Serve requests on `listener` until no container needs a network and nobody asks for one.

    `read_servers` finds out the phone's name servers, None where /etc/resolv.conf tells them.
    """
    log = _log_of(home)
    try:
        _Server(home, listener, log, read_servers).run()
    except BaseException as error:
        listener.close()  # nobody is served any more; and there may be no descriptor left for the log
        log("".join(traceback.format_exception(error)))
        raise


class _Server:
    def __init__(
        self, home: Home, listener: socket.socket, log: Callable[[str], None], read_servers: Read | None
    ) -> None:
        self._folder = NetFolder(home.run)
        self._listener = listener
        self._log = log
        self._loop = Loop()
        self._hub = Hub(home, self._loop, log, read_servers)
        self._plugs = Plugs(home, self._hub.netlink, self._hub.members, log)
        self._news = News()
        self._firewall_news: list[FirewallNews] = []
        self._patience = Patience(_SETTLING_SECONDS)
        self._held: dict[socket.socket, str] = {}

    def run(self) -> None:
        self._hub.take_over()
        self._plugs.take_over()
        self._listen_to_firewall()
        self._loop.watch(self._listener.fileno(), self._accept)
        self._loop.watch(self._news.fileno(), self._hear)
        while not self._may_end():
            self._loop.turn()

    def _may_end(self) -> bool:
        """Whether nobody needs this process, and nobody can come to do so: whoever connects holds the lock."""
        if self._held or self._hub.members or self._plugs.plugs:
            return False
        lock = os.open(self._folder.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._accept()
        if self._held:
            os.close(lock)
            return False
        self._hub.end()
        os.unlink(self._folder.socket)
        return True  # the lock is let go by the end of the process

    def _accept(self) -> None:
        if (caller := accept(self._listener)) is not None:
            caller.setblocking(False)
            self._held[caller] = ""
            self._loop.watch(caller.fileno(), lambda: self._serve(caller))

    def _serve(self, caller: socket.socket) -> None:
        try:
            data = caller.recv(ROOM)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            self._loop.forget(caller.fileno())
            name = self._held.pop(caller)
            self._hub.release(name)
            self._plugs.release(name)
            caller.close()
            return
        try:
            answer = self._answer(msgspec.json.decode(data, type=Request), caller)
        except BerthError as error:
            answer = Answer(error=str(error))
        except OSError as error:
            self._log("".join(traceback.format_exception(error)))
            answer = Answer(error=f"the network could not be changed: {explain(error)}")
        with contextlib.suppress(OSError):  # the caller was killed meanwhile
            send(caller, answer)

    def _answer(self, request: Request, caller: socket.socket) -> Answer:
        hub, plugs = self._hub, self._plugs
        self._hear()  # what happened before the request is known when it is answered
        match request.call:
            case "reserve" if request.wish is not None:
                self._held[caller] = request.wish.name
                if request.wish.kind == "nat":
                    return Answer(lease=hub.reserve(request.wish))
                return Answer(notices=plugs.reserve(request.wish))
            case "attach":
                lease, init = None, Init(request.pid, start_time(request.pid) or 0)
                if plugs.has(request.name):
                    plugs.attach(request.name, init)
                else:
                    lease = hub.attach(request.name, init)
                    self._listen_to_firewall()
                plugs.came(request.name)
                return Answer(lease=lease)
            case "detach":
                hub.detach(request.name)
                plugs.detach(request.name)
                if not hub.members and not hub.reserved:
                    hub.end()
            case "ports":
                hub.change_ports(request.name, request.add, request.remove)
            case "subnet":
                hub.set_subnet(request.subnet)
            case "mend":
                hub.mend()
            case "missing":
                return Answer(missing=hub.firewalls.missing(4))
            case "status":
                return Answer(members=self._members(), plugs=plugs.status(), firewall=hub.firewalls.kind)
        return Answer()

    def _members(self) -> tuple[MemberStatus, ...]:
        return tuple(
            MemberStatus(
                name=name,
                lease=member.lease,
                link=member.link,
                bridge=BRIDGE if member.wish.bridge else "",
                ports=member.wish.ports,
                uplink=self._hub.uplinks[name],
                traffic=traffic_of(self._hub.netlink, member.index),
            )
            for name, member in sorted(self._hub.members.items())
        )

    def _listen_to_firewall(self) -> None:
        """Hear what others do to the rules, once there are some."""
        if not self._firewall_news and self._hub.members:
            self._firewall_news = listen_to(self._hub.firewalls.kind, lambda: self._hub.firewalls.ports)
            for news in self._firewall_news:
                self._loop.watch(news.fileno(), partial(self._hear_of_firewall, news))

    def _hear_of_firewall(self, news: FirewallNews) -> None:
        if news.tells_of_others():
            self._loop.put_off("mend", self._patience.seconds(time.monotonic()), self._mend)

    def _forward(self) -> None:
        try:
            self._hub.keep_forwarding()
        except OSError as error:
            self._log(f"forwarding could not be switched on again: {explain(error)}")

    def _mend(self) -> None:
        try:
            if self._hub.mend_firewall():
                self._patience.mended(time.monotonic())
        except BerthError as error:
            self._log(f"the firewall could not be mended: {error}")

    def _hear(self) -> None:
        heard = self._news.read(self._hub.ports)
        if heard.forwarding and self._hub.members:
            self._loop.put_off("forward", _SETTLING_SECONDS, self._forward)
        if heard.others:
            self._hub.look_again()
            if self._hub.members or self._plugs.plugs:
                self._loop.put_off("follow", _SETTLING_SECONDS, self._follow)

    def _follow(self) -> None:
        try:
            self._hub.follow()
            self._plugs.follow()
        except (BerthError, OSError) as error:  # an interface that went away between question and answer: news follow
            self._log(f"the network could not be followed: {error}")


def _log_of(home: Home) -> Callable[[str], None]:
    path = f"{home.state}/network.log"

    def log(text: str) -> None:
        with contextlib.suppress(OSError):
            if os.path.exists(path) and os.stat(path).st_size > _LOG_BYTES:
                os.replace(path, f"{path}.1")
            with open(path, "a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text.rstrip()}\n")

    return log
