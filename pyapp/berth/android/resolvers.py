"""The name servers of the phone's network: Android has no resolv.conf."""

import re
import subprocess
from collections.abc import Iterable

from berth.android.properties import read_property

_DUMPSYS = "/system/bin/dumpsys"
_PROPERTIES = ("net.dns1", "net.dns2", "net.dns3", "net.dns4")  # kept up to date until Android 7
_PATIENCE_SECONDS = 3.0
_MOST = 3  # MAXNS of resolv.conf(5)

FALLBACK = ("9.9.9.9", "1.1.1.1")
"""What is asked where neither phone nor user name any, as before the phone's network is up."""

_DEFAULT_NETWORK = re.compile(r"^Active default network: (\d+)", re.MULTILINE)
_ADDRESSES = re.compile(r"DnsAddresses: \[([^\]]*)\]")


def read_resolvers(chosen: Iterable[str]) -> tuple[str, ...]:
    """Return the phone's name servers, three at most; where it names none, those `chosen`, or FALLBACK."""
    found = _usable(read_property(name) for name in _PROPERTIES)
    return found or default_resolvers(_connectivity()) or _usable(chosen) or FALLBACK


def default_resolvers(connectivity: str) -> tuple[str, ...]:
    """Return the name servers of the default network in what `dumpsys connectivity` prints.

    Each network is a line that begins with NetworkAgentInfo and names itself as network{N}; the addresses stand in its
    LinkProperties, up to Android 9 as "10.0.0.1,", later as "/10.0.0.1".  Empty where that is not to be found.
    """
    default = _DEFAULT_NETWORK.search(connectivity)
    if default is None:
        return ()
    for line in connectivity.splitlines():
        addresses = _ADDRESSES.search(line)
        if addresses and re.search(rf"network\{{{default[1]}\}}", line):
            return _usable(word.strip().removeprefix("/") for word in addresses[1].split(","))
    return ()


def _usable(words: Iterable[str]) -> tuple[str, ...]:
    """Return those that are addresses, but for those of a single link ("fe80::1%wlan0")."""
    from ipaddress import ip_address  # 4 ms, and the service needs it only now and then

    found = []
    for word in words:
        try:
            address = ip_address(word)
        except ValueError:
            continue
        if not address.is_link_local and not address.is_unspecified:
            found.append(str(address))
    return tuple(dict.fromkeys(found))[:_MOST]


def _connectivity() -> str:
    try:
        done = subprocess.run(
            [_DUMPSYS, "connectivity"],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace")
