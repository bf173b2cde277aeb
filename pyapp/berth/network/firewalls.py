"""Which firewall the phone has, and what it has to hold for the containers that are there."""

import os
import shutil
from collections.abc import Collection
from typing import Final

from berth.errors import BerthError
from berth.network import sysctls
from berth.network.addresses import gateway_of
from berth.network.firewall import Ground, Guest
from berth.network.iptables import Iptables
from berth.network.model import Changed, Family, Member

_TOOL_FOLDERS: Final = ("/system/bin", "/usr/sbin", "/sbin", "/usr/bin")
_RESTORE: Final[dict[Family, str]] = {4: "iptables-restore", 6: "ip6tables-restore"}


class Firewalls:
    """The firewall of each address family, looked for when it is first needed."""

    def __init__(self) -> None:
        self._found: dict[Family, Iptables] = {}
        self._nat6: bool | None = None

    @property
    def kind(self) -> str:
        """What keeps the rules: "iptables", or "" where there is nothing."""
        firewall = self._of(4)
        return firewall.kind if firewall else ""

    def require(self, name: str) -> None:
        """Raise BerthError where container `name` could not be kept apart from the phone's own network."""
        if self._of(4) is None:
            raise BerthError(
                f"container {name}: --net=nat needs iptables, which is not in {', '.join(_TOOL_FOLDERS)}; "
                "install it, or use --net=host"
            )

    def has_nat6(self) -> bool:
        """Tell whether containers can have IPv6 here."""
        if self._nat6 is None:
            firewall = self._of(6)
            self._nat6 = os.path.exists(sysctls.FORWARDING6) and firewall is not None and firewall.has_nat()
        return self._nat6

    def settle(
        self, family: Family, changed: Changed, members: Collection[Member], own: tuple[str, ...], *, check: bool
    ) -> None:
        """Make the rules those of `members`; with `check`, put back what another program took away.

        `own` are the phone's own addresses.  Raises BerthError.
        """
        subnet = changed.subnet_of(family)
        firewall = self._of(family)
        if not subnet or firewall is None:
            return
        ground = Ground(
            subnet=subnet,
            gateway=gateway_of(changed.subnet) if family == 4 else f"{changed.prefix6}1",
            family=family,
            addresses=own,
            guests=tuple(_guest(member, family) for member in members if family == 4 or member.lease.address6),
        )
        firewall.apply(ground, check=check)

    def missing(self, family: Family) -> tuple[str, ...]:
        """Return, in words, what another program has taken away; raises BerthError."""
        firewall = self._of(family)
        return firewall.missing() if firewall else ()

    def remove(self, family: Family) -> None:
        """Take away all of Berth's; raises BerthError."""
        if (firewall := self._of(family)) is not None:
            firewall.remove()

    def _of(self, family: Family) -> Iptables | None:
        if family not in self._found:
            found = shutil.which(_RESTORE[family], path=":".join(_TOOL_FOLDERS))
            if found is None:
                return None
            self._found[family] = Iptables(os.path.dirname(found), family)
        return self._found[family]


def _guest(member: Member, family: Family) -> Guest:
    return Guest(
        name=member.wish.name,
        link=member.link,
        address=member.lease.address if family == 4 else member.lease.address6,
        ports=member.wish.ports,
        isolated=member.wish.isolated,
    )
