"""Looks along a container's way out, and asks name servers from both of its ends.

It waits for answers, so it is done in a process of its own, not in the net process.
"""

import os
import secrets
import select
import socket
import struct
import time
from ipaddress import ip_address
from typing import Final

from berth.kernel.paths import open_in_root
from berth.network import sysctls
from berth.network.diagnosis import End, Findings
from berth.network.facts import read_own_routes, read_own_rules
from berth.network.messages import MemberStatus
from berth.network.model import Init
from berth.network.names import DOMAIN
from berth.network.netlink import RTM_GETADDR, RTM_GETLINK, RTM_GETROUTE, Netlink, inside
from berth.network.resolver import PORT, servers_in
from berth.network.uplinks import TO_MEMBERS
from berth.network.wiring import INNER

_SECONDS: Final = 1.0  # until it is asked again
_ATTEMPTS: Final = 3
_ROOM: Final = 4096
_IFF_UP: Final = 0x1
_MAIN: Final = 254
_NS: Final = 2
_A: Final = 1
_IN: Final = 1
_RECURSION: Final = 0x0100
_RESPONSE: Final = 0x8000
_CODE: Final = 0x000F
_SERVFAIL: Final = 2


def inquire(member: MemberStatus, init: Init, servers: tuple[str, ...], missing: tuple[str, ...]) -> Findings:
    """Return what is found of `member`, whose init that is.

    `servers` are the phone's own, `missing` is what the net process told of the firewall.  Raises OSError.
    """
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    lease, link = member.lease, member.link
    target = next((server for server in servers if _is_elsewhere(server)), "")
    with Netlink() as netlink:
        outer = _outer(netlink, member)
        routes = {route.destination for route in read_own_routes(netlink, 4)}
        rules = {rule.priority for rule in read_own_rules(netlink, 4)}
    root_name = b"\0"
    by_phone = _Query(target, root_name, _NS, by=member.uplink.link)
    with inside(init, own), Netlink() as netlink:
        inner, default = _end(netlink, INNER), _default(netlink)
        by_container = _Query(target, root_name, _NS)
        for_itself = _Query(lease.gateway, _encoded(f"{member.name}.{DOMAIN}"), _A)
        for_others = _Query(lease.gateway, root_name, _NS)
    os.close(own)
    _ask((by_phone, by_container, for_itself, for_others))
    return Findings(
        name=member.name,
        lease=lease,
        link=link,
        uplink=member.uplink,
        inner=inner,
        outer=outer,
        default=default,
        led_here=f"{lease.address}/32" in routes and TO_MEMBERS in rules,
        forwarding=sysctls.read(sysctls.FORWARDING) == "1",
        missing=missing,
        asked=target,
        phone=by_phone.answered,
        container=by_container.answered,
        resolver=for_itself.answered,
        names=for_others.answered,
        servers=_servers_inside(init.pid),
    )


def _is_elsewhere(server: str) -> bool:
    address = ip_address(server)
    return address.version == 4 and not address.is_loopback


def _end(netlink: Netlink, name: str) -> End | None:
    found = next((link for link in netlink.dump(RTM_GETLINK, name) if link["IFLA_IFNAME"] == name), None)
    if found is None:
        return None
    addresses = netlink.dump(RTM_GETADDR, name, family=socket.AF_INET)
    held = (told for told in addresses if told["index"] == found["index"])
    return End(up=bool(found["flags"] & _IFF_UP), addresses=tuple(str(told.get("IFA_LOCAL")) for told in held))


def _outer(netlink: Netlink, member: MemberStatus) -> End | None:
    """The phone's end; of a port it is the bridge that has the addresses."""
    port = _end(netlink, member.link)
    if port is None or not member.bridge:
        return port
    bridge = _end(netlink, member.bridge)
    return None if bridge is None else End(up=port.up and bridge.up, addresses=bridge.addresses)


def _default(netlink: Netlink) -> str:
    """The gateway of the best default route; "" where there is none."""
    routes = netlink.dump(RTM_GETROUTE, "the routes", family=socket.AF_INET)
    found = [
        (route.get("RTA_PRIORITY", 0), route.get("RTA_GATEWAY", ""))
        for route in routes
        if route.get("RTA_TABLE", route["table"]) == _MAIN and not route["dst_len"] and route["type"] == 1
    ]
    return str(min(found, default=(0, ""))[1])


def _servers_inside(pid: int) -> tuple[str, ...]:
    """Those in /etc/resolv.conf, which may be anything there."""
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        file = open_in_root(root, "/etc/resolv.conf", os.O_RDONLY | os.O_NONBLOCK)
        try:
            return servers_in(os.read(file, _ROOM).decode(errors="replace"))
        finally:
            os.close(file)
    except OSError:
        return ()
    finally:
        os.close(root)


class _Query:
    """A question to a name server, from the network namespace in which it is made; "" for a server is nobody."""

    def __init__(self, server: str, name: bytes, kind: int, *, by: str = "") -> None:
        """Ask by the link `by` where that is named; what can't be sent is not answered."""
        number = secrets.token_bytes(2)
        header = number + struct.pack("!HHHHH", _RECURSION, 1, 0, 0, 0)
        self._message = header + name + struct.pack("!HH", kind, _IN)
        self.answered = False
        self.open = bool(server)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            if by:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, by.encode())
            if server:
                self._socket.connect((server, PORT))
        except OSError:
            self.open = False

    def fileno(self) -> int:
        """Return the descriptor, for a poll."""
        return self._socket.fileno()

    def send(self) -> None:
        """Ask, or ask again."""
        try:
            self._socket.send(self._message)
        except OSError:
            self.open = False

    def hear(self) -> None:
        """Read what has come; it is open no more once there is an answer, or none can come."""
        try:
            answer = self._socket.recv(_ROOM)
        except BlockingIOError:
            return
        except OSError:  # ECONNREFUSED where nobody listens
            self.open = False
            return
        if answer[:2] == self._message[:2]:
            flags = int.from_bytes(answer[2:4], "big")
            self.answered = bool(flags & _RESPONSE) and flags & _CODE != _SERVFAIL
            self.open = False


def _ask(queries: tuple[_Query, ...]) -> None:
    """Ask all at the same time, some times, until there are answers."""
    for _ in range(_ATTEMPTS):
        for query in queries:
            if query.open:
                query.send()
        until = time.monotonic() + _SECONDS
        over = False
        while not over and (waiting := [query for query in queries if query.open]):
            left = until - time.monotonic()
            over = left <= 0  # this process may have been held up, so it looks once more for what has come
            for query in select.select(waiting, (), (), max(0.0, left))[0]:
                query.hear()


def _encoded(name: str) -> bytes:
    labels = [label.encode() for label in name.lower().split(".")]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
