"""Settings of the kernel's network: what was there is told before it is changed, and put back."""

import contextlib
import os

FORWARDING = "/proc/sys/net/ipv4/ip_forward"
_LINKS = "/proc/sys/net/ipv4/conf"
_LINKS6 = "/proc/sys/net/ipv6/conf"
FORWARDING6 = "/proc/sys/net/ipv6/conf/all/forwarding"
MOST_CONNECTIONS = "/proc/sys/net/netfilter/nf_conntrack_max"


def read(path: str) -> str | None:
    """Return the value of the sysctl at `path`; None where this kernel has none."""
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return None


def write(path: str, value: str) -> None:
    """Set the sysctl at `path`; raises OSError."""
    with open(path, "w", encoding="ascii") as file:
        file.write(value)


def write_if_there(settings: dict[str, str]) -> None:
    """Set those of `settings` that this kernel has."""
    for path, value in settings.items():
        with contextlib.suppress(OSError):
            write(path, value)


def swept_along() -> list[str]:
    """Return the settings that the kernel changes together with those that switch forwarding on and off."""
    families = [links for links in (_LINKS, _LINKS6) if os.path.isdir(links)]
    found = [f"{links}/{name}/forwarding" for links in families for name in os.listdir(links) if name != "all"]
    return [f"{_LINKS}/all/accept_redirects", *found]


def for_forwarding6() -> dict[str, str]:
    """Return the settings under which IPv6 is forwarded and the phone still hears its routers.

    Forwarding switches the reception of router advertisements off where `accept_ra` is 1.
    """
    heard = {}
    for name in os.listdir(_LINKS6) if os.path.isdir(_LINKS6) else ():
        path = f"{_LINKS6}/{name}/accept_ra"
        if read(path) == "1":
            heard[path] = "2"
    return {**heard, FORWARDING6: "1"}


def of_foreign_link(name: str) -> dict[str, str]:
    """Return the settings of a link on which the phone is to be nobody.

    Having no address there does not keep it from answering for those it has elsewhere, nor from passing on what is
    sent to its MAC address.  Where it has none rp_filter drops whatever comes, in its loose form as well.
    """
    ipv4 = f"/proc/sys/net/ipv4/conf/{name}"
    return {
        f"{ipv4}/rp_filter": "1",
        f"{ipv4}/arp_ignore": "8",
        f"{ipv4}/forwarding": "0",
        f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6": "1",
    }


def of_link(name: str, *, ipv6: bool) -> dict[str, str]:
    """Return the settings of the phone's end of a container's link.

    rp_filter drops what comes from another's address; proxy_arp stands for every other container; proxy_delay would
    put the answer off by up to 0.8 s.  See ip-sysctl in the kernel's documentation.
    """
    ipv4, neighbours, six = (f"/proc/sys/net/{place}/{name}" for place in ("ipv4/conf", "ipv4/neigh", "ipv6/conf"))
    return {
        f"{ipv4}/forwarding": "1",
        f"{ipv4}/rp_filter": "1",
        f"{ipv4}/proxy_arp": "1",
        f"{ipv4}/send_redirects": "0",
        f"{ipv4}/accept_redirects": "0",
        f"{ipv4}/accept_source_route": "0",
        f"{neighbours}/proxy_delay": "0",
        f"{six}/disable_ipv6": "0" if ipv6 else "1",
        f"{six}/accept_ra": "0",
        f"{six}/accept_redirects": "0",
    }
