"""Ports of containers: who reaches them, from where, and which are refused."""

import json
import resource
import subprocess
import sys

import pytest

from tests.house import GATEWAY, House
from tests.phone import INTERNET, NAMED, SOON, WIFI, WIFI6, Phone, told, wait_for

pytestmark = pytest.mark.system


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
    assert house.phone.wifi.fetch(WIFI, 8080, seconds=SOON) is None
    assert house.phone.fetch("::1", 8080, seconds=SOON) is None


def test_much_and_several_go_through_a_port_on_localhost(house: House) -> None:
    house.start("net-a", "--port", "8080:80,7000:7")
    house.inside("net-a", "dd if=/dev/urandom of=/tmp/www/big bs=1M count=24; (nc -lk -p 7 -e cat >/dev/null 2>&1 &)")
    digest = house.inside("net-a", "md5sum /tmp/www/big").split()[0]

    script = "for n in 1 2 3; do curl -s --max-time 60 http://127.0.0.1:8080/big | md5sum & done; wait"
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
sock.settimeout(30)
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
    assert house.phone.changes(state) == []
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


CROWD = """\
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
crowd = []
for _ in range(700):
    sock = socket.socket()
    sock.settimeout(60)
    sock.connect(("127.0.0.1", 8080))
    crowd.append(sock)
print("there", flush=True)
sys.stdin.read()
"""


def crowd_at(phone: Phone) -> "subprocess.Popen[str]":
    """Have an app of the phone open 700 connections to the port 8080 of localhost, and hold them."""
    command = [*phone.prefix, sys.executable, "-c", CROWD]
    program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    assert program.stdout.readline() == "there\n"
    return program


@pytest.mark.parametrize("descriptors", [0, 100], ids=["as-it-is", "with-few-descriptors"])
def test_a_crowd_at_a_port_on_localhost_is_no_matter_to_others(house: House, descriptors: int) -> None:
    phone = house.phone
    house.start("net-a", "--port", "8080:80")
    house.start("net-b", "--port", "8081:80")
    net = phone.net_process()
    assert net is not None
    if descriptors:
        resource.prlimit(net, resource.RLIMIT_NOFILE, (descriptors, 2 * descriptors))

    with crowd_at(phone) as crowd:
        if not descriptors:
            assert phone.fetch("127.0.0.1", 8081) == "net-b"
            assert f"Address: {NAMED}" in house.inside("net-b", "nslookup -type=a example.org")
        house.inside("net-b", "nslookup -type=a example.org")  # what there is no descriptor for is not answered
        crowd.communicate()

    wait_for("the port is served again", lambda: phone.fetch("127.0.0.1", 8080, seconds=SOON) == "net-a")
    assert f"Address: {NAMED}" in house.inside("net-b", "nslookup -type=a example.org")
    assert phone.net_process() == net
