"""A phone and what is around it, out of network namespaces: nothing of this machine's own network is touched.

    internet (203.0.113.1) --- Wi-Fi router 192.0.2.1 --- wlan0 192.0.2.2 --- phone --- rmnet_data0 --- mobile network

Router and mobile network are the internet at the same time: each answers at 203.0.113.1, and says which one it is and
whom it has seen, so a test can tell which way a connection went.  A namespace lives as long as the process that was
started for it; those carry BERTH_HOME, so that what a killed run leaves is found and ended like its containers.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests import faults
from tests.program import Berth

INTERNET = "203.0.113.1"
INTERNET6 = "2001:db8:ffff::1"
WIFI, MOBILE = "192.0.2.2", "198.51.100.2"
WIFI_ROUTER, MOBILE_ROUTER = "192.0.2.1", "198.51.100.1"
WIFI6, WIFI6_ROUTER = "2001:db8:1::2", "2001:db8:1::1"
NAMED = "198.18.0.7"
"""What the internet's name server answers, whatever is asked."""
SECONDS = faults.SECONDS
PATIENT, SOON = 30, 3
"""Seconds for a connection: PATIENT for one that must be answered, SOON for one of several or one that must not be."""

ANDROID = f"""\
ip -4 route flush table main; ip -6 route flush table main
ip route add 192.0.2.0/24 dev wlan0 table 1003
ip route add default via {WIFI_ROUTER} dev wlan0 table 1003
ip route add 198.51.100.0/24 dev rmnet_data0 table 1004
ip route add default via {MOBILE_ROUTER} dev rmnet_data0 table 1004
ip rule add fwmark 0xc0000/0xd0000 lookup 99 priority 10000
ip rule add fwmark 0x10063/0x1ffff iif lo lookup 97 priority 16000
ip rule add fwmark 0x10064/0x1ffff iif lo lookup 1003 priority 16000
ip rule add iif lo oif wlan0 lookup 1003 priority 17000
ip rule add fwmark 0x0/0x10000 lookup 99 priority 18000
ip rule add fwmark 0x0/0x10000 lookup 98 priority 19000
ip rule add fwmark 0x0/0xffff iif lo lookup 1003 priority 31000
ip rule add unreachable priority 32000
"""
"""What netd makes: a table for each network, and rules that hold for what the phone itself sends."""

_WORLD = """\
import contextlib, selectors, socket, subprocess, sys
for command in ("link set lo up", "address add 203.0.113.1/32 dev lo"):
    subprocess.run(["ip", *command.split()], check=True)
label, looks = sys.argv[1].encode(), selectors.DefaultSelector()
def tcp(port):
    sock = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    looks.register(sock, selectors.EVENT_READ, (port, "tcp"))
def udp(port):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("203.0.113.1", port))  # so that it answers from there
    looks.register(sock, selectors.EVENT_READ, (port, "udp"))
tcp(80), tcp(7), udp(53), tcp(53)
def answer(query):
    end = query.index(b"\\0", 12) + 5
    head = query[:2] + b"\\x81\\x80\\0\\1\\0\\1\\0\\0\\0\\0"
    return head + query[12:end] + b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\5\\0\\4" + socket.inet_aton(sys.argv[2])
print("ready", flush=True)
while True:
    for key, _ in looks.select():
        port, kind = key.data
        if kind == "udp":
            query, caller = key.fileobj.recvfrom(4096)
            key.fileobj.sendto(answer(query), caller)
        elif kind == "web":
            looks.unregister(key.fileobj)
            with contextlib.suppress(OSError):
                key.fileobj.recv(4096)
                key.fileobj.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n" + label + b" " + port.encode() + b"\\n")
            key.fileobj.close()
        elif kind == "echo":
            data = b""
            with contextlib.suppress(OSError):  # whoever leaves with data unread resets it
                data = key.fileobj.recv(65536)
                key.fileobj.sendall(data)
            if not data:
                looks.unregister(key.fileobj)
                key.fileobj.close()
        else:
            caller, address = key.fileobj.accept()
            if port == 80:
                looks.register(caller, selectors.EVENT_READ, (address[0].removeprefix("::ffff:"), "web"))
            elif port == 53:
                reply = answer(caller.recv(4096)[2:])
                caller.sendall(len(reply).to_bytes(2, "big") + reply)
                caller.close()
            else:
                looks.register(caller, selectors.EVENT_READ, (port, "echo"))
"""


_MARK = "echo =====;"
_STATE = {
    "links": "ip -brief link | sed 's/@if[0-9]*/ /'",
    "addresses": "ip -brief address | sed 's/@if[0-9]*/ /'",
    "routes": "ip -4 route show table all; ip -6 route show table all",
    "rules": "ip rule; ip -6 rule",
    "firewall": "iptables-save || true; ip6tables-save || true",
    "nftables": "nft list tables | grep ' berth$' || true",
    "connections": "awk -F 'src=' '/=(172[.]28[.]|fd)/ { print $2 }' /proc/net/nf_conntrack",
    "queues": "tc qdisc show | grep berth || true",
    "settings": "cd /proc/sys/net; grep -r . ipv4/conf ipv6/conf ipv4/neigh ipv6/neigh ipv4/ip_forward 2>&1 || true",
}


class Place:
    """A network namespace, and mounts of its own, held by a process."""

    def __init__(self, home: Path, *command: str) -> None:
        keep = list(command) or ["sh", "-c", "echo ready; exec sleep infinity"]
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--mount", *keep],
            env={**os.environ, "BERTH_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n"
        self.pid = self._holder.pid
        # IPv6 addresses are there at once, and stay what they are.
        settings = "sysctl -q net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0"
        self.shell(f"ip link set lo up; {settings}")

    @property
    def prefix(self) -> list[str]:
        """What makes a command run here."""
        return ["nsenter", "--target", str(self.pid), "--net", "--mount", "--"]

    def run(self, *command: str | Path, seconds: float = SECONDS, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command here and return how it ended."""
        return subprocess.run(
            [*self.prefix, *command], check=False, capture_output=True, text=True, timeout=seconds, input=stdin
        )

    def succeed(self, *command: str | Path, stdin: str = "") -> str:
        """Run a command here, assert that it exits with 0, and return what it printed."""
        done = self.run(*command, stdin=stdin)
        assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}"
        return done.stdout

    def shell(self, script: str) -> str:
        """Run a shell script here, which ends at the first command that fails, and return what it printed."""
        return self.succeed("sh", "-ec", script)

    def ip(self, *arguments: str) -> str:
        """Run ip(8) here."""
        return self.succeed("ip", *arguments)

    def fetch(self, address: str, port: int = 80, seconds: float = PATIENT) -> str | None:
        """Return what a web server answers from here, None where it can't be reached."""
        host = f"[{address}]" if ":" in address else address
        done = self.run("curl", "--silent", "--max-time", str(seconds), f"http://{host}:{port}/")
        return done.stdout.strip() if done.returncode == 0 else None

    def end(self) -> None:
        """End the namespace, once nothing else holds it."""
        self._holder.send_signal(signal.SIGKILL)
        self._holder.communicate()


class Phone(Place):
    """The phone: runs `berth`, and has the Wi-Fi up and the mobile network at hand."""

    def __init__(self, berth: Berth, folder: Path) -> None:
        super().__init__(berth.home)
        self.wifi = Place(berth.home, sys.executable, "-c", _WORLD, "wifi", NAMED)
        self.mobile = Place(berth.home, sys.executable, "-c", _WORLD, "mobile", NAMED)
        self.berth = Berth(berth.home)
        self.berth.environment = berth.environment
        self.berth.command = [*self.prefix, *berth.command]
        for name, there, own, router in (
            ("wlan0", self.wifi, WIFI, WIFI_ROUTER),
            ("rmnet_data0", self.mobile, MOBILE, MOBILE_ROUTER),
        ):
            self.shell(
                f"ip link add {name} type veth peer name out netns {there.pid};"
                f"ip address add {own}/24 dev {name}; ip link set {name} up"
            )
            there.shell(f"ip address add {router}/24 dev out;ip address add {INTERNET6}/128 dev lo; ip link set out up")
        self.ip("address", "add", f"{WIFI6}/64", "dev", "wlan0")
        self.wifi.ip("address", "add", f"{WIFI6_ROUTER}/64", "dev", "out")
        self._await_links()
        self._resolv_conf = folder / "resolv.conf"
        self._resolv_conf.write_text(f"nameserver {INTERNET}\n")
        self.succeed("mount", "--bind", self._resolv_conf, "/etc/resolv.conf")

    def use_wifi(self) -> None:
        """Have the default route of an ordinary Linux machine."""
        self.shell(
            f"ip route add default via {WIFI_ROUTER} dev wlan0; ip -6 route add default via {WIFI6_ROUTER} dev wlan0"
        )
        wait_for("its links have a carrier", lambda: self.ip("-brief", "link", "show", "up").count(" UP ") >= 2)

    def put_back(self) -> None:
        """Have the network again that `use_wifi` gave; Berth's own rules are left to it."""
        self.shell(
            "for n in 10000 16000 16000 17000 18000 19000 31000 32000; do ip rule del priority $n || true; done;"
            "for t in 1003 1004; do ip route flush table $t || true; done; ip route flush table main;"
            "ip -6 route flush table main; ip link set wlan0 down; ip link set rmnet_data0 down;"
            f"ip link set wlan0 up; ip link set rmnet_data0 up; ip address replace {WIFI6}/64 dev wlan0"
        )
        self._await_links()
        self.use_wifi()

    def _await_links(self) -> None:
        """The kernel notes in its own time that the other end of a cable is up, and what routes its addresses bring."""
        for link, addresses in {"wlan0": ("fe80:", WIFI6), "rmnet_data0": ("fe80:",)}.items():
            wait_for(f"{link} is up", partial(self._is_up, link, addresses))

    def _is_up(self, link: str, addresses: tuple[str, ...]) -> bool:
        routes = self.ip("-6", "route", "show", "table", "local", "dev", link)
        is_up = self.ip("-brief", "link", "show", link).split()[1] == "UP"
        return is_up and all(f"local {address}" in routes for address in addresses)

    @contextlib.contextmanager
    def setting(self, name: str, value: str) -> Iterator[None]:
        """Have a sysctl be as some other program of the phone may have set it."""
        before = self.succeed("sysctl", "-n", name).strip()
        self.succeed("sysctl", "-q", f"{name}={value}")
        yield
        self.succeed("sysctl", "-q", f"{name}={before}")

    @contextlib.contextmanager
    def mtu(self, link: str, size: int) -> Iterator[None]:
        """Have an uplink carry packets of `size` bytes only."""
        self.ip("link", "set", link, "mtu", str(size))
        yield
        self.ip("link", "set", link, "mtu", "1500")

    def state(self) -> dict[str, str]:
        """Return all that Berth changes here, as text that can be compared."""
        told = self.shell(f"{_MARK}".join(("", *(f"{command};" for command in _STATE.values()))))
        parts = dict(zip(_STATE, told.split("=====\n")[1:], strict=True))
        lines = {part: "\n".join(sorted(text.splitlines())) for part, text in parts.items()}
        return {**lines, "firewall": _without_counters(parts["firewall"])}

    def changes(self, before: dict[str, str]) -> list[str]:
        """Return how that differs from `before`, in words; connections that have ended since are no difference."""
        after = self.state()
        kept = [line for line in before["connections"].splitlines() if line in after["connections"].splitlines()]
        was = {**before, "connections": "\n".join(kept)}
        return [f"{part}:\n{was[part]}\n-->\n{after[part]}" for part in was if was[part] != after[part]]

    def net_process(self) -> int | None:
        """Return the pid of the net process; None where there is none."""
        found = self.net_processes()
        assert len(found) < 2, found
        return found[0] if found else None

    def net_processes(self) -> list[int]:
        """Return the pids of all net processes here."""
        mark = f"BERTH_HOME={self.berth.home}"
        return [pid for pid in _named("berth: net") if mark in _environment(pid)]

    def end(self) -> None:
        """End the phone and what is around it."""
        for place in (self.wifi, self.mobile):
            place.end()
        super().end()


_NDC = """\
#!/bin/sh
cd REQUESTS || exit 1
case "$1 $2" in
"ipfwd enable") touch "$3" ;;
"ipfwd disable") rm "$3" || exit 1 ;;
*) exit 1 ;;
esac
value=0; [ -z "$(ls)" ] || value=1
echo $value > /proc/sys/net/ipv4/ip_forward
echo $value > /proc/sys/net/ipv6/conf/all/forwarding
echo "200 0 ipfwd operation succeeded"
"""


class Netd:
    """The part of Android's netd that forwards packets while anybody asks for it, and its tool `ndc`."""

    def __init__(self, phone: "Phone", folder: Path) -> None:
        self._phone = phone
        self._requests = folder / "requests"
        tools = folder / "system"
        for made in (self._requests, tools):
            made.mkdir()
        ndc = tools / "ndc"
        ndc.write_text(_NDC.replace("REQUESTS", str(self._requests)))
        ndc.chmod(0o755)
        phone.succeed("mount", "-t", "overlay", "-o", f"lowerdir={tools}:/usr/sbin", "overlay", "/usr/sbin")

    @property
    def requesters(self) -> set[str]:
        """Who asks for it."""
        return {path.name for path in self._requests.iterdir()}

    def forwards(self) -> bool:
        """Whether packets are forwarded."""
        return self._phone.succeed("cat", "/proc/sys/net/ipv4/ip_forward") == "1\n"

    def start_again(self) -> None:
        """Forget who asked."""
        for path in self._requests.iterdir():
            path.unlink()
        self._phone.shell("for f in ipv4/ip_forward ipv6/conf/all/forwarding; do echo 0 > /proc/sys/net/$f; done")


def _named(name: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "comm").read_text() == f"{name}\n":
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def _environment(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/environ").read_text().split("\0")
    except OSError:
        return []


def _without_counters(saved: str) -> str:
    """The rules that count: tables that are empty are left behind by iptables itself, whoever looks at them."""
    lines = [line for line in saved.splitlines() if line.startswith(("-A", ":BERTH", "-N"))]
    return "\n".join(lines)


def wait_for(what: str, ask: Any, seconds: float = SECONDS) -> float:
    """Wait until `ask` gives something true, and return how many seconds that took; fail, naming `what`, otherwise."""
    began = time.monotonic()
    while not ask():
        assert time.monotonic() - began < seconds, f"not within {seconds:g} s: {what}"
        time.sleep(0.01)
    return time.monotonic() - began


def told(berth: Berth, name: str) -> dict[str, Any]:
    """Return what `berth info NAME --json` tells."""
    found: dict[str, Any] = json.loads(berth.succeed("info", name, "--json"))
    return found
