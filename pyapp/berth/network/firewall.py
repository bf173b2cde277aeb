"""What the firewall has to say about containers, whichever program or interface it is said by.

Most of it holds for all links of containers at once, so that a container without published ports changes nothing here.
Nothing holds for traffic that is not a container's.
"""

from collections.abc import Iterator, Mapping
from typing import Final, Literal

from msgspec import Struct

from berth.network.addresses import LINK_PREFIX, SEGMENT_PREFIX
from berth.network.model import Family
from berth.spec import Port

ALL_LINKS: Final = f"{LINK_PREFIX}+"
SEGMENTS: Final = f"{SEGMENT_PREFIX}+"
LOOPBACKS: Final = ("127.0.0.1", "::1")
ANYWHERE: Final = ("0.0.0.0", "::")
_DHCP, _DNS = 67, 53
_MOST_CONNECTIONS: Final = 16384
_LOCALHOST: Final[dict[Family, str]] = {4: "127.0.0.0/8", 6: "::1/128"}

Verdict = Literal["accept", "drop", "return", "ports", "translate", "masquerade", "clamp"]
"""`return` leaves it to the rules of others, `ports` goes on in that chain.

`translate` changes the destination, `clamp` the MSS to the MTU of the way.
"""


class Line(Struct, frozen=True, kw_only=True):
    """One rule: all that a packet must be, and what becomes of it; `guest` is the container it is there for.

    A link that ends in "+" stands for all that begin so.  "!" before a link or an address turns the condition around.
    `state` is conntrack's: the packet belongs to a connection, begins one, or had its destination translated.  With
    `most` it is one too many: so many connections that began here are remembered already, of the same source, or with
    `together` of all sources.
    """

    verdict: Verdict
    guest: str = ""
    came_by: str = ""
    leaves_by: str = ""
    source: str = ""
    destination: str = ""
    protocol: Literal["", "tcp", "udp"] = ""
    ports: tuple[int, int] | None = None
    state: Literal["", "new", "known", "translated"] = ""
    most: int = 0
    together: bool = False
    target: str = ""
    target_port: int = 0


Chains = Mapping[str, tuple[Line, ...]]


class Guest(Struct, frozen=True, kw_only=True):
    """A container as the firewall sees it: by which link it is met, its address of one family, and what it wants.

    Of those that are `bridged` several are met by the same link.
    """

    name: str
    link: str
    address: str
    ports: tuple[Port, ...] = ()
    isolated: bool = False
    bridged: bool = False


class Ground(Struct, frozen=True, kw_only=True):
    """What the rules are made of: the containers' network, the phone's own addresses, and who is there.

    `most` is how many connections the phone remembers for one container, 0 for any number.
    """

    subnet: str
    gateway: str
    most: int = 0
    family: Family = 4
    addresses: tuple[str, ...] = ()
    guests: tuple[Guest, ...] = ()


def chains_of(ground: Ground) -> Chains:
    """Return all rules, by chain: FORWARD, INPUT, POSTROUTING and MSS are each for the hook of that name.

    LOCAL is for what arrives, and for what the phone itself sends; it leads to PORTS.  CROWD is for all that arrives.
    """
    return {
        "CROWD": tuple(_crowd(ground)),
        "FORWARD": tuple(_forward(ground)),
        "INPUT": tuple(_input(ground)),
        "LOCAL": tuple(_local(ground)),
        "PORTS": tuple(_ports(ground)),
        "POSTROUTING": tuple(_postrouting(ground)),
        "MSS": tuple(_mss(ground)),
    }


def without_bounds(chains: Chains) -> Chains:
    """Return `chains` for a kernel that can't count connections."""
    return {chain: tuple(line for line in lines if not line.most) for chain, lines in chains.items()}


def most_connections(table: str | None) -> int:
    """Return how many connections one container may have, of `table`, what the phone remembers in all; 0 for any.

    The kernel walks through a container's connections when it begins another one, hence the upper end.
    """
    return min(int(table) // 2, _MOST_CONNECTIONS) if table and table.isdigit() else 0


def _crowd(ground: Ground) -> Iterator[Line]:
    """Nobody can send from another's address; in a LAN of a gateway's one can, and br_netfilter remembers that too."""
    if ground.most:
        yield Line(verdict="drop", came_by=ALL_LINKS, state="new", most=ground.most)
        yield Line(verdict="drop", came_by=SEGMENTS, state="new", most=ground.most, together=True)


def _forward(ground: Ground) -> Iterator[Line]:
    yield Line(verdict="drop", came_by=ALL_LINKS, source=f"!{ground.subnet}")
    # A bridge's own traffic comes by here where br_netfilter is there.
    yield Line(verdict="accept", came_by=SEGMENTS, leaves_by=SEGMENTS)
    for guest in ground.guests:
        if guest.isolated:
            name, own = guest.name, guest.address
            yield Line(verdict="drop", guest=name, came_by=guest.link, leaves_by=ALL_LINKS, source=own)
            yield Line(verdict="drop", guest=name, came_by=ALL_LINKS, leaves_by=guest.link, destination=own)
    yield Line(verdict="accept", came_by=ALL_LINKS, leaves_by=ALL_LINKS)
    yield Line(verdict="accept", leaves_by=ALL_LINKS, state="known")
    for guest in ground.guests:
        for port in guest.ports:
            yield Line(
                verdict="accept",
                guest=guest.name,
                leaves_by=guest.link,
                destination=guest.address,
                protocol=port.protocol,
                ports=(port.container, port.container + port.count - 1),
                state="translated",
            )
    yield Line(verdict="drop", leaves_by=ALL_LINKS)
    yield Line(verdict="accept", came_by=ALL_LINKS)


def _input(ground: Ground) -> Iterator[Line]:
    """DHCP asks from no address yet, and neighbours of IPv6 talk from those that hold on their link alone.

    For what comes from elsewhere there are routing rules, but the phone itself is found before those are asked.
    Its localhost is closed to others by the kernel, until somebody sets `route_localnet` for all links.
    """
    yield Line(verdict="drop", came_by=ALL_LINKS, destination=_LOCALHOST[ground.family])
    if ground.family == 4:
        yield Line(verdict="accept", came_by=ALL_LINKS, protocol="udp", ports=(_DHCP, _DHCP))
    else:
        for source in ("fe80::/10", "::/128"):
            yield Line(verdict="return", came_by=ALL_LINKS, source=source)
    yield Line(verdict="drop", came_by=ALL_LINKS, source=f"!{ground.subnet}")
    for protocol in ("udp", "tcp"):
        yield Line(
            verdict="accept",
            came_by=ALL_LINKS,
            source=ground.subnet,
            destination=ground.gateway,
            protocol=protocol,
            ports=(_DNS, _DNS),
        )


def _local(ground: Ground) -> Iterator[Line]:
    """Only what is meant for the phone itself: not every kernel can ask for that (xt_addrtype), so it is listed."""
    if any(guest.ports for guest in ground.guests):
        for address in (*ground.addresses, ground.gateway):
            if not address.startswith("127.") and address != "::1":
                yield Line(verdict="ports", destination=address)


def _ports(ground: Ground) -> Iterator[Line]:
    for guest in ground.guests:
        for port in guest.ports:
            if port.bind in LOOPBACKS or not _is_of(port, ground.family):
                continue
            shifted = port.host != port.container
            for step in range(port.count if shifted else 1):  # the kernel can't shift a range before 4.18
                first = port.host + step
                yield Line(
                    verdict="translate",
                    guest=guest.name,
                    destination="" if port.bind in (None, *ANYWHERE) else port.bind,
                    protocol=port.protocol,
                    ports=(first, first if shifted else first + port.count - 1),
                    target=guest.address,
                    target_port=port.container + step if shifted else 0,
                )


def _postrouting(ground: Ground) -> Iterator[Line]:
    yield Line(verdict="masquerade", source=ground.subnet, leaves_by=f"!{ALL_LINKS}")
    for guest in ground.guests:
        if guest.ports:  # it may ask for its own; what others on its bridge ask for, it would answer past the phone
            own, asking = guest.address, ground.subnet if guest.bridged else guest.address
            yield Line(
                verdict="masquerade",
                guest=guest.name,
                source=asking,
                destination=own,
                leaves_by=guest.link,
                state="translated",
            )


def _mss(ground: Ground) -> Iterator[Line]:
    yield Line(verdict="clamp", source=ground.subnet, protocol="tcp")
    yield Line(verdict="clamp", destination=ground.subnet, protocol="tcp")


def _is_of(port: Port, family: Family) -> bool:
    return port.bind is None or (":" in port.bind) == (family == 6)
