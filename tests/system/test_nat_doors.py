"""The dashboard and other services of the phone: what a hostile container reaches of them, on each kind of network."""

import subprocess
import sys

import pytest

from tests import faults, quick
from tests.dashboard import Dashboard
from tests.house import GATEWAY, House
from tests.phone import WIFI, WIFI6, told

pytestmark = pytest.mark.system

REACH = """\
import selectors, socket, sys, time
waiting = selectors.DefaultSelector()
for place in sys.argv[1:]:
    host, _, port = place.rpartition("|")
    family, _, _, _, address = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
    sock = socket.socket(family)
    sock.setblocking(False)
    if sock.connect_ex(address) in (0, 115):  # EINPROGRESS
        waiting.register(sock, selectors.EVENT_WRITE, place)
until = time.monotonic() + 1.5
while waiting.get_map() and (ready := waiting.select(max(0, until - time.monotonic()))):
    for key, _ in ready:
        if not key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            print(key.data)
        waiting.unregister(key.fileobj)
"""
"""Prints those of the places (host|port) that take a connection."""

AS_FAR_AS_IT_GETS = """\
ip address flush dev lo
for where in all lo eth0; do sysctl -q net.ipv4.conf.$where.route_localnet=1 net.ipv4.conf.$where.rp_filter=0; done
own=$(ip -4 -o address show dev eth0 | sed -n 's|.*inet \\([^/]*\\)/.*|\\1|p')
ip route replace 127.0.0.1 via $1 dev eth0 onlink src ${own:-0.0.0.0} || true
ip -6 route replace ::1 via $2 dev eth0 || true
"""
"""Has the container's own kernel send what is for localhost to the phone."""

LISTEN = """\
import socket
listener = socket.create_server(("::", 8765), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
while True:
    listener.accept()
"""


def reached(house: House, name: str, *places: str) -> set[str]:
    """Return which of the places root in the network of container `name` gets a connection to."""
    inside = ["nsenter", "--target", str(told(house.phone.berth, name)["pid"]), "--net"]
    link_local = phone_link_local(house)
    subprocess.run([*inside, "sh", "-c", AS_FAR_AS_IT_GETS, "-", GATEWAY, link_local], capture_output=True, check=True)
    done = subprocess.run([*inside, sys.executable, "-c", REACH, *places], capture_output=True, text=True, check=True)
    return {*done.stdout.split()}


def phone_link_local(house: House) -> str:
    """The address that is good on its link only of the phone's end of the first container's link."""
    shown = house.phone.ip("-6", "-o", "address", "show", "scope", "link").splitlines()
    return next(line.split()[3].partition("/")[0] for line in shown if line.split()[1].startswith("berth"))


def test_the_dashboard_is_out_of_reach_of_every_container(walled: tuple[str, House]) -> None:
    _, house = walled
    phone = house.phone
    phone.berth.succeed("serve", "--background")
    try:
        dashboard = Dashboard(phone.berth)
        dashboard.await_web()
        port = dashboard.port
        kinds = {"net-a": (), "net-b": ("--bridge",), "net-c": ("--isolated",)}
        for name, flags in kinds.items():
            house.start(name, *flags)
        root = house.rootfs("busybox")
        quick.write_init(root, "/sbin/idle", "#!/bin/sh\ntrap 'exit 0' TERM\nwhile :; do sleep 3600 & wait $!; done\n")
        others = {"net-d": ("--lan", "--ip=192.0.2.77"), "net-e": ("--net=gateway", "--gateway=net-a")}
        for name, flags in others.items():
            phone.berth.succeed("start", name, "--rootfs", root, "--volatile", "--init", "/sbin/idle", *flags)

        curl = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}")
        assert phone.succeed(*curl, f"http://127.0.0.1:{port}/") != "000"
        hosts = ("127.0.0.1", GATEWAY, WIFI, WIFI6, "::1", f"{phone_link_local(house)}%eth0")
        with phone.setting("net.ipv4.conf.all.route_localnet", "1"):  # as another program may have it
            for name in (*kinds, *others):
                assert reached(house, name, *(f"{host}|{port}" for host in hosts)) == set(), name
    finally:
        phone.berth("stop", "--all", "--timeout", "1")
        faults.end_service(phone.berth)


def test_what_the_phone_offers_to_its_wifi_is_for_containers_too_but_not_on_a_lan_past_it(house: House) -> None:
    house.start("net-a")
    with subprocess.Popen([*house.phone.prefix, sys.executable, "-c", LISTEN], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.readline()
        try:
            places = [f"{host}|8765" for host in (GATEWAY, WIFI, WIFI6, "127.0.0.1", "::1")]
            assert reached(house, "net-a", *places) == {*places[:3]}
        finally:
            program.kill()
