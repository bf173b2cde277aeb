"""`berth net`: who is on the network of containers, and which way their traffic goes."""

import os

from berth import rules
from berth.amounts import size
from berth.cli.escapes import one_line
from berth.cli.flags import Invocation
from berth.cli.layout import wrapped
from berth.cli.output import print_json, room
from berth.cli.specs import port_of
from berth.engine.diagnose import diagnose
from berth.engine.network import set_subnet, status
from berth.engine.ports import change_ports
from berth.errors import UsageError
from berth.home import find_home
from berth.network.messages import MemberStatus
from berth.network.port_list import notation
from berth.service.session import Session
from berth.spec import Port

_INDENT = 2


def net(invocation: Invocation, session: Session) -> int:
    """`berth net`."""
    if invocation.words:
        return _do(invocation, session)
    told = status(find_home(os.environ))
    if invocation.json:
        print_json(told)
        return 0
    for plug in told.plugs:
        print(plug.name)
        fact = f"{plug.kind}: {plug.told}" + (f", MAC {plug.mac}" if plug.mac else "")
        print("\n".join(wrapped(one_line(fact), room(session), _INDENT, 2 * _INDENT)))
    if not told.members and not told.plugs:
        print("\n".join(wrapped("no container is on the network; start one with --net=nat", room(session))))
    elif told.members and not told.firewall:
        warning = "without a firewall: neither iptables nor nftables works here, so nothing is reached from inside"
        print("\n".join(wrapped(warning, room(session))))
    for member in told.members:
        print(member.name)
        for fact in _about(member):
            print("\n".join(wrapped(one_line(fact), room(session), _INDENT, 2 * _INDENT)))
    return 0


def _do(invocation: Invocation, session: Session) -> int:
    match invocation.words:
        case ("diagnose", name):
            return _diagnose(invocation, session, rules.name("net diagnose", name))
        case ("port", "add" | "remove" as what, name, _, *_):
            return _change_ports(invocation, what, rules.name("net port", name))
        case ("subnet", text):
            return _set_subnet(invocation, rules.subnet("net subnet", text))
    raise UsageError(
        f"net: {rules.quoted(' '.join(invocation.words))} is not understood; write net diagnose NAME, "
        "net port add NAME PORT, net port remove NAME PORT or net subnet NETWORK"
    )


def _diagnose(invocation: Invocation, session: Session, name: str) -> int:
    """`berth net diagnose`; exits with 1 where a piece of the way is broken."""
    checks = diagnose(find_home(os.environ), name)
    if invocation.json:
        print_json(checks)
    else:
        for check in checks:
            state = "ok" if check.whole else "BROKEN"
            print("\n".join(wrapped(f"{check.piece}: {state}, {check.found}", room(session), 0, _INDENT)))
            if check.cure:
                print("\n".join(wrapped(f"cure: {check.cure}", room(session), _INDENT, 2 * _INDENT)))
    return 0 if all(check.whole for check in checks) else 1


def _change_ports(invocation: Invocation, what: str, name: str) -> int:
    words = [word for words in invocation.words[3:] for word in words.split(",")]
    ports = tuple(port_of(f"net port {what}", word) for word in words)
    home = find_home(os.environ)
    spec = change_ports(home, name, add=ports) if what == "add" else change_ports(home, name, remove=ports)
    if invocation.json:
        print_json({"name": name, "ports": spec.ports})
    else:
        print(f"{name}: its ports are now {', '.join(map(notation, spec.ports)) or 'none'}")
    return 0


def _set_subnet(invocation: Invocation, subnet: str) -> int:
    set_subnet(find_home(os.environ), subnet)
    if invocation.json:
        print_json({"subnet": subnet})
    else:
        print(f"containers with --net=nat get addresses in {subnet} when they start next")
    return 0


def _about(member: MemberStatus) -> list[str]:
    lease, uplink = member.lease, member.uplink
    facts = [f"address: {lease.address}" + (f", {lease.address6}" if lease.address6 else "")]
    place = f" on the bridge {member.bridge}" if member.bridge else ""
    facts.append(f"link: {member.link}{place}, gateway {lease.gateway}, network {lease.subnet}")
    facts += [f"port: {_shown(port)}" for port in member.ports]
    facts.append(f"uplink: {uplink.link or 'none'} ({uplink.reason})")
    facts.append(f"traffic: {size(member.traffic.received)} received, {size(member.traffic.sent)} sent")
    return facts


def _shown(port: Port) -> str:
    def numbers(first: int) -> str:
        return str(first) if port.count == 1 else f"{first}-{first + port.count - 1}"

    return f"{port.bind or '*'} {numbers(port.host)} -> {numbers(port.container)}/{port.protocol}"
