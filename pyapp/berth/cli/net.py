"""`berth net`: who is on the network of containers, and which way their traffic goes."""

import os

from berth.amounts import size
from berth.cli.escapes import one_line
from berth.cli.flags import Invocation
from berth.cli.layout import wrapped
from berth.cli.output import print_json, room
from berth.engine.network import status
from berth.home import find_home
from berth.network.messages import MemberStatus
from berth.service.session import Session
from berth.spec import Port

_INDENT = 2


def net(invocation: Invocation, session: Session) -> int:
    """`berth net`."""
    told = status(find_home(os.environ))
    if invocation.json:
        print_json(told)
        return 0
    if not told.members:
        print("no container is on the network; start one with --net=nat")
    elif not told.firewall:
        print("without a firewall: this device has no iptables, so nothing is reached from inside")
    for member in told.members:
        print(member.name)
        for fact in _about(member):
            print("\n".join(wrapped(one_line(fact), room(session), _INDENT, 2 * _INDENT)))
    return 0


def _about(member: MemberStatus) -> list[str]:
    lease, uplink = member.lease, member.uplink
    facts = [f"address: {lease.address}" + (f", {lease.address6}" if lease.address6 else "")]
    facts.append(f"link: {member.link}, gateway {lease.gateway}, network {lease.subnet}")
    facts += [f"port: {_shown(port)}" for port in member.ports]
    facts.append(f"uplink: {uplink.link or 'none'} ({uplink.reason})")
    facts.append(f"traffic: {size(member.traffic.received)} received, {size(member.traffic.sent)} sent")
    return facts


def _shown(port: Port) -> str:
    def numbers(first: int) -> str:
        return str(first) if port.count == 1 else f"{first}-{first + port.count - 1}"

    return f"{port.bind or '*'} {numbers(port.host)} -> {numbers(port.container)}/{port.protocol}"
