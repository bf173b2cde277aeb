"""How large packets may be on the links of containers: what fits their way out."""

from collections.abc import Mapping
from typing import Final

from berth.network import wiring
from berth.network.model import Member, Uplink
from berth.network.netlink import Netlink

_LEAST: Final = 1280  # of IPv6


class Sizes:
    """Gives links their MTU, and knows which they have.  `members` and `uplinks` are by name, and followed."""

    def __init__(
        self, netlink: Netlink, members: Mapping[str, Member], uplinks: Mapping[str, Uplink], own_namespace: int
    ) -> None:
        self._netlink = netlink
        self._members = members
        self._uplinks = uplinks
        self._own = own_namespace
        self._there: dict[str, int] = {}

    def of(self, name: str) -> int:
        """Return that of its uplink; those on the bridge send to each other what none may find too large."""
        alike = {name}
        if self._members[name].wish.bridge:
            alike |= {other for other, member in self._members.items() if member.wish.bridge}
        return max(min(self._uplinks[other].mtu for other in alike), _LEAST)

    def made(self, name: str, size: int) -> None:
        """Know that the link of container `name` was just made with `size`."""
        self._there[name] = size

    def settle(self) -> None:
        """Change those that must be another now; raises KernelError."""
        for name, member in self._members.items():
            wanted = self.of(name)
            if member.index and self._there.get(name) != wanted:  # else its link was still to be made, at a crash
                wiring.set_mtu(self._netlink, member, wanted, self._own)
                self._there[name] = wanted
