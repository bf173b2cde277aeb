"""What the net process itself does for containers: DHCP, names, ports on the phone's loopback."""

from collections.abc import Callable, Mapping

from berth.kernel.call import explain
from berth.network.addresses import BRIDGE
from berth.network.datagrams import send_by
from berth.network.dhcp import CLIENT_PORT, SERVER_PORT, Offer, Reply
from berth.network.dhcp_server import DhcpServer
from berth.network.loop import Loop
from berth.network.loopback import LoopbackPorts
from berth.network.model import Member
from berth.network.names import DOMAIN, Hosts
from berth.network.resolver import Resolver, resolv_conf_servers
from berth.network.servers import Read, Servers


class Services:
    """Starts and ends them with the containers; one that can't be had is complained of, and the rest go on.

    `members` are those on the network, by name; `mtu_of` tells what a container's link has now, `has_way` whether there
    is any way out for it; `read_servers` finds out the phone's name servers where /etc/resolv.conf does not tell them.
    """

    def __init__(
        self,
        loop: Loop,
        members: Mapping[str, Member],
        *,
        mtu_of: Callable[[str], int],
        has_way: Callable[[str], bool],
        complain: Callable[[str], None],
        read_servers: Read | None,
    ) -> None:
        self._loop = loop
        self._servers = Servers(loop, read_servers) if read_servers else None
        self._members = members
        self._mtu_of = mtu_of
        self._has_way = has_way
        self._complain = complain
        self._resolver: Resolver | None = None
        self._dhcp: dict[str, DhcpServer] = {}
        self._bridge_dhcp: DhcpServer | None = None
        self._ports: dict[str, LoopbackPorts] = {}

    def add(self, member: Member) -> None:
        """Serve `member`, whose link is there; one that comes again is served on its new link."""
        name = member.wish.name
        self.remove(name)
        if self._resolver is None:
            try:
                self._resolver = Resolver(self._loop, member.lease.gateway, self._hosts_of, self._servers_of)
                self.look_again()
            except OSError as error:
                self._complain(f"names can't be resolved at {member.lease.gateway}: {explain(error)}")
        try:
            self._serve_dhcp(member)
        except OSError as error:
            self._complain(f"container {name}: DHCP can't be served: {explain(error)}")

        def complain(what: str) -> None:
            self._complain(f"container {name}: {what}")

        self._ports[name] = LoopbackPorts(self._loop, member.lease.address, complain)
        self.change_ports(member)

    def change_ports(self, member: Member) -> None:
        """Have the phone's loopback show the ports that `member` wants by now, and no others."""
        self._ports[member.wish.name].show(member.wish.ports)

    def look_again(self) -> None:
        """Find out which name servers the phone has now, where a file does not tell.  Raises OSError."""
        if self._servers is not None:
            self._servers.look_again()

    def remove(self, name: str) -> None:
        """Serve container `name` no more."""
        if (dhcp := self._dhcp.pop(name, None)) is not None:
            dhcp.close()
        if self._bridge_dhcp is not None and not self._bridged():
            self._bridge_dhcp.close()
            self._bridge_dhcp = None
        if (ports := self._ports.pop(name, None)) is not None:
            ports.close()

    def close(self) -> None:
        """End what was there for all."""
        if self._resolver is not None:
            self._resolver.close()
            self._resolver = None

    def _serve_dhcp(self, member: Member) -> None:
        if not member.wish.bridge:
            self._dhcp[member.wish.name] = DhcpServer(self._loop, member.link, lambda _: self._offer(member))
        elif self._bridge_dhcp is None:
            self._bridge_dhcp = DhcpServer(self._loop, BRIDGE, self._offer_on_bridge, self._send_on_bridge)

    def _offer_on_bridge(self, mac: bytes) -> Offer | None:
        found = self._bridged().get(mac)
        return None if found is None else self._offer(found)

    def _send_on_bridge(self, mac: bytes, reply: Reply) -> None:
        member = self._bridged()[mac]
        send_by(member.link, mac, (member.lease.gateway, SERVER_PORT), (reply.address, CLIENT_PORT), reply.data)

    def _bridged(self) -> dict[bytes, Member]:
        """Those on the bridge, by their MAC addresses, which nobody there can lie about."""
        bridged = (member for member in self._members.values() if member.wish.bridge)
        return {bytes.fromhex(member.lease.mac.replace(":", "")): member for member in bridged}

    def _offer(self, member: Member) -> Offer:
        servers = tuple(server for server in member.wish.dns if ":" not in server)
        return Offer(
            address=member.lease.address,
            subnet=member.lease.subnet,
            gateway=member.lease.gateway,
            servers=servers or (member.lease.gateway,),
            hostname=member.wish.hostname,
            domain=DOMAIN,
            mtu=self._mtu_of(member.wish.name),
        )

    def _servers_of(self, address: str) -> tuple[str, ...]:
        """The phone's own; none for one whose way is closed: its questions would leave by another one."""
        asking = self._at(address)
        if asking is None or not self._has_way(asking.wish.name):
            return ()
        return self._servers.now() if self._servers else resolv_conf_servers()

    def _at(self, address: str) -> Member | None:
        return next((member for member in self._members.values() if member.lease.address == address), None)

    def _hosts_of(self, address: str) -> Hosts | None:
        asking = self._at(address)
        if asking is None:
            return None
        seen = [
            member
            for member in self._members.values()
            if member is asking or not (member.wish.isolated or asking.wish.isolated)
        ]
        first, second, *_ = asking.lease.subnet.split(".")
        return Hosts(
            addresses={member.wish.name.lower(): _addresses(member, asking) for member in seen},
            network=f"{first}.{second}.",
        )


def _addresses(member: Member, asking: Member) -> tuple[str, ...]:
    six = member.lease.address6 if asking.lease.address6 else ""
    return (member.lease.address, six) if six else (member.lease.address,)
