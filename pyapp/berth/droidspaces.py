"""Reading the containers of Droidspaces, so that its users can move.

Its `container.config` holds one `key=value` a line, written by its program and its app (version 6.5).  What Berth
has no counterpart for is kept in the Spec's `extra`, and reported, so that nothing a user once chose is lost.
"""

import os
import stat
import tomllib
from collections.abc import Callable, Mapping

from msgspec import Struct

from berth import rules, values
from berth.errors import UsageError
from berth.spec import PRIVILEGES, Bind, Network, Privilege, Spec
from berth.store import read_text, spec_from_toml

_NETWORKS: Mapping[str, Network] = {
    "host": "host",
    "nat": "nat",
    "none": "none",
    "gateway": "gateway",
    "delegated-gateway": "gateway",
}
_PERIOD = 100_000  # microseconds; what the kernel and Droidspaces take where cpu_period is not given
_READ = frozenset((
    "name", "hostname", "rootfs_path", "custom_init", "net_mode", "bind_mounts", "dns_servers", "env_file",
    "memory_limit", "cpu_quota", "cpu_period", "pids_limit", "privileged",
    "gateway_container", "gateway_net", "gateway_lan_ifname",
    "enable_hw_access", "force_cgroupv1", "block_nested_ns", "run_at_boot", "selinux_permissive", "disable_ipv6",
))  # fmt: skip
# Those of its keys that no container.toml has: one of them is in every file that its program or app writes.
_TELLING = frozenset((
    "rootfs_path", "net_mode", "custom_init", "bind_mounts", "dns_servers", "memory_limit", "cpu_quota", "run_at_boot",
    "enable_hw_access", "enable_gpu_mode", "block_nested_ns", "volatile_mode", "disable_ipv6", "selinux_permissive",
))  # fmt: skip


class Imported(Struct, frozen=True):
    """A Spec from a file and the keys of that file which were only kept, in its `extra`."""

    spec: Spec
    kept: tuple[str, ...] = ()

    def remarks(self, path: str) -> tuple[str, ...]:
        """What the user should hear of the file, named `path`."""
        return tuple(f"{path}: {key} is kept, but Berth does not know it" for key in self.kept)


def load_conf(path: str, *, net_chosen: bool = False) -> Imported:
    """Read the file of `--conf`, a container.toml or Droidspaces' container.config, told apart by its content.

    A root in a Droidspaces file is an image where it is a file or block device.  With `net_chosen` its network
    doesn't matter, because a flag says another.  Raises UsageError or BerthError naming file and key.
    """
    return understand(read_text(path), path, net_chosen=net_chosen)


def understand(text: str, path: str, *, net_chosen: bool = False) -> Imported:
    """Do the same for `text`, the content of the file `path`."""
    if not is_droidspaces(text):
        return Imported(spec_from_toml(text, path))
    entries = parse(text, path)
    variables: dict[str, str] | None = None
    env_file = entries.get("env_file")
    if env_file:
        where = values.absolute(f"{path}: env_file", env_file, _folder(path))
        # Droidspaces starts a container whose env file is gone.
        variables = values.variables(where, read_text(where)) if os.path.isfile(where) else None
    return convert(entries, path, is_image=_is_image, variables=variables, net_chosen=net_chosen)


def is_droidspaces(text: str) -> bool:
    """Whether `text` is a container.config rather than TOML: a top-level key says so that only Droidspaces has."""
    try:
        keys = set(tomllib.loads(text))
    except (ValueError, RecursionError):
        top = text.split("\n[", 1)[0]
        keys = {line.partition("=")[0].strip() for line in top.split("\n") if "=" in line}
    return not keys.isdisjoint(_TELLING)


def parse(text: str, path: str) -> dict[str, str]:
    """The keys and values of a container.config; empty values are left out, a later line wins.

    Raises UsageError naming file and line where one is no `key=value`.
    """
    entries: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        key, equals, value = (part.strip() for part in stripped.partition("="))
        if not (key and equals):
            raise UsageError(f"{path}, line {number}: {rules.quoted(stripped)} is no key=value; correct or remove it")
        if value:
            entries[key] = value
    return entries


def convert(
    entries: Mapping[str, str],
    path: str,
    *,
    is_image: Callable[[str], bool],
    variables: Mapping[str, str] | None = None,
    net_chosen: bool = False,
) -> Imported:
    """The Spec that `entries` of the container.config at `path` describe, and which keys were only kept.

    `variables` are those of its env file, None where there is none to read.  Raises UsageError naming file and key.
    """
    kept = {key: value for key, value in entries.items() if key not in _READ}
    if "env_file" in entries and variables is None:
        kept["env_file"] = entries["env_file"]
    if "net_mode" in entries and entries["net_mode"] not in _NETWORKS:
        kept["net_mode"] = entries["net_mode"]
    network = _network(entries.get("net_mode", "host"), path, net_chosen)
    if _is_on(entries, "disable_ipv6") and network != "nat":  # on the host's network it is the phone's own IPv6
        kept["disable_ipv6"] = entries["disable_ipv6"]
    privileged = [item.strip().lower() for item in entries.get("privileged", "").split(",") if item.strip()]
    if not set(privileged) <= {*PRIVILEGES, "full"}:
        kept["privileged"] = entries["privileged"]
    root = _path(entries, "rootfs_path", path)
    image = root is not None and is_image(root)
    spec = Spec(
        name=_name(entries, root, path),
        hostname=rules.hostname(f"{path}: hostname", entries["hostname"]) if "hostname" in entries else None,
        rootfs=None if image else root,
        image=root if image else None,
        init=rules.inner_path(f"{path}: custom_init", entries.get("custom_init", "/sbin/init")),
        net=network,
        disable_ipv6=network == "nat" and _is_on(entries, "disable_ipv6"),
        gateway=_optional(entries, "gateway_container", path, rules.name),
        gateway_net=_optional(entries, "gateway_net", path, rules.segment) or "lan",
        gateway_iface=_optional(entries, "gateway_lan_ifname", path, rules.interface) or "eth1",
        binds=_binds(entries.get("bind_mounts", ""), path),
        env=dict(variables or {}),
        dns=tuple(
            rules.address(f"{path}: dns_servers", item)
            for item in entries.get("dns_servers", "").replace(",", " ").split()
        ),
        memory=_memory(entries, path),
        cpus=_cpus(entries, path),
        pids_limit=_pids_limit(entries, path),
        privileged=_privileges(privileged),
        hw_access=_is_on(entries, "enable_hw_access"),
        force_cgroupv1=_is_on(entries, "force_cgroupv1"),
        selinux_permissive=_is_on(entries, "selinux_permissive"),
        block_nested_namespaces=_is_on(entries, "block_nested_ns"),
        autostart=_is_on(entries, "run_at_boot"),
        extra=kept,
    )
    return Imported(spec, tuple(sorted(kept)))


def _name(entries: Mapping[str, str], root: str | None, path: str) -> str:
    """Its name, spaces as dashes: Droidspaces allows them, and its app makes the same of them for folders."""
    if "name" in entries:
        return rules.name(f"{path}: name", entries["name"].replace(" ", "-"))
    if root is None:
        raise UsageError(f"{path}: it has neither name nor rootfs_path; add one of them")
    return values.name_from(root)


def _network(mode: str, path: str, chosen: bool) -> Network:
    if mode in _NETWORKS:
        return _NETWORKS[mode]
    if chosen:
        return "host"
    # Shared unasked, the network would expose what a gateway had kept inside; only the user can decide that.
    raise UsageError(f"{path}: net_mode={mode} comes in a later version; add --net=host, nat or none")


def _optional(entries: Mapping[str, str], key: str, path: str, rule: Callable[[str, str], str]) -> str | None:
    return rule(f"{path}: {key}", entries[key]) if key in entries else None


def _binds(text: str, path: str) -> tuple[Bind, ...]:
    items = (item.strip() for item in text.split(","))
    binds = (values.bind(f"{path}: bind_mounts", item, _folder(path)) for item in items if item)
    return tuple(Bind(*bind) for bind in dict.fromkeys(binds))


def _privileges(items: list[str]) -> tuple[Privilege, ...]:
    if "full" in items:
        return PRIVILEGES
    return tuple(privilege for privilege in PRIVILEGES if privilege in items)


def _memory(entries: Mapping[str, str], path: str) -> int | None:
    limit = _count(entries, "memory_limit", path)
    return rules.memory(f"{path}: memory_limit", limit) if limit else None


def _cpus(entries: Mapping[str, str], path: str) -> float | None:
    quota = _count(entries, "cpu_quota", path)
    period = _count(entries, "cpu_period", path) or _PERIOD
    return rules.cpus(f"{path}: cpu_quota", quota / period) if quota else None


def _pids_limit(entries: Mapping[str, str], path: str) -> int | None:
    limit = _count(entries, "pids_limit", path)
    return rules.pids(f"{path}: pids_limit", limit) if limit else None


def _count(entries: Mapping[str, str], key: str, path: str) -> int | None:
    return values.count(f"{path}: {key}", entries[key]) if key in entries else None


def _path(entries: Mapping[str, str], key: str, path: str) -> str | None:
    return values.absolute(f"{path}: {key}", entries[key], _folder(path)) if key in entries else None


def _folder(path: str) -> str:
    return os.path.dirname(os.path.abspath(path))


def _is_on(entries: Mapping[str, str], key: str) -> bool:
    return entries.get(key, "").lower() in ("1", "true", "yes", "on")


def _is_image(path: str) -> bool:
    """Whether the root at `path` is an image; one that isn't there (yet) is told by its name."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return path.endswith((".img", ".ext4"))
    return stat.S_ISREG(mode) or stat.S_ISBLK(mode)
