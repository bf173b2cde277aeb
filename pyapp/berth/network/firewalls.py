"""Which firewall the phone has, and what it has to hold for the containers that are there."""

import contextlib
import os
import shutil
from collections.abc import Collection, Iterator
from typing import Final

from berth.errors import BerthError
from berth.network import sysctls
from berth.network.addresses import gateway_of
from berth.network.firewall import Ground, Guest, most_connections
from berth.network.iptables import Iptables
from berth.network.model import Changed, Family, Member
from berth.network.nftables import Nftables
from berth.network.tools import FOLDERS

_RESTORE: Final[dict[Family, str]] = {4: "iptables-restore", 6: "ip6tables-restore"}

Firewall = Iptables | Nftables


class Firewalls:
    """The firewall of each address family, looked for when it is first needed."""

    def __init__(self) -> None:
        self._kind: str | None = None
        self._found: dict[Family, Firewall | None] = {}
        self._nat6: bool | None = None

    @property
    def kind(self) -> str:
        """What keeps the rules: "iptables" where that works, else "nftables", or "" where there is nothing."""
        if self._kind is None:
            usable = (firewall.kind for firewall in self._candidates(4) if firewall.has_nat())
            self._kind = next(usable, "")
        return self._kind

    def remember(self, kind: str, nat6: bool | None = None) -> None:
        """Go on with what an earlier net process has found in this boot, if it is still there."""
        self._kind, self._nat6 = kind or None, nat6
        if self._of(4) is None:
            self._kind, self._nat6 = None, None
            self._found.clear()

    def require(self, name: str) -> None:
        """Raise BerthError where container `name` could not be kept apart from the phone's own network."""
        if not self.kind:
            raise BerthError(
                f"container {name}: --net=nat needs iptables, which does not work or is not in "
                f"{FOLDERS.replace(':', ', ')}, or a kernel with nftables; use --net=host"
            )

    def has_nat6(self) -> bool:
        """Tell whether containers can have IPv6 here."""
        if self._nat6 is None:
            firewall = self._of(6)
            self._nat6 = os.path.exists(sysctls.FORWARDING6) and firewall is not None and firewall.has_nat()
        return self._nat6

    @property
    def ports(self) -> tuple[int, ...]:
        """The netlink addresses from which rules are changed here."""
        return tuple(firewall.port for firewall in self._found.values() if isinstance(firewall, Nftables))

    def begin(self, family: Family, changed: Changed) -> None:
        """Make what is needed for any container, where nothing of Berth's is yet.  Raises BerthError."""
        firewall = self._of(family)
        if changed.subnet_of(family) and firewall is not None:
            firewall.begin(_ground(family, changed, (), ()))

    def settle(
        self, family: Family, changed: Changed, members: Collection[Member], own: tuple[str, ...], *, check: bool
    ) -> bool:
        """Make the rules those of `members`; with `check`, put back what another program took away.

        `own` are the phone's own addresses.  Tells whether anything had to be done.  Raises BerthError.
        """
        firewall = self._of(family)
        if not changed.subnet_of(family) or firewall is None:
            return False
        return firewall.apply(_ground(family, changed, members, own), check=check)

    def missing(self, family: Family) -> tuple[str, ...]:
        """Return, in words, what another program has taken away; raises BerthError."""
        firewall = self._of(family)
        return firewall.missing() if firewall else ()

    def remove(self, family: Family) -> None:
        """Take away all of Berth's; raises BerthError."""
        if (firewall := self._of(family)) is not None:
            firewall.remove()

    def _of(self, family: Family) -> Firewall | None:
        if family not in self._found:
            candidates = (firewall for firewall in self._candidates(family) if firewall.kind == self.kind)
            self._found[family] = next(candidates, None)
        return self._found[family]

    @staticmethod
    def _candidates(family: Family) -> Iterator[Firewall]:
        found = shutil.which(_RESTORE[family], path=FOLDERS)
        if found is not None:
            yield Iptables(os.path.dirname(found), family)
        with contextlib.suppress(OSError):  # a kernel without netfilter's netlink
            yield Nftables(family)


def _ground(family: Family, changed: Changed, members: Collection[Member], own: tuple[str, ...]) -> Ground:
    return Ground(
        subnet=changed.subnet_of(family),
        gateway=gateway_of(changed.subnet) if family == 4 else f"{changed.prefix6}1",
        most=most_connections(sysctls.read(sysctls.MOST_CONNECTIONS)),
        family=family,
        addresses=own,
        guests=tuple(_guest(member, family) for member in members if family == 4 or member.lease.address6),
    )


def _guest(member: Member, family: Family) -> Guest:
    return Guest(
        name=member.wish.name,
        link=member.way,
        address=member.lease.address if family == 4 else member.lease.address6,
        ports=member.wish.ports,
        isolated=member.wish.isolated,
        bridged=member.wish.bridge,
    )
