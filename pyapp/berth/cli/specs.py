"""What a command line asks for, as a Spec: its flags over what was saved, and nothing else.

A flag that is given replaces what was saved under it, lists as a whole; `none` empties a list or lifts a limit.
Pure: files are read by the `read` that is passed in.
"""

from collections.abc import Callable
from functools import partial

import msgspec
from msgspec.structs import replace

from berth import rules, values
from berth.cli.flags import Invocation
from berth.cli.table import FSCK_POLICIES, HOOK_STAGES, NETWORKS, PRIVILEGES, WAKELOCK_POLICIES
from berth.errors import UsageError
from berth.spec import JOINED, Bind, Hook, Port, Spec, StartOptions, checked

Read = Callable[[str], str]

_SWITCHES = {
    "block-nested-namespaces": "block_nested_namespaces",
    "keyring-filter": "keyring_filter",
    "force-cgroupv1": "force_cgroupv1",
    "hw-access": "hw_access",
    "keep-groups": "keep_groups",
    "selinux-permissive": "selinux_permissive",
    "autostart": "autostart",
    "isolated": "isolated",
    "bridge": "bridge",
    "disable-ipv6": "disable_ipv6",
}
_TEXTS: dict[str, tuple[str, Callable[[str, str], object]]] = {
    "hostname": ("hostname", rules.hostname),
    "init": ("init", rules.inner_path),
    "net": ("net", partial(values.choice, choices=NETWORKS)),
    "fsck": ("fsck", partial(values.choice, choices=FSCK_POLICIES)),
    "gateway-net": ("gateway_net", rules.segment),
    "gateway-iface": ("gateway_iface", rules.interface),
    "wakelock": ("wakelock", partial(values.choice, choices=WAKELOCK_POLICIES)),
}
_LIFTABLE: dict[str, tuple[str, Callable[[str, str], object]]] = {
    "memory": ("memory", values.size),
    "cpus": ("cpus", values.processors),
    "bandwidth-down": ("bandwidth_down", values.bandwidth),
    "bandwidth-up": ("bandwidth_up", values.bandwidth),
    "ip": ("ip", rules.address4),
    "gateway": ("gateway", rules.name),
    "lan-iface": ("lan_iface", rules.link),
    "pids-limit": ("pids_limit", values.processes),
    "oom-score-adj": ("oom_score_adj", values.oom_score),
}
_LISTS: dict[str, tuple[str, Callable[[str, str], object]]] = {
    "dns": ("dns", rules.address),
    "upstream": ("upstream", rules.link),
    "cap-add": ("cap_add", rules.capability),
    "cap-drop": ("cap_drop", rules.capability),
    "start-after": ("start_after", rules.name),
}


def name_of(invocation: Invocation, conf: Spec | None = None) -> str:
    """The container's name: as given, else from the file of `--conf`, else from the root.

    Raises UsageError where the root gives none.
    """
    root = invocation.text("rootfs") or invocation.text("rootfs-img")
    if invocation.name is not None:
        return invocation.name
    if conf is not None:
        return conf.name
    if root is None:
        raise UsageError(f"{invocation.command}: which container? name it")
    return values.name_from(root)


def spec_from(invocation: Invocation, saved: Spec | None, *, directory: str, read: Read) -> Spec:
    """What `start` and `plan` are asked for: the flags over `saved`, the container.toml or `--conf` file, if any.

    Relative paths are taken from `directory`; `read` gives the text of an `--env-file`.  Raises UsageError.
    """
    name = name_of(invocation, saved)
    root = _root(invocation, directory)
    if saved is None and not root:
        raise UsageError(f"container {rules.quoted(name)} is not saved yet; give it a root by --rootfs or --rootfs-img")
    if saved is not None and root and invocation.name is None and "conf" not in invocation.options:
        _refuse_other_root(saved, root)
    if root.get("rootfs") == "/":
        raise UsageError('--rootfs "/": that is this device\'s own system, which runs already; give another directory')
    base = saved or Spec(name=name)
    if invocation.switch("reset"):
        base = Spec(name=name, rootfs=base.rootfs, image=base.image)
    return checked(replace(base, name=name, **root, **_changes(invocation, directory, read)))


def one_off_from(invocation: Invocation, *, directory: str, read: Read) -> Spec:
    """What `run --rm` is asked for; without `--rootfs` its root is the host's.  Raises UsageError.

    `--map` and `--vol` are its binds; `init` stays the default: the program is the invocation's `words`.
    """
    root = _root(invocation, directory) or {"rootfs": "/"}
    shown = [(pair, "--map", True) for pair in invocation.pairs("map")]
    shown += [(pair, "--vol", False) for pair in invocation.pairs("vol")]
    binds = tuple(
        Bind(values.absolute(flag, source, directory), rules.destination(flag, destination), read_only)
        for (source, destination), flag, read_only in shown
    )
    changes = _changes(invocation, directory, read)
    if changes.get("net") in JOINED:
        raise UsageError(
            f"--net={changes['net']}: a one-off container has no network of its own; start a container, or use host"
        )
    return checked(replace(Spec(name=invocation.name or "one-off"), **root, **{**changes, "binds": binds}))


def start_options(invocation: Invocation) -> StartOptions:
    """What holds for this start only.  Raises UsageError for a size that is none."""
    text = invocation.text("volatile-size")
    return StartOptions(
        volatile=invocation.switch("volatile"),
        volatile_size=None if text is None else values.size("--volatile-size", text),
    )


def environment(invocation: Invocation, read: Read) -> dict[str, str]:
    """The variables of `--env-file` and, over them, of `--env`.  Raises UsageError."""
    found: dict[str, str] = {}
    for path in invocation.each("env-file"):
        found |= values.variables(path, read(path))
    found |= dict(values.variable("--env", item) for item in _listed(invocation, "env"))
    return found


def _root(invocation: Invocation, directory: str) -> dict[str, str | None]:
    rootfs, image = invocation.text("rootfs"), invocation.text("rootfs-img")
    if rootfs is not None:
        return {"rootfs": values.absolute("--rootfs", rootfs, directory), "image": None}
    if image is not None:
        return {"rootfs": None, "image": values.absolute("--rootfs-img", image, directory)}
    return {}


def _refuse_other_root(saved: Spec, root: dict[str, str | None]) -> None:
    """Two roots can give one name: the second must not take the place of the first unasked."""
    if (saved.rootfs, saved.image) != (root["rootfs"], root["image"]):
        other = saved.rootfs or saved.image
        raise UsageError(f"a container {rules.quoted(saved.name)} with root {other} is saved; add --name for this one")


def _changes(invocation: Invocation, directory: str, read: Read) -> dict[str, object]:
    """The fields of a Spec that the flags set, but for name and root."""
    options = invocation.options
    changes: dict[str, object] = {
        field: options[flag] for flag, field in _SWITCHES.items() if isinstance(options.get(flag), bool)
    }
    for flag, (field, parse) in _TEXTS.items():
        if (text := invocation.text(flag)) is not None:
            changes[field] = parse(f"--{flag}", text)
    if invocation.switch("lan") and changes.setdefault("net", "lan") != "lan":
        raise UsageError(f"--lan and --net={changes['net']}: a container has one network; give one of the two")
    for flag, (field, parse) in _LIFTABLE.items():
        if (text := invocation.text(flag)) is not None:
            changes[field] = None if text == "none" else parse(f"--{flag}", text)
    for flag, (field, parse) in _LISTS.items():
        if flag in options:
            changes[field] = tuple(dict.fromkeys(parse(f"--{flag}", item) for item in _listed(invocation, flag)))
    if "privileged" in options:
        changes["privileged"] = values.privileges("--privileged", _listed(invocation, "privileged"), PRIVILEGES)
    if "bind-mount" in options:
        binds = (values.bind("--bind-mount", item, directory) for item in _listed(invocation, "bind-mount"))
        changes["binds"] = tuple(Bind(*bind) for bind in dict.fromkeys(binds))
    if "hook" in options:
        hooks = (values.hook("--hook", item, HOOK_STAGES) for item in _listed(invocation, "hook"))
        changes["hooks"] = tuple(
            msgspec.convert({"stage": stage, "path": path}, Hook) for stage, path in dict.fromkeys(hooks)
        )
    if "port" in options:
        changes["ports"] = tuple(dict.fromkeys(port_of("--port", item) for item in _listed(invocation, "port")))
    if options.keys() & {"env", "env-file"}:
        changes["env"] = environment(invocation, read)
    return changes


def port_of(label: str, text: str) -> Port:
    """The port that `text` stands for, as `values.port` reads it.  Raises UsageError."""
    fields = ("host", "container", "count", "protocol", "bind")
    return msgspec.convert(dict(zip(fields, values.port(label, text), strict=True)), Port)


def _listed(invocation: Invocation, flag: str) -> tuple[str, ...]:
    items = invocation.each(flag)
    return () if items == ("none",) else items
