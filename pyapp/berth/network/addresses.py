"""Which subnet, address, MAC and link name a container has: decided from its name alone wherever possible."""

from collections.abc import Collection, Iterable
from hashlib import sha256
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from berth.errors import BerthError

SUBNETS = tuple(
    f"{start}.0.0/16" for start in ("172.28", "172.29", "172.30", "172.31", "172.27", "172.26", "10.213", "192.168")
)
"""Where containers live, in order of preference; the last is for a phone that routes all the others."""

LINK_PREFIX = "berth"  # with 8 digits behind it: a link's name has 15 characters at most
BRIDGE = f"{LINK_PREFIX}0"
SEGMENT_PREFIX = "bgw"  # of the bridge of a gateway's LAN, which no rule about containers' own links is to meet
_RESERVED = 2  # the network's own address and the gateway's


def choose_subnet(kept: str | None, routed: Iterable[str]) -> str:
    """Return the subnet for containers: `kept` while nothing else is `routed` there, else the first that is free.

    Default routes are not told among `routed`.  Raises BerthError when every candidate is in use.
    """
    taken = [IPv4Network(route) for route in routed]
    candidates: tuple[str, ...] = (*((kept,) if kept else ()), *SUBNETS)
    for candidate in candidates:
        network = IPv4Network(candidate)
        if not any(network.overlaps(route) for route in taken):
            return candidate
    raise BerthError(f"no network is free for containers: {', '.join(SUBNETS)} are all in use here")


def refuse_routed(subnet: str, routed: Iterable[str]) -> None:
    """Raise BerthError where the phone has somebody else in `subnet`; default routes are not told among `routed`."""
    others = sorted(route for route in routed if IPv4Network(route).overlaps(IPv4Network(subnet)))
    if others:
        raise BerthError(f"network {subnet}: this device has a route to {others[0]} already; choose another network")


def gateway_of(subnet: str) -> str:
    """Return the address that the phone has for its containers: gateway, resolver and DHCP server."""
    return str(IPv4Network(subnet).network_address + 1)


def address_of(name: str, subnet: str, taken: Collection[str]) -> str:
    """Return the address of container `name`: the one its name stands for, or the next that is not `taken`.

    Raises BerthError when all are.
    """
    network = IPv4Network(subnet)
    room = network.num_addresses - _RESERVED - 1  # the last one is for broadcasts
    start = int.from_bytes(_digest(name)[:4], "big")
    for step in range(room):
        address = str(network.network_address + _RESERVED + (start + step) % room)
        if address not in taken and not address.endswith((".0", ".255")):
            return address
    raise BerthError(f"container {name}: every address of {subnet} is taken")


def checked_address(name: str, address: str, subnet: str, taken: Collection[str]) -> str:
    """Return `address`, which the user chose for `name`; raises BerthError where it can't be had."""
    network = IPv4Network(subnet)
    if IPv4Address(address) not in network:
        raise BerthError(f"container {name}: --ip {address} is not in {subnet}, where the containers live")
    if address in (str(network.network_address), gateway_of(subnet), str(network.broadcast_address)):
        raise BerthError(f"container {name}: --ip {address} is not for a container; choose another one in {subnet}")
    if address in taken:
        raise BerthError(f"container {name}: --ip {address} belongs to another container; choose another one")
    return address


def mac_of(name: str) -> str:
    """Return the MAC address of container `name`'s link: locally administered, the same at every start."""
    return ":".join(f"{byte:02x}" for byte in (0x02, *_digest(name)[4:9]))


def link_of(name: str) -> str:
    """Return what the phone's end of container `name`'s link is called."""
    return f"{LINK_PREFIX}{_digest(name)[:4].hex()}"


def address6_of(prefix: str, address: str) -> str:
    """Return the IPv6 address below `prefix` (a /64 that ends in ::) that goes with the IPv4 `address`."""
    return str(IPv6Address(int(IPv6Address(prefix)) | int(IPv4Address(address))))


def prefix6_of(seed: str) -> str:
    """Return a unique local prefix (RFC 4193), a /64 that ends in ::, the same for the same `seed`."""
    return str(IPv6Address(b"\xfd" + _digest(seed)[:7] + bytes(8)))


def _digest(name: str) -> bytes:
    return sha256(name.encode()).digest()
