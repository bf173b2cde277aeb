"""A container's ports with some added and some removed: decided from the list alone."""

from collections.abc import Iterable

from berth.errors import BerthError
from berth.spec import Port


def changed_list(
    name: str, ports: tuple[Port, ...], add: Iterable[Port] = (), remove: Iterable[Port] = ()
) -> tuple[Port, ...]:
    """Return `ports` of container `name` without those that `remove` names, and with those of `add` behind the rest.

    One is named by what the phone has of it; what is given beyond that must be so, too.  Raises BerthError for one that
    is there already, or is not.
    """
    left = list(ports)
    for port in remove:
        found = next((held for held in left if _names(port, held)), None)
        if found is None:
            shown = ", ".join(notation(held) for held in left) or "none"
            raise BerthError(f"container {name}: port {notation(port)} is not among those it shows ({shown})")
        left.remove(found)
    for port in add:
        if port in left:
            raise BerthError(f"container {name}: port {notation(port)} is shown already")
        left.append(port)
    return tuple(left)


def notation(port: Port) -> str:
    """Return `port` as `--port` takes it, the protocol always told."""
    where = f"[{port.bind}]:" if port.bind and ":" in port.bind else f"{port.bind}:" if port.bind else ""
    return f"{where}{_range(port.host, port.count)}:{_range(port.container, port.count)}/{port.protocol}"


def _names(wanted: Port, held: Port) -> bool:
    """Whether `wanted`, where 8080 may stand for 8080:80, means `held`."""
    same = (wanted.host, wanted.count, wanted.protocol) == (held.host, held.count, held.protocol)
    return same and wanted.container in (held.container, wanted.host) and wanted.bind in (held.bind, None)


def _range(first: int, count: int) -> str:
    return str(first) if count == 1 else f"{first}-{first + count - 1}"
