"""The API's route for the container that comes with Berth: a newcomer's first."""

import os
from pathlib import Path

from berth import rules
from berth.engine import at_rest
from berth.engine.containers import all_names
from berth.errors import BerthError
from berth.spec import Name, Spec
from berth.web.containers import container_of
from berth.web.models import Container, Request
from berth.web.routes import Call


class DemoRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the demo is to be called."""

    name: Name


def make(call: Call) -> Container:
    """Make the demo's root file system, unless an earlier demo of that name left it, and save the container.

    Raises BerthError where the name is taken, or there is no BusyBox to make it of.
    """
    name = rules.name("name", call.body.name)
    if name in all_names(call.home):
        raise BerthError(f"there is a container {rules.quoted(name)} already; choose another name")
    root = Path(call.home.state, "rootfs", name)
    if not root.exists():
        _make_rootfs(root)
    at_rest.create(call.home, Spec(name=name, rootfs=str(root)))
    return container_of(call.home, name)


def _make_rootfs(root: Path) -> None:
    from demo import busybox

    if not os.access(busybox.BUSYBOX, os.X_OK):
        raise BerthError(f"demo: it is made of {busybox.BUSYBOX}, which is not here; install Debian's busybox-static")
    root.parent.mkdir(mode=0o700, exist_ok=True)
    busybox.make_rootfs(root)
