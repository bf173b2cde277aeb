"""What a start would do, found out without doing any of it."""

import os
import time

from msgspec import Struct
from msgspec.structs import replace

from berth.engine import launch
from berth.engine.apart import do_apart
from berth.engine.containers import look_up
from berth.engine.inspect import read_host, read_rootfs
from berth.engine.own_mounts import take_own_mounts
from berth.errors import BerthError
from berth.home import Home
from berth.host import Host, Rootfs
from berth.kernel.mounts import MNT_DETACH, mount, umount
from berth.plan import plan
from berth.plan.cgroups import OWN_MOUNTS
from berth.plan.model import Plan
from berth.spec import Spec, StartOptions
from berth.storage.ext4 import SUPERBLOCK_END, decide_check, read_superblock
from berth.storage.images import mount_image
from berth.store import list_names, load_spec


class Preview(Struct, frozen=True, kw_only=True):
    """A plan, why the image would be checked first or not ("" for a directory), and the binds without a source.

    With `recorded` the container runs, and this is what its start did.
    """

    plan: Plan
    check: str = ""
    skipped: tuple[str, ...] = ()
    recorded: bool = False


class _Inside(Struct, frozen=True):
    rootfs: Rootfs
    check: str


def preview(home: Home, spec: Spec, options: StartOptions) -> Preview:
    """Return what starting `spec` would do.  An image is mounted read-only where nobody else sees it, to look inside.

    Raises BerthError where a start would be refused.
    """
    host = read_host(home, devices=spec.hw_access, resolvers=True)
    made = launch.check(spec, options, host)
    if made is not None:
        return Preview(plan=made, skipped=_missing(spec))
    container = look_up(home, spec.name)
    record = container.record
    if record is None or not container.runs or record.image != spec.image:
        inside = do_apart(lambda: _look_inside(spec, host), _Inside)
        check = "" if options.volatile else inside.check  # nothing is written then, so a check is mostly left out
        return Preview(plan=plan(spec, options, host, inside.rootfs), check=check, skipped=_missing(spec))
    if record.plan is not None and record.options == options and _is_saved(home, spec):
        return Preview(plan=record.plan, recorded=True)
    return Preview(plan=plan(spec, options, host, _seen_by(container.alive.pid, spec)), skipped=_missing(spec))


def _missing(spec: Spec) -> tuple[str, ...]:
    return tuple(bind.source for bind in spec.binds if not os.path.exists(bind.source))


def _is_saved(home: Home, spec: Spec) -> bool:
    """Whether `spec` is what the running container was started with: every start saves it."""
    return spec.name in list_names(home) and load_spec(home, spec.name) == spec


def _seen_by(init: int, spec: Spec) -> Rootfs:
    """The facts about the root of a running container, whose image can't be mounted a second time."""
    try:
        root = os.open(f"/proc/{init}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise BerthError(f"container {spec.name}: ended just now") from error
    try:
        # Its mount is not among ours, so its type is not told; an image is always this one.
        return replace(read_rootfs(root, spec.init, spec.image or ""), filesystem="ext4", casefold=False)
    finally:
        os.close(root)


def _look_inside(spec: Spec, host: Host) -> _Inside:
    """Mount the image in a mount namespace that ends with this process.  The folder to mount on is a tmpfs there."""
    assert spec.image is not None
    take_own_mounts()
    mount("tmpfs", OWN_MOUNTS, "tmpfs", 0, "mode=700,size=64k")
    target = f"{OWN_MOUNTS}/root"
    os.mkdir(target)
    mount_image(
        spec.image,
        target,
        policy="never",
        read_only=True,
        tools={},
        now=int(time.time()),
        node_folder=OWN_MOUNTS,
    )
    try:
        root = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            rootfs = read_rootfs(root, spec.init, spec.image)
        finally:
            os.close(root)
    finally:
        umount(target, MNT_DETACH)
    return _Inside(rootfs, _check_reason(spec))


def _check_reason(spec: Spec) -> str:
    assert spec.image is not None
    with open(spec.image, "rb") as file:
        decision = decide_check(read_superblock(file.read(SUPERBLOCK_END)), spec.fsck, int(time.time()))
    return f"{'e2fsck runs first' if decision.run else 'no e2fsck first'}: {decision.reason}"
