"""The network of containers on Linux 5.10, by nftables alone: there is no iptables, and no macvlan."""

import json
import time
from collections.abc import Callable, Iterator

import pytest

from tests.device.machine import Machine, booted, patience
from tests.device.packages import NotThere

pytestmark = [pytest.mark.device, pytest.mark.timeout(600)]

SUITE = "bullseye"
SECONDS = 60.0
PHONE, ROUTER, INTERNET = "192.0.2.2", "192.0.2.1", "203.0.113.1"
PHONE6, ROUTER6, INTERNET6 = "2001:db8:1::2", "2001:db8:1::1", "2001:db8:ffff::1"
MAKE_WORLD = f"""
unshare -n sleep 100000 </dev/null >/dev/null 2>&1 &
world=$!
while [ "$(readlink /proc/$world/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.1; done
echo $world >/run/world
ip link add wlan0 type veth
ip link set veth0 netns $world
echo 0 >/proc/sys/net/ipv6/conf/wlan0/accept_dad
ip address add {PHONE}/24 dev wlan0
ip address add {PHONE6}/64 dev wlan0
ip link set lo up
ip link set wlan0 up
mkdir -p /tmp/www && echo world >/tmp/www/index.html
nsenter -t $world -n sh -ec '
echo 0 >/proc/sys/net/ipv6/conf/veth0/accept_dad
ip link set lo up
ip address add {INTERNET}/32 dev lo
ip address add {INTERNET6}/128 dev lo
ip address add {ROUTER}/24 dev veth0
ip address add {ROUTER6}/64 dev veth0
ip link set veth0 up
httpd -p 80 -h /tmp/www' </dev/null >/dev/null 2>&1
ip route add default via {ROUTER}
ip -6 route add default via {ROUTER6}
# The kernel adds the routes of addresses in its own time: those to fe80:: and {PHONE6} as the phone's own come last.
for own in fe80 20010db80001; do
  until grep -q "^$own[0-9a-f]* 80 " /proc/net/ipv6_route; do sleep 0.1; done
done
"""
SERVE = "mkdir -p /tmp/www && hostname >/tmp/www/index.html && httpd -p 80 -h /tmp/www"
STATE = """
ip -o link | sed 's/^[0-9]*: //; s/@.*//; s/:.*//'; ip address | grep inet; ip route show table all
ip -6 route show table all; ip rule; ip -6 rule
cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding
"""
ANOTHER_PROGRAM = "from berth.network.nftables import Nftables; [Nftables(family).remove() for family in (4, 6)]"


@pytest.fixture(scope="module")
def vm() -> Iterator[Machine]:
    try:
        with booted(suite=SUITE) as machine:
            machine.output("sh", "-ec", MAKE_WORLD)
            yield machine
    except NotThere as error:
        pytest.skip(str(error))


def fetched(vm: Machine, place: str, *where: str, seconds: int = 20) -> str:
    """Return what a web server at `place`, a host or host|port, answers to a program run by `where`; "" for nothing."""
    host, _, port = place.rpartition("|")
    ask = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w {seconds} {host or place} {port if host else 80} | tail -n 1"
    return vm.run(*where, "sh", "-c", ask).out.strip()


def from_world(vm: Machine, place: str) -> str:
    return fetched(vm, place, "nsenter", "-t", vm.read("/run/world"), "-n")


def from_inside(vm: Machine, name: str, place: str, seconds: int = 20) -> str:
    return fetched(vm, place, "berth", "run", name, "--", seconds=seconds)


def start(vm: Machine, name: str, *flags: str) -> str:
    """Start container `name` as a web server that tells its name, and return its address."""
    vm.berth("start", "--name", name, "--rootfs", "/srv/busybox", "--volatile", "--net=nat", *flags)
    assert vm.inside(name, "sh", "-ec", SERVE).code == 0
    return str(json.loads(vm.berth("info", name, "--json"))["address"])


def wait_until(condition: Callable[[], object], what: str) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < patience(SECONDS), f"not within {SECONDS:g} s: {what}"
        time.sleep(0.2)


def test_containers_have_all_of_the_network_and_leave_nothing(vm: Machine) -> None:
    before = vm.output("sh", "-c", STATE)
    first = start(vm, "one", "--port", "8080:80", "--bandwidth-up", "4M")
    second = start(vm, "two", "--isolated")
    third = start(vm, "three", "--bridge", "--port", "8081:80")
    fourth = start(vm, "four", "--bridge")
    assert '"firewall":"nftables"' in vm.berth("net", "--json").replace(" ", "")

    for name in ("one", "two", "three"):
        assert from_inside(vm, name, INTERNET) == "world"
        assert from_inside(vm, name, INTERNET6) == "world"
    assert [from_world(vm, f"{PHONE}|{port}") for port in (8080, 8081)] == ["one", "three"]
    assert from_world(vm, f"{PHONE6}|8080") == "one"
    assert fetched(vm, "127.0.0.1|8080") == "one"
    assert [from_inside(vm, "one", place) for place in (third, f"{PHONE}|8081")] == ["three", "three"]
    assert [from_inside(vm, "three", place) for place in (first, fourth)] == ["one", "four"]
    apart = {"one": second, "three": second, "two": first}
    assert [from_inside(vm, name, place, seconds=2) for name, place in apart.items()] == [""] * 3

    vm.output("env", "PYTHONPATH=/opt/berth", "python3", "-c", ANOTHER_PROGRAM)
    wait_until(lambda: from_inside(vm, "one", INTERNET) == "world", "what was taken away is there again")
    wait_until(lambda: from_world(vm, f"{PHONE}|8080") == "one", "its port too")

    vm.berth("stop", "--all", "--timeout", "1")
    assert vm.output("sh", "-c", STATE) == before
