"""Which way the traffic of containers goes, and how it follows the phone from one network to another."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.device.machine import patience
from tests.house import House, switch_to_mobile
from tests.phone import INTERNET, INTERNET6, MOBILE, MOBILE_ROUTER, NAMED, SOON, WIFI, WIFI6, Netd, told, wait_for

pytestmark = pytest.mark.system


def test_on_android_traffic_goes_where_the_phones_own_goes(on_android: House) -> None:
    on_android.start("net-a", "--port", "8080:80")

    assert on_android.fetch("net-a", INTERNET) == f"wifi {WIFI}"
    assert on_android.phone.wifi.fetch(WIFI, 8080) == "net-a"
    assert on_android.phone.fetch("127.0.0.1", 8080) == "net-a"


def test_traffic_follows_the_phone_to_another_uplink(on_android: House) -> None:
    on_android.start("net-a")
    assert on_android.fetch("net-a", INTERNET) == f"wifi {WIFI}"

    switch_to_mobile(on_android.phone)

    seconds = wait_for("mobile", lambda: on_android.fetch("net-a", INTERNET, seconds=1) == f"mobile {MOBILE}")
    assert seconds < patience(5)


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


def test_what_can_t_survive_the_change_is_reset_and_what_can_goes_on(walled_on_android: House) -> None:
    house = walled_on_android
    house.start("net-a")
    init = str(told(house.phone.berth, "net-a")["pid"])
    talk = ["nsenter", "--target", init, "--net", sys.executable, "-c", TALK]
    with subprocess.Popen(talk, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "talks\n"
        switch_to_mobile(house.phone)

        assert program.communicate(timeout=60)[0] == "reset and asks\n"


DOWNLOAD_AND_PING = """\
import select, socket, struct, time
pinger = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
pinger.setblocking(False)
def connect():
    sock = socket.create_connection(("203.0.113.1", 7), timeout=10)
    sock.sendall(bytes(100000))
    return sock
def ping(number):
    words = (8 << 8, 0, 77, number)
    total = sum(words)
    packet = struct.pack("!4H", words[0], ~(total + (total >> 16)) & 0xffff, 77, number)
    try:
        pinger.sendto(packet, ("203.0.113.1", 0))
    except OSError:
        pass
download, got, number, ended, again, answered = connect(), 0, 0, 0, 0, 0
while not (again and answered):
    number += 1
    ping(number)
    ready = select.select([download, pinger], [], [], 0.005)[0]
    if download in ready:
        try:
            data = download.recv(65536)
            download.sendall(data)
        except OSError:
            data = b""
        if not data:
            ended, since = time.monotonic(), number
            download = connect()
        elif ended:
            again = again or time.monotonic()
        got += len(data)
        if 1000000 < got:
            got = -1 << 60
            print("downloads", flush=True)
    if pinger in ready and struct.unpack("!H", pinger.recv(2000)[26:28])[0] > (since if ended else 1 << 16):
        answered = answered or time.monotonic()
    number %= 60000
print(ended, again, answered)
"""


def test_a_running_download_and_a_ping_are_on_the_next_network_at_once(on_android: House) -> None:
    on_android.start("net-a")
    init = str(told(on_android.phone.berth, "net-a")["pid"])
    inside = ["nsenter", "--target", init, "--net", sys.executable, "-c", DOWNLOAD_AND_PING]
    with subprocess.Popen(inside, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "downloads\n"
        began = time.monotonic()
        switch_to_mobile(on_android.phone)
        ended, again, answered = (float(at) - began for at in program.communicate(timeout=60)[0].split())

    within = patience(3)  # 0.2 on a quiet machine, where the benchmark measures it
    assert 0 < ended < again < within, (ended, again, answered)
    assert answered < within, (ended, again, answered)
    assert on_android.fetch("net-a", INTERNET) == f"mobile {MOBILE}"
    assert f"Address: {NAMED}" in on_android.inside("net-a", "nslookup -type=a example.org")


def test_the_mtu_follows_the_uplink(on_android: House) -> None:
    with on_android.phone.mtu("rmnet_data0", 1400):
        on_android.start("net-a")
        assert on_android.inside("net-a", "cat /sys/class/net/eth0/mtu") == "1500"

        switch_to_mobile(on_android.phone)

        wait_for("it is that of mobile", lambda: on_android.inside("net-a", "cat /sys/class/net/eth0/mtu") == "1400")


def test_what_netd_flushes_is_put_back(on_android: House) -> None:
    phone = on_android.phone
    on_android.start("net-a")

    phone.succeed("iptables", "-F", "FORWARD")
    phone.succeed("iptables", "-t", "nat", "-F", "POSTROUTING")
    for priority in ("5100", "5200"):
        phone.ip("rule", "del", "priority", priority)

    wait_for("it is mended", lambda: on_android.fetch("net-a", INTERNET, seconds=SOON) == f"wifi {WIFI}")
    assert "-A FORWARD -j BERTH-FORWARD" in phone.succeed("iptables", "-S", "FORWARD")


def test_with_pinned_uplinks_traffic_goes_by_no_other(house: House) -> None:
    by_mobile = ("route", "add", "default", "via", MOBILE_ROUTER, "dev", "rmnet_data0", "metric", "900")
    house.phone.ip(*by_mobile)
    house.start("net-a", "--upstream", "tun*,rmnet*")
    house.start("net-b", "--upstream", "tun0")

    assert house.fetch("net-a", INTERNET) == f"mobile {MOBILE}"
    assert "wifi" not in house.fetch("net-b", INTERNET, seconds=SOON)
    house.phone.ip("link", "set", "rmnet_data0", "down")
    wait_for("the way is closed", lambda: "mobile" not in house.fetch("net-a", INTERNET, seconds=SOON))
    house.phone.ip("link", "set", "rmnet_data0", "up")
    house.phone.ip(*by_mobile)
    wait_for("it is open again", lambda: house.fetch("net-a", INTERNET, seconds=SOON) == f"mobile {MOBILE}")
    house.phone.put_back()


# Forwarding.


def test_netd_is_asked_to_forward_and_decides_when_that_ends(house: House, scratch: Path) -> None:
    phone = house.phone
    netd = Netd(phone, scratch)
    assert not netd.forwards()

    house.start("net-a")
    assert (netd.requesters, netd.forwards()) == ({"berth"}, True)
    phone.succeed("ndc", "ipfwd", "enable", "tethering")
    phone.berth.succeed("stop", "net-a")
    assert (netd.requesters, netd.forwards()) == ({"tethering"}, True)

    house.start("net-a")
    phone.succeed("ndc", "ipfwd", "disable", "tethering")
    assert netd.forwards()
    assert house.fetch("net-a", INTERNET) == f"wifi {WIFI}"


@pytest.mark.parametrize("android", [False, True], ids=["elsewhere", "with-netd"])
def test_forwarding_that_somebody_switched_off_is_switched_on_again(house: House, scratch: Path, android: bool) -> None:
    netd = Netd(house.phone, scratch) if android else None
    house.start("net-a")

    if netd is not None:
        netd.start_again()
    else:
        house.phone.succeed("sysctl", "-q", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0")

    wait_for("it is forwarded again", lambda: house.fetch("net-a", INTERNET, seconds=SOON) == f"wifi {WIFI}")
    wait_for("IPv6 too", lambda: house.fetch("net-a", INTERNET6, seconds=SOON) == f"wifi {WIFI6}")
    assert netd is None or netd.requesters == {"berth"}


# Limits.

PUMP = """\
import socket, sys, time
sock = socket.create_connection(("203.0.113.1", 7), timeout=30)
began, amount = time.perf_counter(), int(sys.argv[1])
while amount > 0:
    sock.sendall(bytes(1 << 14))
    amount -= 1 << 14
    wanted = 1 << 14
    while wanted:
        wanted -= len(sock.recv(wanted))
print(time.perf_counter() - began)
"""


@pytest.mark.parametrize("flag", ["--bandwidth-down", "--bandwidth-up"])
def test_a_limit_of_bandwidth_holds_in_its_direction(house: House, flag: str) -> None:
    house.start("net-a", flag, "500K")
    init = str(told(house.phone.berth, "net-a")["pid"])

    inside = ["nsenter", "--target", init, "--net", sys.executable, "-c", PUMP]
    taken = float(subprocess.run([*inside, str(1 << 20)], check=True, capture_output=True, text=True).stdout)

    assert taken > 0.8 * (1 << 20) / (500 << 10)
    links = house.phone.succeed("tc", "-s", "qdisc", "show")
    buckets = [line for line in links.splitlines() if line.startswith("qdisc tbf")]
    assert len(buckets) == 1, links
    assert ("berthu" in buckets[0]) == (flag == "--bandwidth-up")
    house.inside("net-a", "tc qdisc del dev eth0 root; tc qdisc del dev eth0 ingress")
    assert "qdisc tbf" in house.phone.succeed("tc", "qdisc", "show")
