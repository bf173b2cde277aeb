"""What makes a value acceptable, wherever it comes from: command line, container.toml or HTTP.

Each function takes the `label` by which the person knows the value ("--hostname", "hostname"), returns the value in
its one canonical spelling, and raises UsageError with a sentence that names both.  Turning words into numbers and
lists is not done here but where the words come in.  Imports next to nothing: the cold command line uses it.
"""

from __future__ import annotations

from berth.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
DIGITS = frozenset("0123456789")

NAME_LENGTH = 64
HOSTNAME_LENGTH = 64  # __NEW_UTS_LEN
PATH_LENGTH = 4095  # PATH_MAX less its final NUL
MEMORY_LEAST = 1 << 20
MEMORY_MOST = (1 << 63) - 1
BANDWIDTH_LEAST = 8 << 10
BANDWIDTH_MOST = (1 << 32) - 1  # what the kernel's token bucket counts in
CPUS_LEAST = 0.01  # the scheduler refuses a quota under 1 ms in its period of 100 ms
CPUS_MOST = 8192.0  # NR_CPUS is never configured higher
PORT_MOST = 65535
LINK_ROOM = 16  # IFNAMSIZ
PIDS_LEAST = 16  # an init, its services, and a shell to look at them
SEGMENT_LENGTH = 32
OOM_SCORE_MOST = 1000  # OOM_SCORE_ADJ_MAX; the least is as far below zero
PIDS_MOST = 1 << 22  # PID_MAX_LIMIT on 64-bit kernels


def quoted(value: str) -> str:
    """`value` in double quotes, on one line, cut to a length that can be read."""
    shown = value if len(value) <= 80 else value[:79] + "…"
    return '"' + "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in shown) + '"'


def text(label: str, value: str) -> str:
    """Any text that a file and a system call can carry: UTF-8 without NUL."""
    if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise UsageError(f"{label} {quoted(value)}: this is not text in UTF-8; give it another name")
    return value


def name(label: str, value: str) -> str:
    """A container's name."""
    if value and value[0] in LETTERS | DIGITS and len(value) <= NAME_LENGTH and set(value) <= _IN_NAMES:
        return value
    raise UsageError(
        f"{label} {quoted(value)}: a container's name has letters, digits, dot, _ and -, begins with a letter or "
        f"digit and is {NAME_LENGTH} long at most"
    )


def names(label: str, value: str) -> tuple[str, ...]:
    """Container names separated by commas, each once."""
    return tuple(dict.fromkeys(name(label, item) for item in value.split(",")))


def hostname(label: str, value: str) -> str:
    """A host name (RFC 1123), 64 long at most as the kernel has it."""
    if 0 < len(value) <= HOSTNAME_LENGTH and all(_is_host_label(part) for part in value.split(".")):
        return value
    raise UsageError(
        f"{label} {quoted(value)}: a host name has letters, digits and - between dots, no part begins or ends with -, "
        f"and it is {HOSTNAME_LENGTH} long at most"
    )


def path(label: str, value: str) -> str:
    """An absolute path without doubled slashes, `.` components or a slash at its end; `..` is kept."""
    text(label, value)
    if not value.startswith("/"):
        raise UsageError(f"{label} {quoted(value)}: the path must be absolute, that is, begin with /")
    if not value.isprintable():
        raise UsageError(f"{label} {quoted(value)}: a path with control characters is refused; rename it")
    if len(value.encode()) > PATH_LENGTH:
        raise UsageError(f"{label} {quoted(value)}: the path is longer than {PATH_LENGTH} bytes; use a shorter one")
    return "/" + "/".join(part for part in value.split("/") if part not in ("", "."))


def inner_path(label: str, value: str) -> str:
    """An absolute path inside a container: as `path`, and never upwards."""
    if ".." in value.split("/"):
        raise UsageError(f"{label} {quoted(value)}: .. is refused in a path inside the container; write it out")
    return path(label, value)


def destination(label: str, value: str) -> str:
    """Where something is shown inside a container: as `inner_path`, and not the root itself."""
    place = inner_path(label, value)
    if place == "/":
        raise UsageError(f"{label} {quoted(value)}: the container's root can't be covered; name a folder below it")
    return place


def variable(label: str, key: str) -> str:
    """The name of an environment variable, as POSIX has it."""
    if key and key[0] not in DIGITS and set(key) <= _IN_VARIABLES:
        return key
    raise UsageError(
        f"{label} {quoted(key)}: a variable's name has letters, digits and _ and does not begin with a digit"
    )


def address(label: str, value: str) -> str:
    """An IPv4 or IPv6 address in its shortest spelling; a scope (fe80::1%wlan0) is kept."""
    from ipaddress import ip_address  # 4 ms, and few command lines have one

    try:
        if value.isprintable() and " " not in value:
            return str(ip_address(value))
    except ValueError:
        pass
    raise UsageError(f"{label} {quoted(value)}: this is no address; write one such as 9.9.9.9 or 2620:fe::fe")


def own_address(label: str, value: str) -> str:
    """An address that the device may have on any of its links."""
    if "%" in value:
        raise UsageError(f"{label} {quoted(value)}: this address is good on one link only; write one without %")
    return address(label, value)


def address4(label: str, value: str) -> str:
    """An IPv4 address."""
    found = address(label, value)
    if ":" in found:
        raise UsageError(f"{label} {quoted(value)}: this must be an IPv4 address, such as 172.28.0.10")
    return found


def subnet(label: str, value: str) -> str:
    """A network of containers: 65536 private IPv4 addresses, as CIDR."""
    from ipaddress import IPv4Network

    try:
        found = IPv4Network(value)
    except ValueError:
        found = None
    private = [IPv4Network(net) for net in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]  # RFC 1918
    if found is None or found.prefixlen != 16 or not any(found.subnet_of(net) for net in private):
        raise UsageError(
            f"{label} {quoted(value)}: this must be a private network such as 172.29.0.0/16 or 10.9.0.0/16"
        )
    return str(found)


def port(label: str, value: int) -> int:
    """The number of a TCP or UDP port."""
    if 1 <= value <= PORT_MOST:
        return value
    raise UsageError(f"{label} {value}: a port is a number from 1 to {PORT_MOST}")


def link(label: str, value: str) -> str:
    """The name of a network interface, in which * and ? stand for others."""
    if 0 < len(value) < LINK_ROOM and value not in (".", "..") and set(value) <= _IN_LINKS:
        return value
    raise UsageError(
        f"{label} {quoted(value)}: this is no network interface; write one such as wlan0 or rmnet*, "
        f"{LINK_ROOM - 1} long at most"
    )


def interface(label: str, value: str) -> str:
    """The name of one network interface inside a container."""
    if link(label, value) == value and not set(value) & {"*", "?"} and value != "lo":
        return value
    raise UsageError(f"{label} {quoted(value)}: this must be the name of one interface, such as eth1")


def segment(label: str, value: str) -> str:
    """The name of a gateway's LAN."""
    if 0 < len(value) <= SEGMENT_LENGTH and set(value) <= _IN_SEGMENTS:
        return value
    raise UsageError(
        f"{label} {quoted(value)}: the name of a LAN has letters, digits, _ and - and is {SEGMENT_LENGTH} long at most"
    )


def capability(label: str, value: str) -> str:
    """A capability by the kernel's name, CAP_NET_ADMIN, or ALL; `net_admin` is taken as well.  See capabilities(7)."""
    known = value.upper().removeprefix("CAP_") if value.isascii() else ""
    if known == "ALL":
        return known
    if known in CAPABILITIES:
        return f"CAP_{known}"
    from difflib import get_close_matches  # much memory in every process, and only mistakes need it

    near = get_close_matches(known, CAPABILITIES, 1)
    advice = f"did you mean CAP_{near[0]}?" if near else "they are named as in CAP_NET_ADMIN"
    raise UsageError(f"{label} {quoted(value)}: no such capability; {advice}")


def memory(label: str, value: int) -> int:
    """A limit of memory in bytes."""
    if value < MEMORY_LEAST:
        raise UsageError(f"{label} {value}: nothing runs in under 1M; a bare number is bytes, so write 512M or 2G")
    if value > MEMORY_MOST:
        raise UsageError(f"{label}: that is more bytes than the kernel can count; write 512M or 2G")
    return value


def bandwidth(label: str, value: int) -> int:
    """A limit of what is received, or sent, in bytes a second."""
    if not BANDWIDTH_LEAST <= value <= BANDWIDTH_MOST:
        raise UsageError(f"{label} {value}: the limit is in bytes a second, from 8K to 4G, such as 2M")
    return value


def cpus(label: str, value: float) -> float:
    """A limit of processors, 1.5 being one and a half."""
    if CPUS_LEAST <= value <= CPUS_MOST:
        return value
    raise UsageError(f"{label} {value:g}: the limit is a number of processors from {CPUS_LEAST} up, such as 1.5")


def pids(label: str, value: int) -> int:
    """A limit of processes."""
    if PIDS_LEAST <= value <= PIDS_MOST:
        return value
    if 0 < value < PIDS_LEAST:
        raise UsageError(f"{label} {value}: no system runs with so few processes; give it {PIDS_LEAST} or more")
    raise UsageError(f"{label} {value}: the limit is a number of processes from {PIDS_LEAST} to {PIDS_MOST}")


def oom_score(label: str, value: int) -> int:
    """An adjustment of the score by which the kernel chooses what to kill when memory runs out.  See proc(5)."""
    if -OOM_SCORE_MOST <= value <= OOM_SCORE_MOST:
        return value
    raise UsageError(f"{label} {value}: the number lies from -{OOM_SCORE_MOST} (never killed) to {OOM_SCORE_MOST}")


def unique(label: str, values: Iterable[str]) -> None:
    """Refuse the first of `values` that is there twice."""
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise UsageError(f"{label} {quoted(value)}: this is given twice; keep one of them")
        seen.add(value)


def environment(label: str, values: Mapping[str, str]) -> None:
    """Refuse variables that `execve` could not pass on."""
    for key, value in values.items():
        variable(label, key)
        text(f"{label} {key}", value)


def _is_host_label(part: str) -> bool:
    return 0 < len(part) <= 63 and set(part) <= _IN_HOSTNAMES and part[0] != "-" != part[-1]


_IN_NAMES = LETTERS | DIGITS | frozenset("._-")
_IN_LINKS = LETTERS | DIGITS | frozenset("._-:+@*?")
_IN_SEGMENTS = LETTERS | DIGITS | frozenset("_-")
_IN_HOSTNAMES = LETTERS | DIGITS | frozenset("-")
_IN_VARIABLES = LETTERS | DIGITS | frozenset("_")

# linux/capability.h, in the kernel's order; the last is from 5.9.  An older kernel passes over what it lacks.
CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip
