"""What is wrong with a container's network: decided from what was found on its way out.

The way is walked from inside to outside, so the first piece that is broken explains those behind it.
"""

from collections.abc import Iterator

from msgspec import Struct

from berth.host import Lease
from berth.network.model import Uplink


class End(Struct, frozen=True, kw_only=True):
    """One end of a link: None where it is not there; `addresses` without their lengths."""

    up: bool
    addresses: tuple[str, ...]


class Findings(Struct, frozen=True, kw_only=True):
    """What was found of container `name`.

    `outer` is the phone's end of `link`, `default` the gateway of the default route inside, `led_here` whether the
    phone's routes lead to the container; `missing` are the firewall's own jumps that are not there.  `asked` is one of
    the phone's name servers, "" where none can be asked from inside; whether it answered is told of the `phone` itself
    and of the `container`.  `resolver` is whether the phone's resolver answers for containers, `names` whether it has
    an answer for others; `servers` are those in /etc/resolv.conf inside.
    """

    name: str
    lease: Lease
    link: str
    uplink: Uplink
    inner: End | None
    outer: End | None
    default: str
    led_here: bool
    forwarding: bool
    missing: tuple[str, ...]
    asked: str
    phone: bool
    container: bool
    resolver: bool
    names: bool
    servers: tuple[str, ...]


class Check(Struct, frozen=True, kw_only=True):
    """One piece of the way: whether it is whole, what was found, and what to do where it is not."""

    piece: str
    whole: bool
    found: str
    cure: str = ""


def judge(found: Findings) -> tuple[Check, ...]:
    """Return the pieces of the way in order, up to the first that is broken."""
    checks = []
    for check in _checks(found):
        checks.append(check)
        if not check.whole:
            break
    return tuple(checks)


def _checks(found: Findings) -> Iterator[Check]:
    yield _address(found)
    yield _route(found)
    yield _gateway(found)
    yield _forward(found)
    yield _uplink(found)
    yield _dns(found)


def _address(found: Findings) -> Check:
    again = f'run a DHCP client inside, or "berth restart {found.name}"'
    if found.inner is None:
        return _broken("address", "there is no eth0 inside", f'run "berth restart {found.name}"')
    if found.lease.address not in found.inner.addresses:
        held = ", ".join(found.inner.addresses) or "none"
        return _broken("address", f"eth0 inside does not have {found.lease.address} (it has {held})", again)
    if not found.inner.up:
        return _broken("address", "eth0 inside is switched off", 'run "ip link set eth0 up" inside')
    return Check(piece="address", whole=True, found=f"eth0 has {found.lease.address}")


def _route(found: Findings) -> Check:
    gateway = found.lease.gateway
    if found.default == gateway:
        return Check(piece="route", whole=True, found=f"the default route inside leads to {gateway}")
    what = f"leads to {found.default}, not to {gateway}" if found.default else "is missing"
    return _broken(
        "route", f"the default route inside {what}", f'run "ip route replace default via {gateway} dev eth0" inside'
    )


def _gateway(found: Findings) -> Check:
    again = f'run "berth restart {found.name}"'
    if found.outer is None:
        return _broken("gateway", f"the phone's end of the link, {found.link}, has gone", again)
    if not found.outer.up:
        return _broken("gateway", f"{found.link} is switched off", f'run "ip link set {found.link} up"')
    if found.lease.gateway not in found.outer.addresses:
        return _broken("gateway", f"{found.link} has lost the address {found.lease.gateway}", again)
    if not found.led_here:
        why = "the phone has no route or rule that leads to the container"
        return _broken("gateway", why, 'run "berth recover"')
    return Check(piece="gateway", whole=True, found=f"{found.link} has {found.lease.gateway} and a route here")


def _forward(found: Findings) -> Check:
    if not found.forwarding:
        why = "forwarding is switched off (net.ipv4.ip_forward is 0)"
        return _broken("forward rule", why, 'run "berth recover"')
    if found.missing:
        return _broken("forward rule", f"the firewall lacks {', '.join(found.missing)}", 'run "berth recover"')
    if found.uplink.link and found.phone and not found.container:  # without one its way is closed on purpose
        why = f"{found.asked} answers the phone and not the container, so something between them drops its packets"
        cure = 'look for rules of other programs with "iptables -S" and "iptables -t nat -S", and inside for its own'
        return _broken("forward rule", why, cure)
    return Check(piece="forward rule", whole=True, found="the phone forwards, and the firewall lets it")


def _uplink(found: Findings) -> Check:
    uplink = found.uplink
    if not uplink.link:
        cure = "switch that on, or change --upstream" if uplink.closed else "switch Wi-Fi or mobile data on"
        return _broken("uplink", uplink.reason, cure)
    if found.asked and not found.phone:
        why = f"the phone itself gets no answer from its name server {found.asked} by {uplink.link}"
        return _broken("uplink", why, f"look at the network behind {uplink.link}, and at the name servers of the phone")
    return Check(piece="uplink", whole=True, found=f"{uplink.link}: {uplink.reason}")


def _dns(found: Findings) -> Check:
    if not found.servers:
        why = "/etc/resolv.conf inside names no server"
        return _broken("DNS", why, f"write nameserver {found.lease.gateway} there, or start it with --dns")
    if not found.resolver:
        why = f"the phone's resolver at {found.lease.gateway} does not answer"
        return _broken("DNS", why, 'run "berth recover", and look at network.log')
    if not found.names:
        why = "the phone's name servers do not answer"
        return _broken("DNS", why, "name others with --dns, or look at the phone's Private DNS setting")
    return Check(piece="DNS", whole=True, found=f"asks {', '.join(found.servers)}")


def _broken(piece: str, found: str, cure: str) -> Check:
    return Check(piece=piece, whole=False, found=found, cure=cure)
