"""What may only be done to a container that does not run: save it for the first time, change its name, remove it."""

from berth import rules
from berth.engine.containers import look_up
from berth.engine.events import announce
from berth.engine.journal import RunFolder
from berth.engine.order import IMAGE_FOLDER
from berth.errors import BerthError
from berth.home import Home
from berth.kernel.mounts import read_mounts
from berth.spec import Spec
from berth.store import list_names, load_spec, save_spec
from berth.store import remove as remove_saved
from berth.store import rename as rename_saved


def create(home: Home, spec: Spec) -> None:
    """Save `spec` as a new container; raises BerthError when its name is taken or the disk refuses."""
    with RunFolder(home, rules.name("name", spec.name)).locked():
        if spec.name in list_names(home) or look_up(home, spec.name).condition != "stopped":
            raise BerthError(f"there is a container {rules.quoted(spec.name)} already; choose another name")
        save_spec(home, spec)
    announce(home, spec.name, "saved")


def change(home: Home, spec: Spec) -> None:
    """Save `spec` in the place of what was saved; a running container takes it up with its next start.

    Raises BerthError where there is no such container, or the disk refuses.
    """
    with RunFolder(home, rules.name("name", spec.name)).locked():
        if look_up(home, spec.name).condition == "stopped":
            load_spec(home, spec.name)
        save_spec(home, spec)
    announce(home, spec.name, "saved")


def rename(home: Home, old: str, new: str) -> None:
    """Give container `old` the name `new`; raises BerthError while it runs, or when `new` is taken."""
    with RunFolder(home, rules.name("container", old)).locked():
        _refuse_running(home, old, "be renamed")
        rename_saved(home, old, new)
    announce(home, old, "renamed", new)


def removable(home: Home, name: str) -> str:
    """Return the root of container `name`, which a removal leaves alone; raises BerthError where it may not go."""
    spec = load_spec(home, name)
    _refuse_running(home, name, "be removed")
    return spec.rootfs or spec.image or ""


def remove(home: Home, name: str) -> str:
    """Forget container `name` and return its root, which stays; raises BerthError while it runs."""
    with RunFolder(home, rules.name("container", name)).locked():
        root = removable(home, name)
        remove_saved(home, name)
    announce(home, name, "removed")
    return root


def _refuse_running(home: Home, name: str, what: str) -> None:
    """Raise BerthError while the container runs, or while anything of it is still mounted."""
    condition = look_up(home, name).condition
    if condition != "stopped":
        cure = f"berth stop {name}" if condition in ("running", "starting", "unattended") else "berth recover"
        raise BerthError(f'container {name}: is {condition} and can\'t {what}; run "{cure}" first')
    for place in (f"{IMAGE_FOLDER}/{name}", home.container(name)):
        mounted = next((entry.target for entry in read_mounts() if f"{entry.target}/".startswith(f"{place}/")), None)
        if mounted is not None:
            raise BerthError(f"container {name}: {mounted} is still mounted, so it can't {what}; unmount that first")
