"""What is said to the net process and what it answers: one message per packet on its socket."""

import socket
from typing import Literal

import msgspec
from msgspec import Struct

from berth.host import Lease
from berth.network.model import Traffic, Uplink, Wish
from berth.spec import Network, Port

ROOM = 1 << 18


class Request(Struct, frozen=True, kw_only=True):
    """A request about container `name`.

    "reserve" an address for `wish`, "attach" process `pid`, "watch" it (hold on to know when the net process ends),
    "detach" it, change its "ports"; set the "subnet" of all, "status" tells of all, "missing" what the firewall lacks,
    and "mend" puts back what others took away.
    """

    call: Literal["reserve", "attach", "watch", "detach", "ports", "subnet", "status", "missing", "mend"]
    name: str = ""
    wish: Wish | None = None
    pid: int = 0
    add: tuple[Port, ...] = ()
    remove: tuple[Port, ...] = ()
    subnet: str = ""


class MemberStatus(Struct, frozen=True, kw_only=True):
    """A container on the network, and where its traffic goes; `traffic` is counted since its link was made.

    `bridge` is that in which its link is, "" for none.
    """

    name: str
    lease: Lease
    link: str
    bridge: str = ""
    ports: tuple[Port, ...]
    uplink: Uplink
    traffic: Traffic


class PlugStatus(Struct, frozen=True, kw_only=True):
    """A container that is plugged into a LAN: `link` is the phone's part of it, `told` where it leads, in words."""

    name: str
    kind: Network
    link: str
    mac: str
    connected: bool
    told: str


class Answer(Struct, frozen=True, kw_only=True):
    """What came of it; `error` is a sentence, and `missing` are words for each thing that is not there."""

    error: str = ""
    lease: Lease | None = None
    notices: tuple[str, ...] = ()
    members: tuple[MemberStatus, ...] = ()
    plugs: tuple[PlugStatus, ...] = ()
    firewall: str = ""
    missing: tuple[str, ...] = ()


def send(sock: socket.socket, message: Request | Answer) -> None:
    """Send one message; raises OSError."""
    sock.send(msgspec.json.encode(message))


def receive_answer(sock: socket.socket) -> Answer | None:
    """Wait for the answer; None when the net process has ended."""
    try:
        data = sock.recv(ROOM)
    except ConnectionResetError:
        return None
    return msgspec.json.decode(data, type=Answer) if data else None
