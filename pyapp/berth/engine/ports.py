"""A container's ports, changed while it runs and for its next start alike."""

from msgspec.structs import replace

from berth.engine import network
from berth.engine.containers import look_up
from berth.engine.events import announce
from berth.engine.journal import RunFolder
from berth.errors import BerthError, UsageError
from berth.home import Home
from berth.network.port_list import changed_list
from berth.spec import Port, Spec, checked
from berth.store import load_spec, save_spec


def change_ports(home: Home, name: str, *, add: tuple[Port, ...] = (), remove: tuple[Port, ...] = ()) -> Spec:
    """Show `add` and hide `remove`, at once where container `name` runs, and save that; return the spec as saved.

    Raises BerthError before anything is changed: a port is taken, is shown already or is not shown.
    """
    with RunFolder(home, name).locked():
        spec = load_spec(home, name)
        if spec.net != "nat":
            raise BerthError(f"container {name}: has no ports to show, for it is saved with --net={spec.net}")
        try:
            wanted = checked(replace(spec, ports=changed_list(name, spec.ports, add, remove)))
        except UsageError as error:
            raise BerthError(f"container {name}: {error}") from error
        container = look_up(home, name)
        running = container.runs and container.alive.plan.lease is not None
        if running:
            network.change_ports(home, name, add=add, remove=remove)
        try:
            save_spec(home, wanted)
        except BerthError:
            if running:
                network.change_ports(home, name, add=remove, remove=add)
            raise
    announce(home, name, "saved")
    return wanted
