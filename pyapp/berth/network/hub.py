"""The network of all containers: who is on it, and what the host has for them.

Everything on the host is made by comparing what is wanted with what is there, so that a net process that takes over
from one that was killed, and one that finds its rules flushed by netd, do the same as one that begins.
"""

import os
from collections.abc import Callable

from msgspec.structs import replace

from berth.errors import BerthError
from berth.home import Home
from berth.host import Lease
from berth.kernel.processes import boot_id
from berth.network import addresses, bridge, forwarding, wiring
from berth.network.connections import forget_all, forget_ports
from berth.network.facts import read_facts
from berth.network.firewalls import Firewalls
from berth.network.iptables import Iptables
from berth.network.leases import book_of, lease_for
from berth.network.loop import Loop
from berth.network.model import Changed, Facts, Family, Init, Member, Uplink, Wish
from berth.network.netlink import Netlink
from berth.network.port_list import changed_list
from berth.network.ports import refuse_taken
from berth.network.records import Abilities, Records
from berth.network.routing import Tables
from berth.network.servers import Read
from berth.network.services import Services
from berth.network.sizes import Sizes
from berth.network.uplinks import choose_uplink
from berth.spec import Port

_FAMILIES: tuple[Family, ...] = (4, 6)


class Hub:
    """Gives containers their network and takes it away again.  Raises BerthError and OSError."""

    def __init__(
        self, home: Home, loop: Loop, complain: Callable[[str], None], read_servers: Read | None = None
    ) -> None:
        self.records = Records(home)
        self.netlink = Netlink()
        self.own_namespace = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.reserved: dict[str, tuple[Wish, Lease]] = {}
        self.members: dict[str, Member] = {}
        self.uplinks: dict[str, Uplink] = {}
        self.facts: dict[Family, Facts] = {}
        self._followed: dict[Family, Facts] = {}
        self.changed: Changed | None = None
        self.firewalls = Firewalls()
        self._tables = Tables(self.netlink)
        self._looked = False
        self._sizes = Sizes(self.netlink, self.members, self.uplinks, self.own_namespace)
        self._services = Services(
            loop,
            self.members,
            mtu_of=self._sizes.of,
            has_way=self._has_way,
            complain=complain,
            read_servers=read_servers,
        )

    # What containers ask for.

    def reserve(self, wish: Wish) -> Lease:
        """Return what container `wish.name` will have, and keep it for it."""
        book = self.records.book()
        known = book.abilities
        # What other programs have iptables drop, nftables can't let through: it is used only while iptables can't be.
        if known is not None and known.boot == boot_id() and known.firewall == Iptables.kind:
            self.firewalls.remember(known.firewall, known.nat6)
        self.firewalls.require(wish.name)
        if wish.bridge:
            bridge.require(self.netlink, wish.name)
        abilities = Abilities(boot_id(), self.firewalls.kind, self.firewalls.has_nat6())
        self._look()
        subnet = self._subnet()
        others = self._held(wish.name)
        refuse_taken(wish, [other for other, _ in others])
        in_use = {lease.address for _, lease in others}
        lease, book = lease_for(wish, subnet, book, in_use, ipv6=wish.ipv6 and abilities.nat6)
        self.records.save_book(replace(book, abilities=abilities))
        self.reserved[wish.name] = (wish, lease)
        return lease

    def release(self, name: str) -> None:
        """Give up what was reserved for a container that never came."""
        self.reserved.pop(name, None)

    def attach(self, name: str, init: Init) -> Lease:
        """Give the network namespace of `init` its link, address and routes; return the lease.

        A container that comes again, after a reboot inside, gets the same.
        """
        if name in self.reserved:
            wish, lease = self.reserved[name]
        elif name in self.members:
            wish, lease = self.members[name].wish, self.members[name].lease
        else:
            raise BerthError(f"container {name}: has no address; start it again")
        self._begin(lease)
        member = Member(wish=wish, lease=lease, link=addresses.link_of(name), init=init)
        self.records.save_member(member)
        self.members[name] = member
        self.reserved.pop(name, None)
        self.uplinks[name] = choose_uplink(self.facts[4], member.wish.upstream)  # `follow` sees to the others
        size = self._sizes.of(name)
        member = wiring.make_link(self.netlink, member, size)
        self.members[name] = member
        self._sizes.made(name, size)
        self.records.save_member(member)
        wiring.set_up_inside(member, self.own_namespace)
        self.settle()
        self._sizes.settle()
        self._services.add(member)
        return lease

    def detach(self, name: str) -> None:
        """Take a container's network away; one that has none is fine."""
        self.reserved.pop(name, None)
        member = self.members.pop(name, None)
        if member is not None:
            self.uplinks.pop(name, None)
            self._services.remove(name)
            wiring.remove_link(self.netlink, member)
            self._settle_bridge()
            if self.members:
                self.settle()
            wiring.forget(member)
            self.records.forget_member(name)

    def change_ports(self, name: str, add: tuple[Port, ...], remove: tuple[Port, ...]) -> None:
        """Show and hide ports of container `name`.

        Raises BerthError where one that is to be shown is taken, with nothing changed.
        """
        member = self.members.get(name)
        if member is None:
            raise BerthError(f"container {name}: is not on the network; its ports are changed when it starts")
        ports = changed_list(name, member.wish.ports, add, remove)
        refuse_taken(replace(member.wish, ports=add), [other for other, _ in self._held(name)])
        member = replace(member, wish=replace(member.wish, ports=ports))
        self.records.save_member(member)
        self.members[name] = member
        for family in _FAMILIES:
            self._settle_firewall(family, check=False)
        self._services.change_ports(member)
        own = (*self.facts[4].addresses, *self.facts[6].addresses)
        forget_ports((*add, *remove), wiring.addresses_of(member), own)

    def set_subnet(self, subnet: str) -> None:
        """Have containers live in `subnet` from the next start on; raises BerthError while any live elsewhere."""
        if self.reserved or (self.changed is not None and self.changed.subnet != subnet):
            held = self._subnet()
            raise BerthError(f"network {subnet}: containers are in {held} now; stop those with --net=nat first")
        self._look()
        addresses.refuse_routed(subnet, self.facts[4].routed)
        self.records.save_book(book_of(subnet, self.records.book()))

    # What holds for all of them.

    @property
    def ports(self) -> tuple[int, ...]:
        """The netlink addresses from which this process changes the phone's network."""
        return (self.netlink.port,)

    def take_over(self) -> None:
        """Go on where a net process that was killed has left off."""
        self.changed = self.records.changed()
        here = (boot_id(), os.fstat(self.own_namespace).st_ino)
        if self.changed is not None and (self.changed.boot, self.changed.namespace) != here:
            self.records.forget_all()  # gone with its boot, or somebody else's network, which is not to be touched
            self.changed = None
        if self.changed is None:
            return
        self.firewalls.remember(self.changed.firewall)
        self.members.update({member.wish.name: member for member in self.records.members()})
        self._settle_bridge()
        if self.members:
            self._look()
            self._choose_uplinks()
            self.settle(check=True)
            self._sizes.settle()
            self._followed = self.facts
            for member in self.members.values():
                self._services.add(member)

    def look_again(self) -> None:
        """Believe no longer what was last seen of the phone's network: something has changed."""
        self._looked = False

    def keep_forwarding(self) -> None:
        """Have packets forwarded again where that was switched off, as the end of tethering does."""
        if self.changed is not None and self.members:
            forwarding.keep_on(ipv6=bool(self.changed.prefix6))

    def mend_firewall(self) -> bool:
        """Put back what another program took away; tell whether there was anything."""
        if not self.members:
            return False
        mended = [self._settle_firewall(family, check=True) for family in _FAMILIES]
        return any(mended)

    def follow(self) -> bool:
        """Look at the phone's network again, after it has changed; tell whether containers were led another way."""
        if not self.members:
            return False
        before = dict(self.uplinks)
        self._look()
        if self.facts != self._followed:
            self._services.look_again()
        self._choose_uplinks()
        changed = {name for name, uplink in self.uplinks.items() if uplink != before.get(name)}
        try:
            mended = [self._settle_tables(family, check=True) for family in _FAMILIES]
            self._sizes.settle()
            for name in changed:
                wiring.end_connections(self.members[name], self.own_namespace)
        except (BerthError, OSError):
            self.uplinks |= before  # what was not done for all is done with the next news
            raise
        if any(mended):
            self.keep_forwarding()
        if any(mended) or self.facts != self._followed:
            self.mend_firewall()
        self._followed = self.facts
        return bool(changed)

    def settle(self, *, check: bool = False) -> None:
        """Make rules, routes and firewall what they must be now; with `check`, look for what others took away."""
        for family in _FAMILIES:
            self._settle_tables(family, check=check)
            self._settle_firewall(family, check=check)

    def mend(self) -> None:
        """Put back what others took away, whether the kernel has told of it or not."""
        if self.changed is not None and self.members:
            forwarding.switch_on(forwarding.settings_for(ipv6=bool(self.changed.prefix6)))
            self.settle(check=True)

    def end(self) -> None:
        """Take back all that was changed on the host.  There is no member any more."""
        self._services.close()
        if self.changed is None:
            return
        self._settle_bridge()
        for family in _FAMILIES:
            self.firewalls.remove(family)  # first: what it leads to a container that has gone must find no other way
            self._tables.clear(family)
        forwarding.put_back(self.changed.sysctls)
        own = (addresses.gateway_of(self.changed.subnet), f"{self.changed.prefix6}1" if self.changed.prefix6 else "")
        forget_all(tuple(address for address in own if address))
        self.records.forget_all()
        self.changed = None

    # How.

    def _look(self) -> None:
        """Read the phone's network, unless nothing is said to have changed since."""
        if not self._looked:
            self.facts = {family: read_facts(self.netlink, family) for family in _FAMILIES}
            self._looked = True

    def _subnet(self) -> str:
        """The network of containers; one that is in use stays, whatever the phone has come to route since."""
        if self.changed is not None:
            return self.changed.subnet
        return addresses.choose_subnet(self.records.book().subnet or None, self.facts[4].routed)

    def _held(self, name: str) -> list[tuple[Wish, Lease]]:
        """What containers other than `name` have, or have reserved."""
        held = [*self.reserved.values(), *((member.wish, member.lease) for member in self.members.values())]
        return [(wish, lease) for wish, lease in held if wish.name != name]

    def _begin(self, lease: Lease) -> None:
        """Change what containers need of the host, or the first with IPv6, each thing told to the record first."""
        before, prefix6 = self.changed, lease.gateway6.removesuffix("1")
        if before is not None and (before.prefix6 or not prefix6):
            return
        wanted = forwarding.settings_for(ipv6=bool(prefix6))
        found = forwarding.found_before() if before is None else forwarding.found(wanted)
        self.changed = Changed(
            boot=boot_id(),
            namespace=os.fstat(self.own_namespace).st_ino,
            subnet=lease.subnet,
            prefix6=prefix6,
            sysctls=found if before is None else {**found, **before.sysctls},
            firewall=self.firewalls.kind,
        )
        self.records.save_changed(self.changed)
        forwarding.switch_on(wanted)
        for family in _FAMILIES if before is None else _FAMILIES[1:]:
            self.firewalls.begin(family, self.changed)

    def _settle_bridge(self) -> None:
        """Remove the bridge where nobody is on it."""
        if not any(member.wish.bridge for member in self.members.values()):
            bridge.remove(self.netlink)

    def _choose_uplinks(self) -> None:
        for name, member in self.members.items():
            self.uplinks[name] = choose_uplink(self.facts[4], member.wish.upstream)

    def _uplinks6(self) -> dict[str, Uplink]:
        return {name: choose_uplink(self.facts[6], member.wish.upstream) for name, member in self.members.items()}

    def _has_way(self, name: str) -> bool:
        """Whether container `name` may reach anything outside: a pinned uplink that is not there closes its way."""
        pinned = self.members[name].wish.upstream
        return not pinned or any(choose_uplink(facts, pinned).link for facts in self.facts.values())

    def _settle_tables(self, family: Family, *, check: bool) -> bool:
        """Make rules and routes what they must be; tell whether anything was missing."""
        assert self.changed is not None
        subnet = self.changed.subnet_of(family)
        uplinks = self.uplinks if family == 4 else self._uplinks6()
        return bool(subnet) and self._tables.settle(family, subnet, self.members.values(), uplinks, check=check)

    def _settle_firewall(self, family: Family, *, check: bool) -> bool:
        assert self.changed is not None
        own = self.facts[family].addresses if family in self.facts else ()
        return self.firewalls.settle(family, self.changed, self.members.values(), own, check=check)
