"""All that can be told of one container: what was asked for, what is in force, and how it does."""

import os

from msgspec import Struct

from berth.android.wakelocks import is_held
from berth.engine import cgroups
from berth.engine.containers import Container, look_up
from berth.engine.inspect import read_host
from berth.engine.journal import State
from berth.engine.network import traffic
from berth.engine.order import IMAGE_FOLDER
from berth.engine.usage import Usage, read_usage
from berth.errors import BerthError
from berth.home import Home
from berth.host import Host, InitKind, Rootfs
from berth.kernel.capabilities import NUMBERS
from berth.kernel.mounts import MountEntry, read_mounts
from berth.kernel.processes import status_field
from berth.network.model import Traffic
from berth.plan import plan
from berth.plan.capabilities import withheld
from berth.plan.model import DevicePolicy, Plan
from berth.rules import CAPABILITIES
from berth.spec import Bind, Network, Spec, StartOptions, WakelockPolicy
from berth.store import last_end, list_names, load_spec


class Image(Struct, frozen=True, kw_only=True):
    """A container's image; `device` is where it is mounted from (a loop device), None while it is not."""

    path: str
    device: str | None = None
    read_only: bool = False


class Group(Struct, frozen=True):
    """One of its cgroups, and the limits set there."""

    path: str
    limits: dict[str, str]


class SyscallFilter(Struct, frozen=True):
    """System calls that are answered with `errno`, and why."""

    names: tuple[str, ...]
    errno: str
    reason: str


class Details(Struct, frozen=True, kw_only=True):
    """One container.  While it does not run, what would be in force is told as far as that needs no look inside.

    `started_at` is in seconds since the epoch; `rootfs` is its directory, or the image; `address` is that of its own
    network, None on the host's; `traffic` is counted at its link to the device; `saved` is whether it is there to be
    started again; `options` is what its start was given beside its saved settings; `wakelock` is the policy, `awake`
    whether its wakelock is held now.
    """

    name: str
    state: str
    pid: int | None = None
    monitor_pid: int | None = None
    rootfs: str | None = None
    init: str | None = None
    started_at: float | None = None
    address: str | None = None
    traffic: Traffic | None = None
    skipped: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    last_end: str | None = None
    saved: bool = True
    hostname: str | None = None
    init_kind: InitKind | None = None
    image: Image | None = None
    volatile: bool = False
    options: StartOptions | None = None
    usage: Usage | None = None
    network: Network | None = None
    binds: tuple[Bind, ...] = ()
    namespaces: tuple[str, ...] = ()
    cgroups: tuple[Group, ...] = ()
    devices: DevicePolicy | None = None
    capabilities: tuple[str, ...] = ()
    withheld: dict[str, str] = {}
    seccomp: tuple[SyscallFilter, ...] = ()
    autostart: bool = False
    start_after: tuple[str, ...] = ()
    oom_score_adj: int | None = None
    wakelock: WakelockPolicy = "never"
    awake: bool = False
    selinux_permissive: bool = False


def read_details(home: Home, name: str) -> Details:
    """Return what there is to tell of container `name`.

    Raises BerthError, as `load_spec` does, where there is neither a saved container nor a running one.
    """
    container = look_up(home, name)
    record = container.record
    saved = name in list_names(home)
    spec = load_spec(home, name) if saved or record is None else _spec_of(record)
    made, objection = _plan_in_force(home, container, spec)
    kept = _kept(container, made) if made else ()
    warnings = (*(record.warnings if record else ()), *(made.warnings if made else ()), *objection)
    return Details(
        name=name,
        state=container.condition,
        pid=container.alive.pid if container.runs else None,
        monitor_pid=_monitor(container),
        rootfs=(record.rootfs or record.image if record else None) or spec.rootfs or spec.image,
        init=made.argv[0] if made else spec.init,
        started_at=record.started_at if record and record.started_at else None,
        skipped=record.skipped if record else (),
        warnings=tuple(dict.fromkeys(warnings)),
        last_end=last_end(home, name),
        saved=saved,
        hostname=made.hostname if made else spec.hostname or name,
        init_kind=made.init_kind if made and container.runs else None,
        image=_image(container, spec),
        volatile=record.options.volatile if record else False,
        options=record.options if record else None,
        usage=read_usage(container) if container.runs else None,
        network=made.network if made else spec.net,
        address=made.lease.address if made and made.lease else None,
        traffic=traffic(home, name) if container.runs and made and made.lease else None,
        binds=spec.binds,
        namespaces=made.namespaces if made else (),
        cgroups=_groups(made) if made else (),
        devices=made.devices if made else None,
        capabilities=kept,
        withheld=_withheld(spec, made, kept) if made else {},
        seccomp=tuple(SyscallFilter(rule.names, rule.errno, rule.reason) for rule in made.syscall_rules)
        if made
        else (),
        autostart=spec.autostart,
        start_after=spec.start_after,
        oom_score_adj=made.oom_score_adj if made else None,
        wakelock=made.wakelock.policy if made and made.wakelock else "never",
        awake=bool(container.runs and made and made.wakelock and is_held(made.wakelock.name)),
        selinux_permissive=made.selinux_permissive if made else False,
    )


def _spec_of(record: State) -> Spec:
    """What is still known of the settings of a container that runs without being saved."""
    return Spec(name=record.name, rootfs=record.rootfs or None, image=record.image or None)


def _plan_in_force(home: Home, container: Container, spec: Spec) -> tuple[Plan | None, tuple[str, ...]]:
    """The plan it was started by, else that of a start as far as it is known unseen; and why there is none."""
    if container.record is not None and container.record.plan is not None:
        return container.record.plan, ()
    host = read_host(home, devices=spec.hw_access, resolvers=True)
    try:
        return _plan_unseen(spec, host), ()
    except BerthError as error:
        return None, (f"a start would be refused: {error}",)


def _plan_unseen(spec: Spec, host: Host) -> Plan:
    """Plan without a look at the root: what it has for an init changes nothing that is told here."""
    return plan(spec, StartOptions(), host, Rootfs(init=spec.init))


def _monitor(container: Container) -> int | None:
    """The pid of its monitor, None where that has been killed."""
    record = container.record
    watched = container.condition in ("running", "starting")
    return record.monitor[0] if watched and record and record.monitor else None


def _image(container: Container, spec: Spec) -> Image | None:
    path = container.record.image if container.record else spec.image
    if not path:
        return None
    mounted = _mounted_image(container) if container.runs else None
    if mounted is None:
        return Image(path=path)
    read_only = "ro" in mounted.super_options or "ro" in mounted.options
    return Image(path=path, device=mounted.source, read_only=read_only)


def _mounted_image(container: Container) -> MountEntry | None:
    """Where its image is mounted: the monitor has it by its name, and its init as the root unless it is volatile."""
    places = [(_monitor(container), os.path.join(IMAGE_FOLDER, container.name)), (container.alive.pid, "/")]
    for pid, target in places:
        try:
            entries = read_mounts(pid) if pid is not None else []
        except OSError:
            continue  # ended just now
        for entry in entries:
            if entry.target == target and entry.filesystem == "ext4":
                return entry
    return None


def _groups(made: Plan) -> tuple[Group, ...]:
    paths = cgroups.paths(made.cgroups, made.name)
    return tuple(Group(path, dict(cgroup.limits)) for cgroup, path in zip(made.cgroups, paths, strict=True))


def _kept(container: Container, made: Plan) -> tuple[str, ...]:
    """The bounding set of its init; the plan's while it does not run."""
    shown = status_field(container.alive.pid, "CapBnd") if container.runs else None
    if shown is None:
        return made.capabilities
    bits = int(shown, 16)
    return tuple(name for name in made.capabilities if bits >> NUMBERS[name] & 1)


def _withheld(spec: Spec, made: Plan, kept: tuple[str, ...]) -> dict[str, str]:
    """Every capability that is not kept, with the reason."""
    reasons = dict.fromkeys(CAPABILITIES, "--cap-drop")
    reasons |= dict.fromkeys(made.capabilities, "this device does not give it, or init has dropped it") | withheld(spec)
    return {name: reasons[name] for name in CAPABILITIES if name not in kept}
