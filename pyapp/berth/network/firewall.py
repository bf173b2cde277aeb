"""What the firewall has to say about containers, as text for iptables-restore: chains of Berth's own and no other.

The built-in chains get one jump each.  Nothing here holds for traffic that is not a container's.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from berth.network.addresses import LINK_PREFIX, SEGMENT_PREFIX
from berth.network.model import Family
from berth.spec import Port

ALL_LINKS: Final = f"{LINK_PREFIX}+"
SEGMENTS: Final = f"{SEGMENT_PREFIX}+"
LOOPBACKS: Final = ("127.0.0.1", "::1")
ANYWHERE: Final = ("0.0.0.0", "::")

JUMPS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "filter": {"BERTH-FORWARD": ("FORWARD",), "BERTH-INPUT": ("INPUT",)},
    "nat": {"BERTH-LOCAL": ("PREROUTING", "OUTPUT"), "BERTH-PORTS": (), "BERTH-POSTROUTING": ("POSTROUTING",)},
    "mangle": {"BERTH-MSS": ("FORWARD",)},
}
"""By table, Berth's chains and the built-in ones that jump to each."""


class Guest(Struct, frozen=True, kw_only=True):
    """A container as the firewall sees it: its link, its address of one family, and what it wants."""

    name: str
    link: str
    address: str
    ports: tuple[Port, ...] = ()
    isolated: bool = False


class Ground(Struct, frozen=True, kw_only=True):
    """What the rules are made of: the containers' network, the phone's own addresses, and who is there."""

    subnet: str
    gateway: str
    family: Family = 4
    addresses: tuple[str, ...] = ()
    guests: tuple[Guest, ...] = ()


def rules_text(ground: Ground, missing: Iterable[tuple[str, str, str]] = ()) -> str:
    """Return the input of `iptables-restore --noflush` that makes Berth's chains what they must be, as a whole.

    `missing` are the jumps (table, built-in chain, chain) that have to be put first in their chain as well.
    """
    chains = {
        "filter": {"BERTH-FORWARD": _forward(ground), "BERTH-INPUT": _input(ground)},
        "nat": {
            "BERTH-LOCAL": _local(ground),
            "BERTH-PORTS": _ports(ground),
            "BERTH-POSTROUTING": _postrouting(ground),
        },
        "mangle": {"BERTH-MSS": _mss(ground)},
    }
    lines: list[str] = []
    for table, content in chains.items():
        lines += [f"*{table}", *(f":{chain} - [0:0]" for chain in content)]
        lines += [f"-A {chain} {rule}" for chain, rules in content.items() for rule in rules]
        lines += [f"-I {builtin} 1 -j {chain}" for where, builtin, chain in missing if where == table]
        lines.append("COMMIT")
    return "\n".join(lines) + "\n"


def missing_jumps(saved: str) -> tuple[tuple[str, str, str], ...]:
    """Return the jumps that `saved`, the output of iptables-save, does not have."""
    there = set(_jumps_in(saved))
    wanted = (
        (table, builtin, chain) for table, chains in JUMPS.items() for chain in chains for builtin in chains[chain]
    )
    return tuple(jump for jump in wanted if jump not in there)


def removal_text(saved: str) -> str:
    """Return the input of `iptables-restore --noflush` that takes away all of Berth's that `saved` has; "" for none."""
    table = ""
    jumps: dict[str, list[str]] = {}
    chains: dict[str, list[str]] = {}
    for line in saved.splitlines():
        table = line[1:] if line.startswith("*") else table
        chain = line[1:].partition(" ")[0]
        if line.startswith(":BERTH-"):
            chains.setdefault(table, []).append(chain)
    for where, builtin, chain in _jumps_in(saved):
        jumps.setdefault(where, []).append(f"-D {builtin} -j {chain}")
    lines: list[str] = []
    for where in dict.fromkeys((*jumps, *chains)):
        own = chains.get(where, [])
        lines += [f"*{where}", *jumps.get(where, ()), *(f"-F {chain}" for chain in own)]
        lines += [*(f"-X {chain}" for chain in own), "COMMIT"]
    return "\n".join(lines) + "\n" if lines else ""


def _jumps_in(saved: str) -> Iterator[tuple[str, str, str]]:
    table = ""
    for line in saved.splitlines():
        table = line[1:] if line.startswith("*") else table
        match line.split():
            case ["-A", builtin, "-j", chain] if chain in JUMPS.get(table, {}) and builtin not in JUMPS[table]:
                yield table, builtin, chain


def _forward(ground: Ground) -> Iterator[str]:
    yield f"-i {SEGMENTS} -o {SEGMENTS} -j ACCEPT"  # a bridge's own traffic comes by here where br_netfilter is there
    for guest in ground.guests:
        yield f"-i {guest.link} ! -s {guest.address} {_says(guest)} -j DROP"
    for guest in ground.guests:
        if guest.isolated:
            yield f"-i {guest.link} -o {ALL_LINKS} {_says(guest)} -j DROP"
            yield f"-i {ALL_LINKS} -o {guest.link} {_says(guest)} -j DROP"
    for guest in ground.guests:
        yield f"-i {guest.link} -o {ALL_LINKS} {_says(guest)} -j ACCEPT"
    for guest in ground.guests:
        yield f"-o {guest.link} -m conntrack --ctstate RELATED,ESTABLISHED {_says(guest)} -j ACCEPT"
        for port in guest.ports:
            target = f"-d {guest.address} -p {port.protocol} --dport {_range(port.container, port.count)}"
            yield f"-o {guest.link} {target} -m conntrack --ctstate DNAT {_says(guest)} -j ACCEPT"
        yield f"-o {guest.link} {_says(guest)} -j DROP"
        yield f"-i {guest.link} {_says(guest)} -j ACCEPT"


def _input(ground: Ground) -> Iterator[str]:
    for guest in ground.guests:
        if ground.family == 4:
            yield f"-i {guest.link} -p udp --dport 67 {_says(guest)} -j ACCEPT"
        for protocol in ("udp", "tcp"):
            served = f"-s {guest.address} -d {ground.gateway} -p {protocol} --dport 53"
            yield f"-i {guest.link} {served} {_says(guest)} -j ACCEPT"


def _local(ground: Ground) -> Iterator[str]:
    """Only what is meant for the phone itself: not every kernel can ask for that (xt_addrtype), so it is listed."""
    if any(guest.ports for guest in ground.guests):
        for address in (*ground.addresses, ground.gateway):
            if not address.startswith("127.") and address != "::1":
                yield f"-d {address} -j BERTH-PORTS"


def _ports(ground: Ground) -> Iterator[str]:
    for guest in ground.guests:
        for port in guest.ports:
            if port.bind in LOOPBACKS or not _is_of(port, ground.family):
                continue
            only = f"-d {port.bind} " if port.bind not in (None, *ANYWHERE) else ""
            shown = f"[{guest.address}]" if ground.family == 6 else guest.address
            if port.host == port.container:
                match = f"{only}-p {port.protocol} --dport {_range(port.host, port.count)} {_says(guest)}"
                yield f"{match} -j DNAT --to-destination {guest.address}"
                continue
            for step in range(port.count):  # the kernel can't shift a range before 4.18
                match = f"{only}-p {port.protocol} --dport {port.host + step} {_says(guest)}"
                yield f"{match} -j DNAT --to-destination {shown}:{port.container + step}"


def _postrouting(ground: Ground) -> Iterator[str]:
    yield f"-s {ground.subnet} ! -o {ALL_LINKS} -j MASQUERADE"
    for guest in ground.guests:  # one that asks for its own published port
        yield f"-s {guest.address} -d {guest.address} -o {guest.link} {_says(guest)} -j MASQUERADE"


def _mss(ground: Ground) -> Iterator[str]:
    for side in ("-s", "-d"):
        yield f"{side} {ground.subnet} -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu"


def _is_of(port: Port, family: Family) -> bool:
    return port.bind is None or (":" in port.bind) == (family == 6)


def _range(first: int, count: int) -> str:
    return str(first) if count == 1 else f"{first}:{first + count - 1}"


def _says(guest: Guest) -> str:
    return f'-m comment --comment "{guest.name}"'
