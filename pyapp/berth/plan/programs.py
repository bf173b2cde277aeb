"""Which BPF programs a container may load and where it may attach them, where the monitor is asked about each."""

from collections.abc import Callable
from typing import Final

ASKED_ABOUT: Final = {5: "PROG_LOAD", 8: "PROG_ATTACH", 9: "PROG_DETACH"}

# enum bpf_prog_type: CGROUP_SKB, CGROUP_SOCK, SOCK_OPS, CGROUP_DEVICE, CGROUP_SOCK_ADDR, CGROUP_SYSCTL, CGROUP_SOCKOPT.
_FOR_A_CGROUP: Final = frozenset({8, 9, 13, 15, 18, 23, 25})
# enum bpf_attach_type: those whose name begins with BPF_CGROUP_.
_ON_A_CGROUP: Final = frozenset({0, 1, 2, 3, 6, *range(8, 16), *range(18, 23), *range(29, 33), 34, *range(49, 54)})

_BOUND_TO_A_DEVICE: Final = 1 << 6
_TOKEN: Final = 1 << 16
_OVERRIDE_MULTI_REPLACE: Final = 7


def capabilities_for(kind: int, has: Callable[[str], bool]) -> tuple[str, ...]:
    """Return the capabilities by which a program of type `kind` is loaded for a caller who `has` these or those.

    SYS_ADMIN is not among them, since the kernel takes that for PERFMON and NET_ADMIN.
    """
    network = kind in _FOR_A_CGROUP or has("NET_ADMIN")
    return ("BPF", *(("NET_ADMIN",) if network else ()), *(("PERFMON",) if has("PERFMON") else ()))


def may_be_loaded(flags: int, device: int) -> bool:
    """Tell whether a program may be loaded with these flags: neither for a network device nor by a token."""
    return not flags & (_BOUND_TO_A_DEVICE | _TOKEN) and not device


def may_be_attached(place: int, flags: int) -> bool:
    """Tell whether a program may be attached at a place of this kind (enum bpf_attach_type): a cgroup.

    With other flags it would be put before or after one that is named by its number.
    """
    return place in _ON_A_CGROUP and not flags & ~_OVERRIDE_MULTI_REPLACE
