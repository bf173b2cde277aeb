"""What is wrong with the network of a container, looked for from inside to outside."""

from berth.engine import network
from berth.engine.apart import do_apart
from berth.engine.containers import look_up_alive
from berth.engine.inspect import read_host
from berth.errors import BerthError
from berth.home import Home
from berth.network.diagnosis import Check, Findings, judge
from berth.network.model import Init


def diagnose(home: Home, name: str) -> tuple[Check, ...]:
    """Return the pieces of container `name`'s way out, up to the first that is broken.

    Raises BerthError where it does not run, or has no network of its own.
    """
    alive = look_up_alive(home, name)
    if alive.plan.lease is None:
        if alive.plan.network in ("lan", "gateway"):
            return _plugged(home, name)
        kind = "no network" if "network" in alive.plan.namespaces else "the phone's own network"
        raise BerthError(f"container {name}: has {kind}; only a way of its own, by --net=nat, can be looked along")
    member = next((member for member in network.status(home).members if member.name == name), None)
    if member is None:
        found = "the net process does not know the container"
        return (Check(piece="network", whole=False, found=found, cure=f'run "berth restart {name}"'),)
    missing = network.missing(home)
    servers = read_host(resolvers=True).dns

    def look() -> Findings:
        from berth.network.inquiry import inquire  # brings pyroute2 in, which is gone with this process

        return inquire(member, Init(alive.pid, alive.started), servers, missing)

    return judge(do_apart(look, Findings))


def _plugged(home: Home, name: str) -> tuple[Check, ...]:
    """The one piece that is Berth's: what is behind it belongs to the LAN."""
    plug = next((plug for plug in network.status(home).plugs if plug.name == name), None)
    if plug is None:
        found = "the net process does not know the container"
        return (Check(piece="network", whole=False, found=found, cure=f'run "berth restart {name}"'),)
    cure = "start its gateway" if plug.kind == "gateway" else "switch the Wi-Fi on, or name an interface by --lan-iface"
    return (Check(piece="link", whole=plug.connected, found=plug.told, cure="" if plug.connected else cure),)
