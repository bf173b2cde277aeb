"""`--net=nat`: a container on a network of its own, as its user sees it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from berth.engine.journal import boot_id
from berth.network.addresses import address_of, link_of
from tests import faults, quick
from tests.phone import (
    INTERNET,
    INTERNET6,
    MOBILE,
    MOBILE_ROUTER,
    NAMED,
    SECONDS,
    WIFI,
    WIFI6,
    WIFI_ROUTER,
    Phone,
    phone,
    told,
    wait_for,
)

pytestmark = pytest.mark.system
__all__ = ["phone"]

Factory = Callable[[str], Path]
SUBNET = "172.28.0.0/16"
GATEWAY = "172.28.0.1"
SERVER = """\
#!/bin/sh
(ip address show eth0; ip route; cat /etc/resolv.conf) > /at-first
mkdir -p /tmp/www; hostname > /tmp/www/index.html
for port in 80 81 82; do httpd -p $port -h /tmp/www; done
trap 'exit 0' TERM
while :; do sleep 3600 & wait $!; done
"""


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
        wait_for("its web server answers", lambda: self.phone.fetch(address))
        return str(address)

    def inside(self, name: str, script: str) -> str:
        """Run a shell script inside and return what it printed, whatever its exit code."""
        done = self.phone.berth("run", name, "--", "sh", "-c", script)
        return (done.stdout + done.stderr).strip()

    def fetch(self, name: str, host: str, port: int = 80) -> str:
        """Return what a web server answers to the container `name`."""
        return self.inside(name, f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 3 {host} {port} | tail -n 1")


@pytest.fixture
def house(phone: Phone, rootfs: Factory) -> House:
    return House(phone, rootfs)


# Address, route, names.


def test_the_network_is_there_when_init_starts(house: House) -> None:
    address = house.start("net-a")

    at_first = house.inside("net-a", "cat /at-first")
    assert f"inet {address}/16" in at_first
    assert f"default via {GATEWAY} dev eth0" in at_first
    assert f"nameserver {GATEWAY}" in at_first


def test_the_address_comes_from_the_name_and_is_told(house: House) -> None:
    address = house.start("net-a")

    assert address == address_of("net-a", SUBNET, ())
    info = house.phone.berth.succeed("info", "net-a")
    assert f"address: {address}" in info
    assert "kind: nat" in info


def test_address_and_link_survive_a_stop_and_a_reboot_inside(house: House) -> None:
    address = house.start("net-a", "--ip", "172.28.9.9")
    mac = house.inside("net-a", "cat /sys/class/net/eth0/address")
    assert address == "172.28.9.9"

    house.phone.berth.succeed("restart", "net-a")
    assert told(house.phone.berth, "net-a")["address"] == address
    init = told(house.phone.berth, "net-a")["pid"]
    house.inside("net-a", "rm /at-first; kill -HUP 1; busybox reboot -f")
    wait_for("it has come again", lambda: told(house.phone.berth, "net-a")["pid"] not in (init, None))

    wait_for("its network is as before", lambda: f"inet {address}/16" in house.inside("net-a", "cat /at-first"))
    assert house.inside("net-a", "cat /sys/class/net/eth0/address") == mac
    assert house.fetch("net-a", INTERNET) == f"wifi {WIFI}"


def test_it_reaches_the_internet_behind_the_address_of_the_phone(house: House) -> None:
    house.start("net-a")

    assert house.fetch("net-a", INTERNET) == f"wifi {WIFI}"
    assert house.fetch("net-a", INTERNET6) == f"wifi {WIFI6}"


def test_without_ipv6_there_is_none(house: House) -> None:
    house.start("net-a", "--disable-ipv6")

    assert "inet6 fd" not in house.inside("net-a", "ip address show eth0")
    assert house.fetch("net-a", INTERNET) == f"wifi {WIFI}"


def test_names_of_containers_and_of_the_internet_are_resolved(house: House) -> None:
    house.start("net-a")
    address = house.start("net-B.1")

    assert f"Address: {address}" in house.inside("net-a", "nslookup net-B.1.berth")
    assert f"Address: {NAMED}" in house.inside("net-a", "nslookup -type=a example.org")
    assert "NXDOMAIN" in house.inside("net-a", "nslookup net-c.berth")


def test_an_isolated_container_reaches_the_internet_and_no_other_container(house: House) -> None:
    open_one = house.start("net-a")
    closed = house.start("net-b", "--isolated")

    assert house.fetch("net-b", INTERNET) == f"wifi {WIFI}"
    assert house.fetch("net-a", closed) != "net-b"
    assert house.fetch("net-b", open_one) != "net-a"
    assert "NXDOMAIN" in house.inside("net-a", "nslookup net-b.berth")


def test_a_dhcp_client_inside_gets_the_same_address(house: House) -> None:
    address = house.start("net-a", "--hostname", "harbour")
    script = "/tmp/lease"
    house.inside("net-a", f"printf '#!/bin/sh\\nenv\\n' > {script}; chmod +x {script}; ip address flush dev eth0")

    lease = house.inside("net-a", f"udhcpc -f -q -n -t 3 -s {script} -i eth0").splitlines()

    assert {f"ip={address}", f"router={GATEWAY}", "mask=16", f"dns={GATEWAY}", "domain=berth", "mtu=1500"} <= {*lease}
    assert {"hostname=harbour", f"serverid={GATEWAY}", "lease=86400"} <= {*lease}


def test_a_client_that_asks_for_another_address_is_refused_it(house: House) -> None:
    address = house.start("net-a")
    script = "/tmp/lease"
    house.inside("net-a", f"printf '#!/bin/sh\\nenv\\n' > {script}; chmod +x {script}")

    lease = house.inside("net-a", f"udhcpc -f -q -n -t 3 -r 172.28.7.7 -s {script} -i eth0")

    assert f"ip={address}" in lease.splitlines()


# Ports.


def test_a_port_is_reached_from_everywhere(house: House) -> None:
    phone = house.phone
    house.start("net-a", "--port", "8080:80", "--port", "9081-9082:81-82")
    house.start("net-b")

    assert phone.wifi.fetch(WIFI, 8080) == "net-a"
    assert phone.wifi.fetch(WIFI6, 8080) == "net-a"
    assert phone.wifi.fetch(WIFI, 9082) == "net-a"
    assert [phone.fetch(place, 8080) for place in (WIFI, "127.0.0.1", "::1")] == ["net-a"] * 3
    for name in ("net-a", "net-b"):
        assert [house.fetch(name, place, 8080) for place in (WIFI, GATEWAY)] == ["net-a"] * 2


def test_a_port_of_the_phones_own_traffic_is_left_alone(house: House) -> None:
    house.start("net-a", "--port", "80:81")

    assert house.phone.fetch(INTERNET) == f"wifi {WIFI}"
    assert house.fetch("net-a", INTERNET) == f"wifi {WIFI}"


def test_a_port_on_localhost_is_for_the_phone_alone(house: House) -> None:
    house.start("net-a", "--port", "127.0.0.1:8080:80")

    assert house.phone.fetch("127.0.0.1", 8080) == "net-a"
    assert house.phone.wifi.fetch(WIFI, 8080) is None
    assert house.phone.fetch("::1", 8080) is None


def test_much_and_several_go_through_a_port_on_localhost(house: House) -> None:
    house.start("net-a", "--port", "8080:80,7000:7")
    house.inside("net-a", "dd if=/dev/urandom of=/tmp/www/big bs=1M count=24; (nc -lk -p 7 -e cat >/dev/null 2>&1 &)")
    digest = house.inside("net-a", "md5sum /tmp/www/big").split()[0]

    script = "for n in 1 2 3; do curl -s --max-time 20 http://127.0.0.1:8080/big | md5sum & done; wait"
    assert house.phone.succeed("sh", "-c", script).split() == [digest, "-"] * 3


ECHO = """\
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("", 53))
print(1, flush=True)
while True:
    data, caller = sock.recvfrom(100)
    sock.sendto(data + b" back", caller)
"""
ASK = """\
import socket, sys
sock = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(5)
sock.connect((sys.argv[1], 5300))
for word in (b"one", b"two"):
    sock.send(word)
    print(sock.recv(100).decode())
"""


def test_datagrams_and_their_answers_go_through_a_port(house: House) -> None:
    house.start("net-a", "--port", "5300:53/udp")
    init = str(told(house.phone.berth, "net-a")["pid"])
    inside = ["nsenter", "--target", init, "--net", sys.executable, "-c", ECHO]
    with subprocess.Popen(inside, stdout=subprocess.PIPE) as echo:
        assert echo.stdout is not None
        echo.stdout.readline()

        for place, address in ((house.phone, "127.0.0.1"), (house.phone, "::1"), (house.phone.wifi, WIFI)):
            assert place.succeed(sys.executable, "-c", ASK, address) == "one back\ntwo back\n"
        echo.kill()


@pytest.mark.parametrize(
    ("port", "sentence"),
    [("8080:80", "a program of this device has it"), ("9000:80", "container net-a has it")],
)
def test_a_port_that_is_taken_is_refused_before_anything_is_done(house: House, port: str, sentence: str) -> None:
    house.start("net-a", "--port", "9000:80")
    holder = ["python3", "-c", "import socket; s = socket.create_server(('', 8080)); print(1, flush=True); s.accept()"]
    with subprocess.Popen([*house.phone.prefix, *holder], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.readline()
        state = house.phone.state()
        refused = house.phone.berth("start", "net-b", "--rootfs", house.rootfs("busybox"), "--net=nat", "--port", port)
        program.kill()

    assert refused.returncode == 1
    assert f"container net-b: port {port.partition(':')[0]}/tcp can't be shown: {sentence}" in refused.stderr
    assert house.phone.state() == state
    assert "net-b" not in house.phone.berth.succeed("list", "--names")


def test_the_network_is_told(house: House) -> None:
    assert "no container is on the network" in house.phone.berth.succeed("net")
    address = house.start("net-a", "--port", "9000-9001:90-91/udp")

    said = house.phone.berth.succeed("net")

    assert f"net-a\n  address: {address}, fd" in said
    assert "port: * 9000-9001 -> 90-91/udp" in said
    assert "uplink: wlan0 (the phone's own traffic goes this way: rule 32766, the main table)" in said
    member = json.loads(house.phone.berth.succeed("net", "--json"))["members"][0]
    assert (member["lease"]["address"], member["uplink"]["link"]) == (address, "wlan0")


# Uplinks.


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


def switch_to_mobile(phone: Phone) -> None:
    """Do what netd does when the default network changes."""
    phone.ip(*["rule", "add", "fwmark", "0x0/0xffff", "iif", "lo", "lookup", "1004", "priority", "31000"])
    phone.ip(*["rule", "del", "fwmark", "0x0/0xffff", "iif", "lo", "lookup", "1003", "priority", "31000"])


@pytest.fixture
def on_android(rootfs: Factory, phone: Phone) -> Iterator[House]:
    """A house on a phone whose network is netd's; that part of it is the test's own, and put back."""
    phone.shell(ANDROID)
    yield House(phone, rootfs)
    phone.berth("stop", "--all", "--timeout", "2")
    phone.put_back()


def test_on_android_traffic_goes_where_the_phones_own_goes(on_android: House) -> None:
    on_android.start("net-a", "--port", "8080:80")

    assert on_android.fetch("net-a", INTERNET) == f"wifi {WIFI}"
    assert on_android.phone.wifi.fetch(WIFI, 8080) == "net-a"
    assert on_android.phone.fetch("127.0.0.1", 8080) == "net-a"


def test_traffic_follows_the_phone_to_another_uplink(on_android: House) -> None:
    on_android.start("net-a")
    assert on_android.fetch("net-a", INTERNET) == f"wifi {WIFI}"

    switch_to_mobile(on_android.phone)

    seconds = wait_for("mobile", lambda: on_android.fetch("net-a", INTERNET) == f"mobile {MOBILE}")
    assert seconds < 5


TALK = """\
import socket, time
sock = socket.create_connection(("203.0.113.1", 7), timeout=30)
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.connect(("203.0.113.1", 53))
query = b"\\0\\1\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\1a\\0\\0\\1\\0\\1"
datagrams.settimeout(1)
def ask():
    for _ in range(10):
        try:
            datagrams.send(query)
            return len(datagrams.recv(100))
        except OSError:
            continue
ask()
print("talks", flush=True)
began = time.monotonic()
try:
    sock.recv(1)
    print("closed", end=" ")
except TimeoutError:
    print("waited in vain", end=" ")
except OSError as error:
    print("reset" if time.monotonic() - began < 20 else "too late", end=" ")
print("and asks" if ask() else "and is not heard")
"""


def test_what_can_t_survive_the_change_is_reset_and_what_can_goes_on(on_android: House) -> None:
    on_android.start("net-a")
    init = str(told(on_android.phone.berth, "net-a")["pid"])
    talk = ["nsenter", "--target", init, "--net", sys.executable, "-c", TALK]
    with subprocess.Popen(talk, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "talks\n"
        switch_to_mobile(on_android.phone)

        assert program.communicate(timeout=60)[0] == "reset and asks\n"


def test_the_mtu_follows_the_uplink(on_android: House) -> None:
    on_android.phone.ip("link", "set", "rmnet_data0", "mtu", "1400")
    on_android.start("net-a")
    assert on_android.inside("net-a", "cat /sys/class/net/eth0/mtu") == "1500"

    switch_to_mobile(on_android.phone)

    wait_for("the MTU is that of mobile", lambda: on_android.inside("net-a", "cat /sys/class/net/eth0/mtu") == "1400")


def test_what_netd_flushes_is_put_back(on_android: House) -> None:
    phone = on_android.phone
    on_android.start("net-a")

    phone.succeed("iptables", "-F", "FORWARD")
    phone.succeed("iptables", "-t", "nat", "-F", "POSTROUTING")
    for priority in ("5100", "5200"):
        phone.ip("rule", "del", "priority", priority)

    wait_for("it is mended", lambda: on_android.fetch("net-a", INTERNET) == f"wifi {WIFI}")
    assert "-A FORWARD -j BERTH-FORWARD" in phone.succeed("iptables", "-S", "FORWARD")


def test_with_pinned_uplinks_traffic_goes_by_no_other(house: House) -> None:
    by_mobile = ("route", "add", "default", "via", MOBILE_ROUTER, "dev", "rmnet_data0", "metric", "900")
    house.phone.ip(*by_mobile)
    house.start("net-a", "--upstream", "tun*,rmnet*")
    house.start("net-b", "--upstream", "tun0")

    assert house.fetch("net-a", INTERNET) == f"mobile {MOBILE}"
    assert "wifi" not in house.fetch("net-b", INTERNET)
    house.phone.ip("link", "set", "rmnet_data0", "down")
    wait_for("the way is closed", lambda: "mobile" not in house.fetch("net-a", INTERNET))
    house.phone.ip("link", "set", "rmnet_data0", "up")
    house.phone.ip(*by_mobile)
    wait_for("it is open again", lambda: house.fetch("net-a", INTERNET) == f"mobile {MOBILE}")
    house.phone.put_back()


# Hostile containers.


def test_nobody_can_send_from_the_address_of_another(house: House) -> None:
    house.start("net-a")
    other = house.start("net-b")

    house.inside("net-a", f"ip address add {other}/32 dev eth0")
    spoofed = house.inside("net-a", f"ping -c 1 -W 1 -I {other} {INTERNET}")

    assert "1 packets transmitted, 0 packets received" in spoofed
    assert house.fetch("net-b", INTERNET) == f"wifi {WIFI}"


def test_what_the_phone_has_on_localhost_is_out_of_reach(house: House) -> None:
    house.start("net-a")
    holder = "import socket\ns = socket.create_server(('127.0.0.1', 8765)); print(1, flush=True); s.accept()"
    with subprocess.Popen([*house.phone.prefix, "python3", "-c", holder], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.readline()
        house.inside("net-a", f"ip route add 127.0.0.1 via {GATEWAY} table local 2>&1; ip route del 127.0.0.0/8")
        for place in (GATEWAY, WIFI, "127.0.0.1"):
            assert house.inside("net-a", f"nc -w 1 {place} 8765 </dev/null && echo reached") != "reached"
        program.kill()


def test_from_outside_only_published_ports_are_reached(house: House) -> None:
    address = house.start("net-a", "--port", "8080:81")
    house.phone.wifi.ip("route", "add", SUBNET, "via", WIFI)

    assert house.phone.wifi.fetch(address, seconds=1) is None
    assert house.phone.wifi.fetch(GATEWAY, 53, seconds=1) is None
    assert house.phone.wifi.fetch(WIFI, 8080) == "net-a"


# Ends of all kinds.


@pytest.mark.parametrize("service", [False, True], ids=["by-command", "by-service"])
def test_the_net_process_is_there_for_the_first_and_gone_with_the_last(house: House, service: bool) -> None:
    phone = house.phone
    before = phone.state()
    if service:
        phone.berth.succeed("serve", "--background")
    try:
        house.start("net-a")
        first = phone.net_process()
        house.start("net-b")
        assert first is not None
        assert phone.net_process() == first

        phone.berth.succeed("stop", "net-a")
        assert phone.net_process() == first
        phone.berth.succeed("stop", "net-b")

        assert phone.state() == before
        wait_for("it has ended", lambda: phone.net_process() is None)
    finally:
        if service:
            os.kill(int((phone.berth.home / "run/supervisor.lock").read_text()), signal.SIGTERM)


def test_a_killed_net_process_is_replaced_and_nobody_notices(house: House) -> None:
    phone = house.phone
    house.start("net-a", "--port", "8080:80")
    house.start("net-b")
    first = phone.net_process()
    assert first is not None

    faults.kill(first)

    wait_for("there is another one", lambda: phone.net_process() not in (None, first))
    wait_for("it serves ports", lambda: phone.fetch("127.0.0.1", 8080) == "net-a")
    assert "Address: 172.28." in house.inside("net-b", "nslookup net-a.berth")
    switch = ("route", "replace", "default", "via", MOBILE_ROUTER, "dev", "rmnet_data0")
    phone.ip(*switch)
    wait_for("it follows the phone", lambda: house.fetch("net-b", INTERNET) == f"mobile {MOBILE}")
    phone.put_back()


def test_recover_undoes_it_when_all_were_killed(house: House) -> None:
    phone = house.phone
    before = phone.state()
    house.start("net-a", "--port", "8080:80")
    info = told(phone.berth, "net-a")
    net = phone.net_process()
    assert net is not None
    os.kill(net, signal.SIGSTOP)  # so that nobody can start another one in time

    for pid in (info["monitor_pid"], net, info["pid"]):
        faults.kill(pid)
    assert link_of("net-a") in phone.ip("-brief", "link") or phone.state() != before
    phone.berth.succeed("recover")

    assert phone.state() == before
    wait_for("nobody is left", lambda: phone.net_process() is None)


@pytest.mark.parametrize("record", ["boot", "namespace"])
def test_what_was_changed_in_another_boot_or_network_is_not_put_back_here(phone: Phone, record: str) -> None:
    before = phone.state()
    folder = phone.berth.home / "run" / "network"
    folder.mkdir(parents=True, exist_ok=True)
    here = {"boot": boot_id(), "namespace": Path(f"/proc/{phone.pid}/ns/net").stat().st_ino}
    changed = {**here, "subnet": SUBNET, "sysctls": {"/proc/sys/net/ipv4/ip_forward": "1"}}
    changed[record] = "another" if record == "boot" else 1
    (folder / "changed").write_text(json.dumps(changed))

    phone.berth.succeed("recover")

    wait_for("the net process has ended", lambda: phone.net_process() is None)
    assert phone.state() == before
    assert not (folder / "changed").exists()


@pytest.mark.parametrize("stage", ["recorded", "cgroups", "namespaces", "built", "ready", "executed"])
def test_a_start_killed_half_way_leaves_nothing(house: House, stage: str) -> None:
    phone = house.phone
    before = phone.state()
    root = faults.write_init(house.rootfs("busybox"))
    start = faults.PausedStart(phone.berth, stage, "net-a", "start", "net-a", "--rootfs", root, "--net=nat")

    start.kill("monitor")
    start.settle()
    phone.berth.succeed("recover")

    wait_for("nobody is left", lambda: phone.net_process() is None, SECONDS)
    assert phone.state() == before


def test_a_container_whose_monitor_was_killed_keeps_its_network(house: House) -> None:
    phone = house.phone
    house.start("net-a")
    faults.kill(told(phone.berth, "net-a")["monitor_pid"])

    assert house.fetch("net-a", INTERNET) == f"wifi {WIFI}"
    phone.berth.succeed("recover")
    net = phone.net_process()
    assert net is not None
    faults.kill(net)

    wait_for("its new monitor has another one started", lambda: phone.net_process() not in (None, net))
    assert house.fetch("net-a", INTERNET) == f"wifi {WIFI}"
