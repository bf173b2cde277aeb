"""Containers with `--net=nat` on the phone of `tests.phone`: each is a web server that tells its name."""

from collections.abc import Callable
from pathlib import Path

from tests import quick
from tests.phone import PATIENT, SOON, Phone, told, wait_for

Factory = Callable[[str], Path]
SUBNET = "172.28.0.0/16"
GATEWAY = "172.28.0.1"
SERVER = """\
#!/bin/sh
(ip address show eth0; ip route; cat /etc/resolv.conf) > /at-first
mkdir -p /tmp/www; hostname > /tmp/www/index.html
for port in 82 81 80; do httpd -p $port -h /tmp/www; done
trap 'exit 0' TERM
while :; do sleep 3600 & wait $!; done
"""

TAKES_LEASES = """\
#!/bin/sh
mkdir -p /tmp/www; hostname > /tmp/www/index.html; httpd -p 80 -h /tmp/www
cat > /tmp/lease <<'END'
#!/bin/sh
[ -z "$ip" ] || { ip address replace $ip/24 dev $interface; ip route replace default via $router; }
END
chmod +x /tmp/lease
trap 'exit 0' TERM
"""
"""How an init begins that serves its host name, and has /tmp/lease for udhcpc."""


class House:
    """Starts containers on the phone, each a web server that tells its name."""

    def __init__(self, phone: Phone, rootfs: Factory) -> None:
        self.phone = phone
        self.rootfs = rootfs

    def start(self, name: str, *flags: str | Path) -> str:
        """Start container `name` and return its address."""
        root = self.rootfs("busybox")
        quick.write_init(root, "/sbin/server", SERVER)
        self.phone.berth.succeed("start", name, "--rootfs", root, "--init", "/sbin/server", "--net=nat", *flags)
        address = told(self.phone.berth, name)["address"]
        wait_for("its last web server answers", lambda: self.phone.fetch(address, seconds=SOON))
        return str(address)

    def inside(self, name: str, script: str) -> str:
        """Run a shell script inside and return what it printed, whatever its exit code."""
        done = self.phone.berth("run", name, "--", "sh", "-c", script)
        return (done.stdout + done.stderr).strip()

    def fetch(self, name: str, host: str, port: int = 80, seconds: int = PATIENT) -> str:
        """Return what a web server answers to the container `name` within `seconds`."""
        return self.inside(name, f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w {seconds} {host} {port} | tail -n 1")


def switch_to_mobile(phone: Phone) -> None:
    """Do what netd does when the default network changes."""
    phone.ip(*["rule", "add", "fwmark", "0x0/0xffff", "iif", "lo", "lookup", "1004", "priority", "31000"])
    phone.ip(*["rule", "del", "fwmark", "0x0/0xffff", "iif", "lo", "lookup", "1003", "priority", "31000"])
