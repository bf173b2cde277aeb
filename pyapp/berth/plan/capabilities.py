"""Which capabilities stay in a container's bounding set.

Names are the kernel's without `CAP_`, in the order of linux/capability.h.
"""

from typing import Final

from berth import rules
from berth.errors import UsageError
from berth.rules import CAPABILITIES
from berth.spec import Spec

ONE_OFF_CAPABILITIES: Final = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "AUDIT_WRITE",
    "SETFCAP",
)
"""What a one-off command keeps: Docker's default set without MKNOD and NET_RAW.

A one-off has no device cgroup, so nothing in it may make a node (MKNOD) or mount (SYS_ADMIN).
"""

_WITHHELD: Final = {
    "DAC_READ_SEARCH": "with it open_by_handle_at reaches every file of the phone",
    "SYS_MODULE": "modules run in the phone's kernel",
    "SYS_RAWIO": "raw I/O reaches the phone's memory and disks",
    "SYS_TIME": "there is one clock for the phone and all containers",
    "MAC_OVERRIDE": "the phone's SELinux policy is not the container's",
    "MAC_ADMIN": "the phone's SELinux policy is not the container's",
    "SYSLOG": "the kernel log is the phone's",
    "WAKE_ALARM": "a container must not wake the phone",
    "BLOCK_SUSPEND": "a container must not keep the phone awake",
    "AUDIT_READ": "the audit log is the phone's",
    # SYS_ADMIN covers these three for the root of a full system; without it they would hand a lesser user of the
    # container a view of the whole phone.
    "PERFMON": "performance events see every process of the phone",
    "BPF": "BPF maps and programs are the phone's, not a container's",
    "CHECKPOINT_RESTORE": "with it pids are chosen and any process's mapped files are opened",
}
_NET_ADMIN: Final = (
    "the network is the phone's: routes, firewall and Wi-Fi must not be changed from inside (give it with --cap-add "
    "NET_ADMIN, or --net=none for a network of its own)"
)


def plan_capabilities(spec: Spec) -> tuple[str, ...]:
    """Return the bounding set of the container's init, in the kernel's order; the same on every host.

    NET_ADMIN stays with a network namespace of the container's own, as with systemd-nspawn: on the host's network a
    network manager inside takes Wi-Fi over and can route around a VPN.  It also stays with hardware access,
    because udev inside can't tell its listeners of a device without it.
    `all` stands for every capability in cap_add and cap_drop; dropping all leaves what is added by name.
    Raises UsageError for a name that Linux does not have, and for one both added and dropped.
    """
    added, dropped = _names("--cap-add", spec.cap_add), _names("--cap-drop", spec.cap_drop)
    if both := added & dropped - {"ALL"}:
        raise UsageError(f"--cap-add and --cap-drop both name {min(both)}; leave one of them out")
    if "ALL" in dropped:
        kept: set[str] = set()
    elif "ALL" in added:
        kept = set(CAPABILITIES)
    else:
        kept = set(CAPABILITIES) - withheld(spec).keys()
    kept = (kept | added) - dropped
    return tuple(name for name in CAPABILITIES if name in kept)


def plan_one_off_capabilities(spec: Spec) -> tuple[str, ...]:
    """Return the bounding set of a one-off's program, in the kernel's order; raises UsageError as above."""
    added, dropped = _names("--cap-add", spec.cap_add), _names("--cap-drop", spec.cap_drop)
    kept = set(CAPABILITIES) if "nocaps" in spec.privileged or "ALL" in added else set(ONE_OFF_CAPABILITIES)
    kept = (set() if "ALL" in dropped else kept - dropped) | added
    return tuple(name for name in CAPABILITIES if name in kept)


def withheld(spec: Spec) -> dict[str, str]:
    """Return what the default set of this container leaves out, each with its reason; nothing with `nocaps`."""
    if "nocaps" in spec.privileged:
        return {}
    if spec.net == "host" and not spec.hw_access:
        return {"NET_ADMIN": _NET_ADMIN, **_WITHHELD}
    return dict(_WITHHELD)


def hears_the_network(spec: Spec, capabilities: tuple[str, ...]) -> bool:
    """Tell whether root inside may have what everybody sends on its network: its own one, or by an option of its own.

    NET_RAW alone stays for `ping`, which on the host's network may then have nothing but ICMP.
    """
    added = _names("--cap-add", spec.cap_add)
    return spec.net != "host" or "NET_ADMIN" in capabilities or not added.isdisjoint({"NET_RAW", "ALL"})


def _names(flag: str, words: tuple[str, ...]) -> set[str]:
    return {rules.capability(flag, word).removeprefix("CAP_") for word in words}
