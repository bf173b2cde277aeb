"""Containers that are plugged into a LAN which is not Berth's: a gateway container's, or the one the phone is on.

Each may have to wait: for its gateway to start, for the Wi-Fi to come.  It is plugged in when that is there, and again
whenever it comes back.
"""

import os
from collections.abc import Callable, Mapping

from msgspec.structs import replace

from berth.errors import BerthError
from berth.home import Home
from berth.kernel.processes import boot_id
from berth.network import lan, segments
from berth.network.addresses import link_of, mac_of
from berth.network.facts import read_facts
from berth.network.messages import PlugStatus
from berth.network.model import Init, Member, Plug, Wish
from berth.network.netlink import Netlink
from berth.network.records import PlugRecords


class Plugs:
    """Plugs containers in, and takes them out again.  `members` are those with NAT: any of them may be a gateway.

    Raises BerthError and OSError.
    """

    def __init__(self, home: Home, netlink: Netlink, members: Mapping[str, Member], log: Callable[[str], None]) -> None:
        self.plugs: dict[str, Plug] = {}
        self.reserved: dict[str, Wish] = {}
        self._records = PlugRecords(home)
        self._netlink = netlink
        self._members = members
        self._log = log
        self._own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._alive: set[segments.Segment] = set()

    # What containers ask for.

    def reserve(self, wish: Wish) -> tuple[str, ...]:
        """Refuse what can't work, before anything is done; return what is worth knowing, in sentences."""
        notices = self._look_for_lan(wish) if wish.kind == "lan" else self._look_for_gateway(wish)
        self.reserved[wish.name] = wish
        return notices

    def release(self, name: str) -> None:
        """Give up what was reserved for a container that never came."""
        self.reserved.pop(name, None)

    def has(self, name: str) -> bool:
        """Tell whether container `name` is one to be plugged in."""
        return name in self.reserved or name in self.plugs

    def attach(self, name: str, init: Init) -> None:
        """Plug the network namespace of `init` in, as soon as there is something to plug it into."""
        wish = self.reserved[name] if name in self.reserved else self.plugs[name].wish
        plug = Plug(wish=wish, init=init, boot=boot_id(), namespace=os.fstat(self._own).st_ino)
        self._keep(plug)
        self.reserved.pop(name, None)
        if wish.kind == "gateway":
            segments.plug_in(self._netlink, plug, self._own)
            self._settle_segments()
        else:
            self._join_lan(plug)

    def came(self, name: str) -> None:
        """Plug in those whose gateway is container `name`, which has a new network namespace."""
        if any(plug.wish.gateway == name for plug in self.plugs.values()):
            segments.forget_gateway(self._netlink, name)
            self._settle_segments()

    def detach(self, name: str) -> None:
        """Take container `name` out, as a client and as a gateway; one that is neither is fine."""
        self.reserved.pop(name, None)
        plug = self.plugs.pop(name, None)
        if plug is not None:
            if plug.wish.kind == "gateway":
                segments.unplug(self._netlink, plug)
            else:
                lan.unplug(plug, self._own)
        segments.forget_gateway(self._netlink, name)
        self._settle_segments(without=name)
        self._records.forget(name)

    # What holds for all of them.

    def take_over(self) -> None:
        """Go on where a net process that was killed has left off."""
        here = (boot_id(), os.fstat(self._own).st_ino)
        for plug in self._records.read():
            if (plug.boot, plug.namespace) == here:
                self.plugs[plug.wish.name] = plug
            else:
                self._records.forget(plug.wish.name)
        self.follow()

    def follow(self) -> None:
        """Look at the phone's network again, after it has changed."""
        self._settle_segments()
        for plug in [plug for plug in self.plugs.values() if plug.wish.kind == "lan"]:
            if not lan.is_plugged(plug, self._own):
                self._join_lan(plug)

    def status(self) -> tuple[PlugStatus, ...]:
        """Return what there is to tell of each."""
        return tuple(self._status(plug) for _, plug in sorted(self.plugs.items()))

    # How.

    def _look_for_gateway(self, wish: Wish) -> tuple[str, ...]:
        others = [*self.reserved.values(), *(plug.wish for plug in self.plugs.values())]
        segments.refuse_other_link(wish, others)
        gateway = self._gateways().get(wish.gateway)
        if gateway is None:
            return (f"its gateway {wish.gateway} does not run; it has no network until that starts",)
        try:
            taken = segments.is_taken(wish, gateway, self._own)
        except FileNotFoundError:
            return (f"its gateway {wish.gateway} ends just now; it has no network until that starts again",)
        if taken:
            raise BerthError(
                f"container {wish.name}: {wish.gateway} has an interface {wish.gateway_iface} already; "
                "name another one with --gateway-iface"
            )
        return ()

    def _look_for_lan(self, wish: Wish) -> tuple[str, ...]:
        facts = read_facts(self._netlink)
        parent = lan.choose_parent(facts, wish)
        if parent is None:
            what = "the phone is on no LAN" if wish.lan_iface is None else f"no {wish.lan_iface} is up"
            return (f"{what} now; the container has no network until one is there",)
        lan.static_of(facts, wish, parent)
        return ()

    def _join_lan(self, plug: Plug) -> None:
        facts = read_facts(self._netlink)
        parent = lan.choose_parent(facts, plug.wish)
        if parent is None:
            return
        static = lan.static_of(facts, plug.wish, parent)
        try:
            kind = lan.plug_in(self._netlink, plug, parent, static, self._own)
        except FileNotFoundError:
            return  # it ends just now
        self._keep(replace(plug, link=kind, parent=parent.name))

    def _keep(self, plug: Plug) -> None:
        self._records.save(plug)
        self.plugs[plug.wish.name] = plug

    def _settle_segments(self, without: str = "") -> None:
        clients = [plug for plug in self.plugs.values() if plug.wish.kind == "gateway"]
        gateways = {name: init for name, init in self._gateways().items() if name != without}
        alive = segments.settle(self._netlink, clients, gateways, self._own)
        for segment in self._alive ^ alive:
            self._log(f"LAN {segment.net} of {segment.gateway}: {'is there' if segment in alive else 'is dead'}")
        self._alive = alive

    def _gateways(self) -> dict[str, Init]:
        """The init of every container that has a network of its own, by name."""
        return {
            **{name: member.init for name, member in self._members.items()},
            **{name: plug.init for name, plug in self.plugs.items()},
        }

    def _status(self, plug: Plug) -> PlugStatus:
        wish = plug.wish
        if wish.kind == "gateway":
            there = segments.segment_of(wish) in self._alive
            state = f"at its {wish.gateway_iface}" if there else "which does not run, so it has no network"
            return PlugStatus(
                name=wish.name,
                kind="gateway",
                link=link_of(wish.name),
                mac=mac_of(wish.name),
                connected=there,
                told=f"LAN {wish.gateway_net} of {wish.gateway}, {state}",
            )
        there = lan.is_plugged(plug, self._own)
        told = f"{plug.link} on {plug.parent}" if there else "waits for a LAN"
        mac = mac_of(wish.name) if plug.link == "macvlan" else ""
        return PlugStatus(name=wish.name, kind="lan", link=plug.parent, mac=mac, connected=there, told=told)
