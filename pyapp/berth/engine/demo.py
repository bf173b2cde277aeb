"""The container that comes with Berth: a newcomer's first."""

import os
from pathlib import Path

from berth import rules
from berth.engine import at_rest
from berth.engine.containers import all_names
from berth.errors import BerthError
from berth.home import Home
from berth.spec import Spec


def make_demo(home: Home, name: str) -> Spec:
    """Make the demo's root file system, unless an earlier demo of that name left it, and save the container.

    Raises BerthError where the name is taken, or there is no BusyBox to make it of.
    """
    rules.name("name", name)
    if name in all_names(home):
        raise BerthError(f"there is a container {rules.quoted(name)} already; choose another name")
    root = Path(home.state, "rootfs", name)
    if not root.exists():
        _make_rootfs(root)
    spec = Spec(name=name, rootfs=str(root))
    at_rest.create(home, spec)
    return spec


def _make_rootfs(root: Path) -> None:
    from demo import busybox

    if not os.access(busybox.BUSYBOX, os.X_OK):
        raise BerthError(f"demo: it is made of {busybox.BUSYBOX}, which is not here; install Debian's busybox-static")
    root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    busybox.make_rootfs(root)
