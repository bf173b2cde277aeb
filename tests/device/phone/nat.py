"""A container `net` behind the phone's NAT, and what that is kept by."""

from tests.device.phone.machine import GREETING, INTERNET, Phone
from tests.device.phone.scene import IMAGE, info

ROUTER = "10.0.2.2"


def serves_on_nat(phone: Phone, *flags: str) -> None:
    """Start it as a web server, and fail unless it has its address and reaches the internet."""
    phone.berth("start", "--name", "net", "--rootfs-img", IMAGE, "--net=nat", *flags)

    address = info(phone, "net")["address"]
    assert address in phone.inside("net", "ip", "address", "show", "eth0").out
    assert phone.inside("net", "ping", "-c", "1", "-W", "60", ROUTER).code == 0
    heard = phone.inside("net", "sh", "-c", f"nc -w 60 {INTERNET} 80 </dev/null").out
    assert heard.strip() == GREETING
    serve = "mkdir -p /tmp/www && echo berthed >/tmp/www/index.html && httpd -p 80 -h /tmp/www"
    assert phone.inside("net", "sh", "-c", serve).code == 0


def without_iptables(phone: Phone) -> None:
    """Have the phone's iptables work no more."""
    nothing = "/data/local/nothing"
    phone.output("sh", "-c", f": > {nothing}")  # a file like the other, or toybox would look for a loop device
    phone.output("mount", "-o", "bind", nothing, "/system/bin/iptables")
