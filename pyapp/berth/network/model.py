"""What is asked of the net process, what it remembers, and how links, routes and rules are told: plain values."""

from typing import Literal

from msgspec import Struct

from berth.host import Lease
from berth.network.addresses import BRIDGE
from berth.spec import Network, Port, Spec


class Wish(Struct, frozen=True, kw_only=True):
    """What a container wants of the network, as its Spec says it."""

    name: str
    ip: str | None = None
    ports: tuple[Port, ...] = ()
    upstream: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    isolated: bool = False
    bridge: bool = False
    bandwidth_down: int | None = None
    bandwidth_up: int | None = None
    ipv6: bool = True
    hostname: str = ""
    kind: Network = "nat"
    gateway: str = ""
    gateway_net: str = ""
    gateway_iface: str = ""
    lan_iface: str | None = None


class Init(Struct, frozen=True):
    """The PID 1 of a container: its pid on the host, and when it started (clock ticks since the boot).

    Whoever gets that pid later has started at another time, and may be in the host's own network.
    """

    pid: int
    started: int


class Member(Struct, frozen=True, kw_only=True):
    """A container on the network; `index` is that of the phone's end of its link.

    `bridge` is the index of the bridge in which that is, 0 for a link of its own.
    """

    wish: Wish
    lease: Lease
    link: str
    init: Init
    index: int = 0
    bridge: int = 0

    @property
    def way(self) -> str:
        """The link by which the phone and the container meet: the bridge stands for its ports."""
        return BRIDGE if self.wish.bridge else self.link

    @property
    def way_index(self) -> int:
        """The index of that."""
        return self.bridge if self.wish.bridge else self.index


class Plug(Struct, frozen=True, kw_only=True):
    """A container that is plugged into a LAN.

    `link` is the kind of its link on the phone's LAN, and `parent` the phone's, both "" before there was one.  `boot`
    and `namespace`, an inode, say of which network that is told.
    """

    wish: Wish
    init: Init
    boot: str
    namespace: int
    link: str = ""
    parent: str = ""


class Traffic(Struct, frozen=True):
    """Bytes that one side has received and sent."""

    received: int
    sent: int


class Changed(Struct, frozen=True, kw_only=True):
    """What was changed on the host for all containers together: `sysctls` holds the values found, by file.

    `namespace` is the inode of the network namespace in which that was.
    """

    boot: str
    namespace: int
    subnet: str
    prefix6: str = ""
    sysctls: dict[str, str] = {}
    firewall: str = ""

    def subnet_of(self, family: "Family") -> str:
        """Return the containers' network of that family as CIDR; "" where they have none."""
        if family == 4:
            return self.subnet
        return f"{self.prefix6}/64" if self.prefix6 else ""


class Route(Struct, frozen=True, kw_only=True):
    """A route of the kernel's: `destination` is CIDR, "" for the default; `kind` is RTN_* (1: unicast)."""

    table: int
    destination: str = ""
    link: int = 0
    gateway: str | None = None
    metric: int = 0
    kind: int = 1
    scope: int = 0


class Rule(Struct, frozen=True, kw_only=True):
    """A routing rule; `action` is FR_ACT_*.  See ip-rule(8).

    1: look up `table`, 2: go on with priority `goto`, 6 to 8: refuse.
    """

    priority: int
    action: int = 1
    table: int = 0
    goto: int = 0
    mark: int = 0
    mask: int = 0
    iif: str = ""
    oif: str = ""
    source: str = ""
    destination: str = ""
    users: tuple[int, int] | None = None
    least_prefix: int = -1
    inverted: bool = False


class Link(Struct, frozen=True, kw_only=True):
    """A network interface; `up` is whether it is on and has a carrier, `ethernet` whether it has neighbours."""

    index: int
    name: str
    mtu: int
    up: bool
    ethernet: bool = True


class Facts(Struct, frozen=True, kw_only=True):
    """The phone's own network as the kernel tells it, of one address `family`, without what is Berth's."""

    links: tuple[Link, ...]
    routes: tuple[Route, ...]
    rules: tuple[Rule, ...]
    addresses: tuple[str, ...] = ()

    @property
    def routed(self) -> tuple[str, ...]:
        """Where the routes lead, as CIDR, but for default routes."""
        return tuple(route.destination for route in self.routes if route.destination)


class Uplink(Struct, frozen=True, kw_only=True):
    """Where a container's traffic goes: tables in which to look, in order; () leaves it to the phone's own rules.

    `copied` are routes for a table of Berth's own; `closed` says that nothing else may be used.
    """

    link: str = ""
    index: int = 0
    mtu: int = 1500
    tables: tuple[int, ...] = ()
    copied: tuple[Route, ...] = ()
    closed: bool = False
    reason: str = ""


Family = Literal[4, 6]


def wish_of(spec: Spec) -> Wish:
    """Return what `spec` asks of the network."""
    return Wish(
        name=spec.name,
        ip=spec.ip,
        ports=spec.ports,
        upstream=spec.upstream,
        dns=spec.dns,
        isolated=spec.isolated,
        bridge=spec.bridge,
        bandwidth_down=spec.bandwidth_down,
        bandwidth_up=spec.bandwidth_up,
        ipv6=not spec.disable_ipv6,
        hostname=spec.hostname or spec.name,
        kind=spec.net,
        gateway=spec.gateway or "",
        gateway_net=spec.gateway_net,
        gateway_iface=spec.gateway_iface,
        lan_iface=spec.lan_iface,
    )
