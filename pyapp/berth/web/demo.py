"""The API's route for the container that comes with Berth."""

from berth.engine.demo import make_demo
from berth.spec import Name
from berth.web.containers import container_of
from berth.web.models import Container, Request
from berth.web.routes import Call


class DemoRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the demo is to be called."""

    name: Name


def make(call: Call) -> Container:
    """Make the demo; raises BerthError where the name is taken, or there is no BusyBox to make it of."""
    return container_of(call.home, make_demo(call.home, call.body.name).name)
