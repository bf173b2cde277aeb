"""Starting a container: everything that can be refused is refused here, before anything is done."""

import contextlib
import os
import stat
from collections.abc import Iterator

from msgspec.structs import replace

from berth.engine import probation, rest
from berth.engine.containers import look_up
from berth.engine.gateways import refuse_useless_gateway
from berth.engine.inspect import read_host, read_rootfs
from berth.engine.journal import RunFolder
from berth.engine.network import join
from berth.engine.order import Order, Started, StartFailed
from berth.engine.recover import clear_remains
from berth.engine.stages import reached
from berth.engine.zygote import Expected
from berth.errors import BerthError
from berth.host import Host, Rootfs
from berth.kernel.call import explain
from berth.plan import plan
from berth.plan.model import Plan
from berth.spec import JOINED, Spec, StartOptions
from berth.storage.kinds import way_out
from berth.store import Home, saved_unless


def start(home: Home, spec: Spec, options: StartOptions, *, on_probation: bool = False) -> Started:
    """Start `spec`, save it under its name, and return what came of it once init has been executed.

    With `on_probation` a marker names it from before that until it has ended, or the service takes the marker away.
    Raises BerthError in one sentence, with nothing done or everything undone: it runs already, there is no init, the
    plan can't work on this device, a step failed.
    """
    folder = RunFolder(home, spec.name)
    try:
        with folder.locked() as lock:
            reached("locked")
            rest.forget(home, spec.name)
            _refuse_second_start(home, spec.name)
            if troubles := clear_remains(home, spec.name):
                raise BerthError(f"container {spec.name}: an earlier run left something behind: {troubles[0]}")
            marked = _marked_unless_it_fails(home, spec.name) if on_probation else contextlib.nullcontext()
            with marked, Expected(home, spec.name, lock) as monitor:
                return _order(home, spec, options, monitor)
    except OSError as error:
        raise BerthError(f"container {spec.name}: {explain(error)}") from error


@contextlib.contextmanager
def _marked_unless_it_fails(home: Home, name: str) -> Iterator[None]:
    """Mark the container; only under its lock is it sure that nobody is about to take away an earlier run's marker."""
    try:
        probation.mark(home, name)
        yield
    except (BerthError, OSError):
        with contextlib.suppress(OSError):
            probation.unmark(home, name)
        raise


def _order(home: Home, spec: Spec, options: StartOptions, monitor: Expected) -> Started:
    host = read_host(home, devices=spec.hw_access, resolvers=True)
    decided = check(spec, options, host)
    refuse_useless_gateway(home, spec)
    member = join(home, spec) if spec.net in JOINED else None
    if member is not None and member.lease is not None:
        host, decided = replace(host, lease=member.lease), None  # what it has on the network decides too
    notices = member.notices if member is not None else ()
    order = Order(state=home.state, run=home.run, spec=spec, options=options, host=host, plan=decided, notices=notices)
    with saved_unless(StartFailed, home, spec):
        return monitor.carry_out(order, member)


def _refuse_second_start(home: Home, name: str) -> None:
    container = look_up(home, name)
    if container.condition in ("running", "starting"):
        raise BerthError(f'container {name}: is {container.condition} already; see "berth info {name}"')
    if container.condition == "unattended":
        raise BerthError(f'container {name}: runs without its monitor; run "berth recover", or stop it first')


def check(spec: Spec, options: StartOptions, host: Host) -> Plan | None:
    """Plan `spec` as far as can be seen without mounting anything: an image's inside can't, so that gives None.

    Raises BerthError.
    """
    if spec.rootfs is not None:
        return plan(spec, options, host, read_folder(spec.rootfs, spec.init))
    if spec.image is None:
        raise BerthError(f'container {spec.name}: has no root file system; name one with "--rootfs" or "--rootfs-img"')
    try:
        found = os.stat(spec.image)
    except OSError as error:
        raise BerthError(f"image {spec.image}: {error.strerror}; check the path") from error
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISBLK(found.st_mode)):
        raise BerthError(f'image {spec.image}: is neither a file nor a block device; for a folder use "--rootfs"')
    return None


def read_folder(path: str, init: str) -> Rootfs:
    """Return the facts about the root file system in folder `path`; raises BerthError."""
    try:
        root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except NotADirectoryError as error:
        raise BerthError(f"rootfs {path}: is not a folder; {_instead_of(path)}") from error
    except OSError as error:
        raise BerthError(f"rootfs {path}: {error.strerror}; check the path") from error
    try:
        return read_rootfs(root, init, path)
    finally:
        os.close(root)


def _instead_of(path: str) -> str:
    """Return what to do about what is no folder."""
    head = b""
    if os.path.isfile(path):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            head = file.read(1024)
    return way_out(head, 'for an image file use "--rootfs-img"')
