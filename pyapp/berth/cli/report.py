"""Commands that tell of several containers, and the version: list, show, version."""

import os

from msgspec import Struct

from berth import __version__
from berth.amounts import duration, size
from berth.cli.flags import Invocation
from berth.cli.layout import Column, table
from berth.cli.output import print_json, room
from berth.engine import containers
from berth.engine.containers import Container
from berth.engine.usage import Usage, read_usage
from berth.errors import BerthError
from berth.home import Home, find_home
from berth.service.session import Session
from berth.spec import Network
from berth.store import load_spec

LIST_COLUMNS = (Column("NAME"), Column("STATE"), Column("ROOT", optional=True))
SHOW_COLUMNS = (
    Column("NAME"),
    Column("PID", right=True),
    Column("UP", right=True),
    Column("MEM", right=True),
    Column("CPU", right=True),
    Column("NET", optional=True),
)


class Running(Struct, frozen=True, kw_only=True):
    """A running container; `address` is the one that Berth gave it, None where it gave none."""

    name: str
    state: containers.Condition
    pid: int
    usage: Usage
    network: Network
    address: str | None = None


def version(invocation: Invocation, session: Session) -> int:
    """`berth version`."""
    if invocation.json:
        print_json({"version": __version__})
    else:
        print(f"berth {__version__}")
    return 0


def list_all(invocation: Invocation, session: Session) -> int:
    """`berth list`: every container; with `--names` nothing is looked at but the folders."""
    home = find_home(os.environ)
    names = containers.all_names(home)
    if invocation.switch("names"):
        if invocation.json:
            print_json(names)
        else:
            print("".join(f"{name}\n" for name in names), end="")
        return 0
    listed = [containers.look_up(home, name) for name in names]
    rows = [(container.name, container.condition, _root(home, container)) for container in listed]
    if invocation.json:
        print_json([{"name": name, "state": state, "rootfs": root or None} for name, state, root in rows])
    elif rows:
        print("\n".join(table(LIST_COLUMNS, rows, room(session))))
    else:
        print('there are no containers yet; "berth start --rootfs DIR" makes one')
    return 0


def _root(home: Home, container: Container) -> str:
    """Its directory or image; "" where its file can't be read: what is wrong with it, `info` tells."""
    if container.record is not None and (container.record.rootfs or container.record.image):
        return container.record.rootfs or container.record.image
    try:
        spec = load_spec(home, container.name)
    except BerthError:
        return ""
    return spec.rootfs or spec.image or ""


def show(invocation: Invocation, session: Session) -> int:
    """`berth show`: the running containers and what they use."""
    home = find_home(os.environ)
    found = [containers.look_up(home, name) for name in containers.recorded_names(home)]
    told = [_running(container) for container in found if container.runs]
    if invocation.json:
        print_json(told)
    elif told:
        print("\n".join(table(SHOW_COLUMNS, map(_row, told), room(session))))
    else:
        print("no container runs")
    return 0


def _running(container: Container) -> Running:
    alive = container.alive
    return Running(
        name=container.name,
        state=container.condition,
        pid=alive.pid,
        usage=read_usage(container),
        network=alive.plan.network,
        address=alive.plan.lease.address if alive.plan.lease else None,
    )


def _row(told: Running) -> tuple[str, ...]:
    usage = told.usage
    times = duration(usage.uptime), duration(usage.cpu_time)
    return told.name, str(told.pid), times[0], size(usage.memory), times[1], told.address or told.network
