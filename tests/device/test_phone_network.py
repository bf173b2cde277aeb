"""A container with a network of its own on the phone: behind its iptables, by netd's rules, over its Wi-Fi."""

import http.client

import pytest

from tests.device.machine import patience
from tests.device.phone.machine import BERTH, Phone
from tests.device.phone.nat import serves_on_nat, without_iptables
from tests.device.phone.scene import IMAGE

pytestmark = [pytest.mark.device, pytest.mark.timeout(900)]

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

    serves_on_nat(phone, "--port", "8080:80")

    assert "BERTH-FORWARD" in phone.output("iptables", "-S", "FORWARD")
    assert fetch(phone.forward(8080)) == b"berthed\n"

    phone.berth("stop", "net")
    phone.wait_until(lambda: state(phone) == before, f"nothing is left; it was {before}")


def test_rules_that_netd_flushes_are_put_back_though_the_kernel_does_not_tell_of_it(phone: Phone) -> None:
    phone.berth("stop", "box")
    serves_on_nat(phone)

    phone.output("iptables", "-F", "FORWARD")

    phone.wait_until(lambda: "BERTH-FORWARD" in phone.output("iptables", "-S", "FORWARD"), "the rule is back")


def test_where_iptables_does_not_work_nftables_keeps_the_rules(phone: Phone) -> None:
    phone.berth("stop", "box")
    without_iptables(phone)

    serves_on_nat(phone)

    assert '"firewall":"nftables"' in phone.berth("net", "--json").replace(" ", "")


def test_a_kernel_without_bridges_says_so_before_the_start(phone: Phone) -> None:
    phone.berth("stop", "box")
    before = state(phone)

    refused = phone.run(BERTH, "start", "--name", "net", "--rootfs-img", IMAGE, "--net=nat", "--bridge")

    assert (refused.code, "--bridge needs a kernel with CONFIG_BRIDGE" in refused.err) == (1, True), refused.err
    assert state(phone) == before


def fetch(port: int) -> bytes:
    conn = http.client.HTTPConnection("127.0.0.1", port, timeout=patience(30.0))
    try:
        conn.request("GET", "/")
        return conn.getresponse().read()
    finally:
        conn.close()
