"""What the user asked for: one frozen, typed value per container.

A Spec is validated where it enters (command line, container.toml, HTTP) and never touched again.  It is
also the file format of `containers/NAME/container.toml`: msgspec converts both ways, and `version` lets
later releases migrate what earlier ones wrote.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from berth import rules
from berth.errors import UsageError

SPEC_VERSION = 1
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
SEGMENT_PATTERN = r"^[A-Za-z0-9_-]{1,32}$"

Name = Annotated[str, Meta(pattern=NAME_PATTERN)]
Privilege = Literal["nomask", "nocaps", "noseccomp", "unfiltered-dev"]
HookStage = Literal["prestart", "prechroot", "poststop"]
Network = Literal["host", "nat", "lan", "gateway", "none"]
Protocol = Literal["tcp", "udp"]
Segment = Annotated[str, Meta(pattern=SEGMENT_PATTERN)]
FsckPolicy = Literal["auto", "always", "never"]
WakelockPolicy = Literal["never", "running", "charging"]

PRIVILEGES: tuple[Privilege, ...] = ("nomask", "nocaps", "noseccomp", "unfiltered-dev")
JOINED: tuple[Network, ...] = ("nat", "lan", "gateway")
"""The networks that the net process has to do with."""
HOOK_STAGES: tuple[HookStage, ...] = ("prestart", "prechroot", "poststop")


class Bind(Struct, frozen=True, forbid_unknown_fields=True):
    """Show the host's `source` at `destination` (absolute, inside the container)."""

    source: str
    destination: str
    read_only: bool = False


class Port(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Show `count` ports of the container from `container` up as the phone's from `host` up, at its address `bind`.

    Without `bind`, at all addresses that the phone has.
    """

    host: int
    container: int
    count: int = 1
    protocol: Protocol = "tcp"
    bind: str | None = None


class Hook(Struct, frozen=True, forbid_unknown_fields=True):
    """Run the executable at `path` (absolute, on the host) when a start or stop reaches `stage`."""

    stage: HookStage
    path: str


class Spec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A container as the user described it; exactly one of `rootfs` and `image` is set.

    `gateway` is the container that is the router of its network "gateway", which has the LAN `gateway_net` at its
    `gateway_iface`; `lan_iface` is the phone's link to the network "lan", by its name or a pattern.

    `memory` is in bytes, `bandwidth_down` and `bandwidth_up` in bytes a second, `cpus` in cores (1.5 is one and a
    half), `pids_limit` in processes, `oom_score_adj` as in proc(5), None for what is usual on the device.  `extra`
    holds what an imported Droidspaces file said that Berth does not know.
    """

    version: int = SPEC_VERSION
    name: Name
    rootfs: str | None = None
    image: str | None = None
    hostname: str | None = None
    init: str = "/sbin/init"
    net: Network = "host"
    ip: str | None = None
    ports: tuple[Port, ...] = ()
    upstream: tuple[str, ...] = ()
    isolated: bool = False
    bridge: bool = False
    bandwidth_down: int | None = None
    bandwidth_up: int | None = None
    disable_ipv6: bool = False
    gateway: Name | None = None
    gateway_net: Segment = "lan"
    gateway_iface: str = "eth1"
    lan_iface: str | None = None
    binds: tuple[Bind, ...] = ()
    env: dict[str, str] = {}
    dns: tuple[str, ...] = ()
    memory: int | None = None
    cpus: float | None = None
    pids_limit: int | None = None
    oom_score_adj: int | None = None
    privileged: tuple[Privilege, ...] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    block_nested_namespaces: bool = False
    keyring_filter: bool = False
    force_cgroupv1: bool = False
    hw_access: bool = False
    keep_groups: bool = False
    selinux_permissive: bool = False
    wakelock: WakelockPolicy = "never"
    fsck: FsckPolicy = "auto"
    hooks: tuple[Hook, ...] = ()
    autostart: bool = False
    start_after: tuple[Name, ...] = ()
    extra: dict[str, str] = {}


class StartOptions(Struct, frozen=True, kw_only=True):
    """What holds for one start only and is never saved.

    `volatile_size` is in bytes; None means half of the memory.
    """

    volatile: bool = False
    volatile_size: int | None = None


def checked(spec: Spec) -> Spec:
    """`spec` with every value in its canonical spelling, for a Spec that comes from outside.

    Types are msgspec's business; this is about what they can't say.  Raises UsageError naming the key.
    """
    if (spec.rootfs is None) == (spec.image is None):
        raise UsageError("rootfs and image: a container has one root; give exactly one of the two")
    binds = tuple(
        Bind(rules.path("binds", bind.source), rules.destination("binds", bind.destination), bind.read_only)
        for bind in spec.binds
    )
    rules.unique("binds", (bind.destination for bind in binds))
    rules.environment("env", spec.env)
    ports = tuple(_checked_port(port) for port in spec.ports)
    _refuse_shared_ports(ports)
    if spec.name in spec.start_after:
        raise UsageError(f"start_after {rules.quoted(spec.name)}: a container can't wait for itself; leave it out")
    _check_gateway(spec)
    return replace(
        spec,
        name=rules.name("name", spec.name),
        rootfs=None if spec.rootfs is None else rules.path("rootfs", spec.rootfs),
        image=None if spec.image is None else rules.path("image", spec.image),
        hostname=None if spec.hostname is None else rules.hostname("hostname", spec.hostname),
        init=rules.inner_path("init", spec.init),
        binds=binds,
        ip=None if spec.ip is None else rules.address4("ip", spec.ip),
        ports=ports,
        upstream=tuple(rules.link("upstream", pattern) for pattern in spec.upstream),
        gateway=None if spec.gateway is None else rules.name("gateway", spec.gateway),
        gateway_net=rules.segment("gateway_net", spec.gateway_net),
        gateway_iface=rules.interface("gateway_iface", spec.gateway_iface),
        lan_iface=None if spec.lan_iface is None else rules.link("lan_iface", spec.lan_iface),
        dns=tuple(rules.address("dns", address) for address in spec.dns),
        memory=None if spec.memory is None else rules.memory("memory", spec.memory),
        bandwidth_down=_checked_bandwidth("bandwidth_down", spec.bandwidth_down),
        bandwidth_up=_checked_bandwidth("bandwidth_up", spec.bandwidth_up),
        cpus=None if spec.cpus is None else rules.cpus("cpus", float(spec.cpus)),
        pids_limit=None if spec.pids_limit is None else rules.pids("pids_limit", spec.pids_limit),
        oom_score_adj=None if spec.oom_score_adj is None else rules.oom_score("oom_score_adj", spec.oom_score_adj),
        cap_add=tuple(rules.capability("cap_add", capability) for capability in spec.cap_add),
        cap_drop=tuple(rules.capability("cap_drop", capability) for capability in spec.cap_drop),
        hooks=tuple(Hook(hook.stage, rules.path("hooks", hook.path)) for hook in spec.hooks),
        start_after=tuple(rules.name("start_after", name) for name in spec.start_after),
        extra={rules.text("extra", key): rules.text("extra", value) for key, value in spec.extra.items()},
    )


def _check_gateway(spec: Spec) -> None:
    if spec.net == "gateway" and spec.gateway is None:
        raise UsageError("gateway: --net=gateway needs the name of the container that is the router; add --gateway")
    if spec.gateway == spec.name:
        raise UsageError(f"gateway {rules.quoted(spec.name)}: a container can't be its own router; name another one")


def _checked_bandwidth(label: str, value: int | None) -> int | None:
    return None if value is None else rules.bandwidth(label, value)


def _checked_port(port: Port) -> Port:
    for number in (port.host, port.container):
        rules.port("ports", number)
        rules.port("ports", number + port.count - 1)
    if port.count < 1:
        raise UsageError(f"ports: {port.count} is no number of ports; it counts from 1")
    return replace(port, bind=None if port.bind is None else rules.own_address("ports", port.bind))


def _refuse_shared_ports(ports: tuple[Port, ...]) -> None:
    """Raise UsageError where two of `ports` would take the same port of the phone."""
    taken: set[tuple[str, int]] = set()
    for port in ports:
        for number in range(port.host, port.host + port.count):
            if (port.protocol, number) in taken:
                raise UsageError(f"ports: {number}/{port.protocol} of the phone is given twice; leave one of them out")
            taken.add((port.protocol, number))
