"""A container with a network of its own on the phone: behind its iptables, by netd's rules, over its Wi-Fi."""

import http.client

import pytest

from tests.device.phone.machine import GREETING, INTERNET, Phone
from tests.device.phone.scene import IMAGE, info

pytestmark = [pytest.mark.device, pytest.mark.timeout(900)]

ROUTER = "10.0.2.2"
STATE = """
ip -brief link && ip -brief address && ip route show table all && ip -6 route show table all && ip rule && ip -6 rule &&
iptables-save && ip6tables-save && cat /proc/sys/net/ipv4/ip_forward
"""


def state(phone: Phone) -> list[str]:
    """Return all that Berth changes of the phone's network."""
    lines = phone.output("sh", "-c", STATE).splitlines()
    return sorted(line for line in lines if line != "COMMIT" and line[:1] not in "#:*")


def test_a_container_reaches_the_internet_is_reached_from_there_and_leaves_nothing(phone: Phone) -> None:
    phone.berth("stop", "box")
    before = state(phone)

    phone.berth("start", "--name", "net", "--rootfs-img", IMAGE, "--net=nat", "--port", "8080:80")

    address = info(phone, "net")["address"]
    assert address in phone.inside("net", "ip", "address", "show", "eth0").out
    assert "BERTH-FORWARD" in phone.output("iptables", "-S", "FORWARD")
    assert phone.inside("net", "ping", "-c", "1", "-W", "10", ROUTER).code == 0
    heard = phone.inside("net", "sh", "-c", f"nc -w 10 {INTERNET} 80 </dev/null").out
    assert heard.strip() == GREETING
    serve = "mkdir -p /tmp/www && echo berthed >/tmp/www/index.html && httpd -p 80 -h /tmp/www"
    assert phone.inside("net", "sh", "-c", serve).code == 0
    assert fetch(phone.forward(8080)) == b"berthed\n"

    phone.berth("stop", "net")
    phone.wait_until(lambda: state(phone) == before, f"nothing is left; it was {before}")


def fetch(port: int) -> bytes:
    conn = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        conn.request("GET", "/")
        return conn.getresponse().read()
    finally:
        conn.close()
