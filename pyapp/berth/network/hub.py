"""The network of all containers: who is on it, and what the host has for them.

Everything on the host is made by comparing what is wanted with what is there, so that a net process that takes over
from one that was killed, and one that finds its rules flushed by netd, do the same as one that begins.
"""

import contextlib
import os
import shutil
from collections.abc import Callable
from ipaddress import IPv4Network

from msgspec.structs import replace

from berth.errors import BerthError
from berth.home import Home
from berth.host import Lease
from berth.network import addresses, links, sysctls
from berth.network.connections import forget_connections, reset_connections
from berth.network.facts import read_facts, read_own_routes, read_own_rules
from berth.network.firewall import Ground, Guest
from berth.network.iptables import Iptables
from berth.network.links import unless_gone
from berth.network.loop import Loop
from berth.network.model import Changed, Facts, Family, Member, Uplink, Wish
from berth.network.netlink import Netlink, inside, open_namespace
from berth.network.ports import refuse_taken
from berth.network.records import Book, Records
from berth.network.services import Services
from berth.network.tables import same_route, wanted_routes, wanted_rules
from berth.network.uplinks import choose_uplink

INNER = "eth0"
_FAMILIES: tuple[Family, ...] = (4, 6)
_TOOL_FOLDERS = ("/system/bin", "/usr/sbin", "/sbin", "/usr/bin")
_LEAST_MTU = 1280  # of IPv6


class Hub:
    """Gives containers their network and takes it away again.  Raises BerthError and OSError."""

    def __init__(self, home: Home, loop: Loop, complain: Callable[[str], None]) -> None:
        self.records = Records(home)
        self.netlink = Netlink()
        self.own_namespace = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.reserved: dict[str, tuple[Wish, Lease]] = {}
        self.members: dict[str, Member] = {}
        self.uplinks: dict[str, Uplink] = {}
        self.facts: dict[Family, Facts] = {}
        self.changed: Changed | None = None
        self._nat6: bool | None = None
        self._firewalls: dict[Family, Iptables] = {}
        self._services = Services(loop, self.members, self._mtu, complain)

    # What containers ask for.

    def reserve(self, wish: Wish) -> Lease:
        """Return what container `wish.name` will have, and keep it for it."""
        if self._firewall(4) is None:
            raise BerthError(
                f"container {wish.name}: --net=nat needs iptables, which is not in {', '.join(_TOOL_FOLDERS)}; "
                "install it, or use --net=host"
            )
        self._look()
        subnet = self._subnet()
        refuse_taken(wish, self._others(wish.name))
        book = self.records.book()
        if book.subnet != subnet:
            book = Book(subnet)
        taken = {address for name, address in book.addresses.items() if name != wish.name}
        in_use = self._addresses_in_use(wish.name)
        known = book.addresses.get(wish.name)
        if wish.ip is not None:
            address = addresses.checked_address(wish.name, wish.ip, subnet, in_use)
        elif known is not None and known not in in_use:
            address = known
        else:
            address = addresses.address_of(wish.name, subnet, taken | in_use)
        self.records.save_book(replace(book, addresses={**book.addresses, wish.name: address}))
        prefix6 = addresses.prefix6_of(subnet) if wish.ipv6 and self._has_nat6() else ""
        lease = Lease(
            address=address,
            subnet=subnet,
            gateway=addresses.gateway_of(subnet),
            mac=addresses.mac_of(wish.name),
            address6=addresses.address6_of(prefix6, address) if prefix6 else "",
            gateway6=f"{prefix6}1" if prefix6 else "",
        )
        self.reserved[wish.name] = (wish, lease)
        return lease

    def release(self, name: str) -> None:
        """Give up what was reserved for a container that never came."""
        self.reserved.pop(name, None)

    def attach(self, name: str, pid: int) -> Lease:
        """Give the network namespace of process `pid` its link, address and routes; return the lease.

        A container that comes again, after a reboot inside, gets the same.
        """
        if name in self.reserved:
            wish, lease = self.reserved[name]
        elif name in self.members:
            wish, lease = self.members[name].wish, self.members[name].lease
        else:
            raise BerthError(f"container {name}: has no address; start it again")
        self._begin(lease)
        member = Member(wish=wish, lease=lease, link=addresses.link_of(name), pid=pid)
        self.records.save_member(member)
        self.members[name] = member
        self.reserved.pop(name, None)
        self._choose_uplinks()
        member = replace(member, index=self._make_link(member))
        self.members[name] = member
        self.records.save_member(member)
        self._set_up_inside(member)
        self.settle()
        self._services.add(member)
        return lease

    def detach(self, name: str) -> None:
        """Take a container's network away; one that has none is fine."""
        self.reserved.pop(name, None)
        member = self.members.pop(name, None)
        if member is not None:
            self.uplinks.pop(name, None)
            self._services.remove(name)
            links.remove_link(self.netlink, member.link, _alias(name))
            if self.members:
                self.settle()
            forget_connections(_addresses_of(member), member.lease.subnet)
            self.records.forget_member(name)

    # What holds for all of them.

    @property
    def firewall_kind(self) -> str:
        """What keeps the rules: "iptables", or "" where there is nothing."""
        firewall = self._firewall(4)
        return firewall.kind if firewall else ""

    def take_over(self) -> None:
        """Go on where a net process that was killed has left off."""
        self.changed = self.records.changed()
        here = (_boot_id(), os.fstat(self.own_namespace).st_ino)
        if self.changed is not None and (self.changed.boot, self.changed.namespace) != here:
            self.records.forget_all()  # gone with its boot, or somebody else's network, which is not to be touched
            self.changed = None
        if self.changed is None:
            return
        self.members.update({member.wish.name: member for member in self.records.members()})
        if self.members:
            self._look()
            self._choose_uplinks()
            self.settle(check=True)
            for member in self.members.values():
                self._services.add(member)

    def follow(self) -> bool:
        """Look at the phone's network again, after it has changed; tell whether containers were led another way."""
        if not self.members:
            return False
        facts, before = self.facts, dict(self.uplinks)
        self._look()
        self._choose_uplinks()
        mended = [self._settle_tables(family) for family in _FAMILIES]
        if any(mended) or facts != self.facts:
            for family in _FAMILIES:
                self._settle_firewall(family, check=True)
        changed = {name for name, uplink in self.uplinks.items() if uplink != before.get(name)}
        for name in changed:
            self._set_mtu(self.members[name])
            self._end_connections(self.members[name])
        return bool(changed)

    def settle(self, *, check: bool = False) -> None:
        """Make rules, routes and firewall what they must be now; with `check`, look for what others took away."""
        for family in _FAMILIES:
            self._settle_tables(family)
            self._settle_firewall(family, check=check)

    def end(self) -> None:
        """Take back all that was changed on the host.  There is no member any more."""
        self._services.close()
        if self.changed is None:
            return
        for family in _FAMILIES:
            for rule in read_own_rules(self.netlink, family):
                links.remove_rule(self.netlink, rule, family=family)
            for route in read_own_routes(self.netlink, family):
                links.remove_route(self.netlink, route, family=family)
            if (firewall := self._firewall(family)) is not None:
                firewall.remove()
        sysctls.write_if_there(self.changed.sysctls)
        self.records.forget_all()
        self.changed = None

    # How.

    def _look(self) -> None:
        self.facts = {family: read_facts(self.netlink, family) for family in _FAMILIES}

    def _subnet(self) -> str:
        """The network of containers; one that is in use stays, whatever the phone has come to route since."""
        if self.changed is not None:
            return self.changed.subnet
        routed = (route.destination for route in self.facts[4].routes if route.destination)
        return addresses.choose_subnet(self.records.book().subnet or None, routed)

    def _held(self, name: str) -> list[tuple[Wish, Lease]]:
        """What containers other than `name` have, or have reserved."""
        held = [*self.reserved.values(), *((member.wish, member.lease) for member in self.members.values())]
        return [(wish, lease) for wish, lease in held if wish.name != name]

    def _others(self, name: str) -> list[Wish]:
        return [wish for wish, _ in self._held(name)]

    def _addresses_in_use(self, name: str) -> set[str]:
        return {lease.address for _, lease in self._held(name)}

    def _begin(self, lease: Lease) -> None:
        """Change what containers need of the host, each thing told to the record first."""
        if self.changed is not None:
            return
        wanted = {sysctls.FORWARDING: "1"}
        if lease.gateway6:
            wanted |= sysctls.for_forwarding6()
        found = {path: value for path in wanted if (value := sysctls.read(path)) is not None}
        prefix6 = lease.gateway6.removesuffix("1")
        self.changed = Changed(
            boot=_boot_id(),
            namespace=os.fstat(self.own_namespace).st_ino,
            subnet=lease.subnet,
            prefix6=prefix6,
            sysctls=found,
        )
        self.records.save_changed(self.changed)
        for path, value in wanted.items():
            if found.get(path) not in (None, value):
                sysctls.write(path, value)
        for family in _FAMILIES:
            self._settle_firewall(family, check=True)

    def _choose_uplinks(self) -> None:
        for name, member in self.members.items():
            self.uplinks[name] = choose_uplink(self.facts[4], member.wish.upstream)

    def _uplinks6(self) -> dict[str, Uplink]:
        return {name: choose_uplink(self.facts[6], member.wish.upstream) for name, member in self.members.items()}

    def _make_link(self, member: Member) -> int:
        name, lease = member.wish.name, member.lease
        namespace = open_namespace(member.pid)
        try:
            index = links.make_veth(
                self.netlink,
                member.link,
                _alias(name),
                namespace=namespace,
                inner=INNER,
                mac=lease.mac,
                mtu=self._mtu(name),
            )
        finally:
            os.close(namespace)
        sysctls.write_if_there(sysctls.of_link(member.link, ipv6=bool(lease.address6)))
        links.add_address(self.netlink, index, lease.gateway, 32)
        if lease.gateway6:
            links.add_address(self.netlink, index, lease.gateway6, 128, family=6)
        links.switch_on(self.netlink, index)
        return index

    def _set_up_inside(self, member: Member) -> None:
        lease = member.lease
        with inside(member.pid, self.own_namespace), Netlink() as netlink:
            index = links.find(netlink, INNER)
            links.switch_on(netlink, index)
            links.add_address(netlink, index, lease.address, IPv4Network(lease.subnet).prefixlen)
            links.add_way_out(netlink, index, lease.gateway)
            if lease.address6:
                links.add_address(netlink, index, lease.address6, 128, family=6)
                links.add_way_out(netlink, index, lease.gateway6, family=6)

    def _mtu(self, name: str) -> int:
        return max(self.uplinks[name].mtu, _LEAST_MTU)

    def _set_mtu(self, member: Member) -> None:
        mtu = self._mtu(member.wish.name)
        links.set_mtu(self.netlink, member.index, mtu)
        try:
            with inside(member.pid, self.own_namespace), Netlink() as netlink:
                links.set_mtu(netlink, links.find(netlink, INNER), mtu)
        except OSError:
            return  # it ends just now, or root inside has renamed its link

    def _end_connections(self, member: Member) -> None:
        """End what goes by an uplink that this container no longer has."""
        forget_connections(_addresses_of(member), member.lease.subnet)
        with contextlib.suppress(OSError), inside(member.pid, self.own_namespace):  # it may have ended just now
            reset_connections(member.lease.subnet)

    def _settle_tables(self, family: Family) -> bool:
        """Make rules and routes what they must be; tell whether anything was missing."""
        assert self.changed is not None
        subnet = self.changed.subnet if family == 4 else self.changed.prefix6 and f"{self.changed.prefix6}/64"
        if not subnet:
            return False
        members, uplinks = self.members.values(), self.uplinks if family == 4 else self._uplinks6()
        routes = {same_route(route): route for route in wanted_routes(members, uplinks, subnet, family)}
        there = {same_route(route): route for route in read_own_routes(self.netlink, family)}
        for key in there.keys() - routes.keys():
            links.remove_route(self.netlink, there[key], family=family)
        for key in routes.keys() - there.keys():
            with unless_gone():  # a container that has just ended takes its link along
                links.add_route(self.netlink, routes[key], family=family)
        rules, found = wanted_rules(members, uplinks, subnet, family), read_own_rules(self.netlink, family)
        for rule in found - rules:
            links.remove_rule(self.netlink, rule, family=family)
        for rule in rules - found:
            links.add_rule(self.netlink, rule, family=family)
        return bool(rules - found or routes.keys() - there.keys())

    def _settle_firewall(self, family: Family, *, check: bool) -> None:
        assert self.changed is not None
        subnet = self.changed.subnet if family == 4 else self.changed.prefix6 and f"{self.changed.prefix6}/64"
        firewall = self._firewall(family)
        if not subnet or firewall is None:
            return
        gateway = addresses.gateway_of(self.changed.subnet) if family == 4 else f"{self.changed.prefix6}1"
        ground = Ground(
            subnet=subnet,
            gateway=gateway,
            family=family,
            addresses=self.facts[family].addresses if family in self.facts else (),
            guests=tuple(_guest(member, family) for member in self.members.values() if _has(member, family)),
        )
        firewall.apply(ground, check=check)

    def _firewall(self, family: Family) -> Iptables | None:
        if family not in self._firewalls:
            name = "iptables-restore" if family == 4 else "ip6tables-restore"
            found = shutil.which(name, path=":".join(_TOOL_FOLDERS))
            if found is None:
                return None
            self._firewalls[family] = Iptables(os.path.dirname(found), family)
        return self._firewalls[family]

    def _has_nat6(self) -> bool:
        if self._nat6 is None:
            firewall = self._firewall(6)
            self._nat6 = os.path.exists(sysctls.FORWARDING6) and firewall is not None and firewall.has_nat()
        return self._nat6


def _guest(member: Member, family: Family) -> Guest:
    return Guest(
        name=member.wish.name,
        link=member.link,
        address=member.lease.address if family == 4 else member.lease.address6,
        ports=member.wish.ports,
        isolated=member.wish.isolated,
    )


def _has(member: Member, family: Family) -> bool:
    return family == 4 or bool(member.lease.address6)


def _addresses_of(member: Member) -> tuple[str, ...]:
    return tuple(address for address in (member.lease.address, member.lease.address6) if address)


def _alias(name: str) -> str:
    """By which a link is known as ours, and for whom."""
    return f"berth {name}"


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
        return file.read().strip()
