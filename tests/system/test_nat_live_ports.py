"""Ports that are shown and hidden while a container runs."""

import json
import subprocess
import sys
import tomllib

import pytest

from tests.house import House
from tests.phone import SOON, WIFI, told, wait_for

pytestmark = pytest.mark.system
ECHO = """\
import socket
listener = socket.create_server(("", 7))
print("ready", flush=True)
while True:
    sock, _ = listener.accept()
    while data := sock.recv(100):
        sock.sendall(data)
"""
TALK = """\
import socket, sys
sock = socket.create_connection((sys.argv[1], 7000), timeout=20)
sock.sendall(b"one")
print(sock.recv(10).decode(), flush=True)
sys.stdin.readline()
try:
    sock.sendall(b"two")
    print(sock.recv(10).decode() or "ended", flush=True)
except OSError:
    print("ended", flush=True)
"""


def saved_ports(house: House, name: str) -> list[dict[str, object]]:
    """Return the ports in the container.toml of `name`."""
    text = (house.phone.berth.home / "containers" / name / "container.toml").read_text()
    ports: list[dict[str, object]] = tomllib.loads(text).get("ports", [])
    return ports


def test_ports_are_shown_and_hidden_while_it_runs_and_that_is_saved(walled: tuple[str, House]) -> None:
    _, house = walled
    berth, wifi = house.phone.berth, house.phone.wifi
    house.start("la-a", "--port", "8080:80")

    said = berth.succeed("net", "port", "add", "la-a", "9081-9082:81-82,9090:80", "5300:53/udp")

    assert "8080:80/tcp, 9081-9082:81-82/tcp, 9090:80/tcp, 5300:53/udp" in said
    assert [wifi.fetch(WIFI, port) for port in (8080, 9081, 9082, 9090)] == ["la-a"] * 4
    assert [house.phone.fetch(place, 9090) for place in ("127.0.0.1", "::1")] == ["la-a"] * 2
    assert [port["host"] for port in saved_ports(house, "la-a")] == [8080, 9081, 9090, 5300]

    berth.succeed("net", "port", "remove", "la-a", "9081-9082", "8080:80")

    assert [wifi.fetch(WIFI, port, seconds=1) for port in (8080, 9081, 9082, 9090)] == [None, None, None, "la-a"]
    assert house.phone.fetch("127.0.0.1", 8080, seconds=SOON) is None
    assert [port["host"] for port in saved_ports(house, "la-a")] == [9090, 5300]

    berth.succeed("restart", "la-a")
    wait_for("it serves again", lambda: wifi.fetch(WIFI, 9090, seconds=1) == "la-a")
    assert "port: * 9090 -> 80/tcp" in berth.succeed("net")


def test_what_is_hidden_is_cut_off_and_what_stays_goes_on(house: House) -> None:
    house.start("la-a", "--port", "7000:7")
    init = str(told(house.phone.berth, "la-a")["pid"])
    echo = ["nsenter", "--target", init, "--net", sys.executable, "-c", ECHO]
    ask = [*house.phone.wifi.prefix, sys.executable, "-c", TALK, WIFI]
    with subprocess.Popen(echo, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()
        for change, expected in ((("add", "9000:80"), "two\n"), (("remove", "7000:7"), "ended\n")):
            with subprocess.Popen(ask, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as talk:
                assert talk.stdout is not None
                assert talk.stdout.readline() == "one\n"
                house.phone.berth.succeed("net", "port", change[0], "la-a", change[1])
                assert talk.communicate("go on\n", timeout=40)[0] == expected
        server.kill()


def test_a_change_of_ports_survives_the_net_process(house: House) -> None:
    house.start("la-a")
    house.phone.berth.succeed("net", "port", "add", "la-a", "9000:80")
    first = house.phone.net_process()
    assert first is not None
    subprocess.run(["kill", "-KILL", str(first)], check=True)

    wait_for("there is another one", lambda: house.phone.net_process() not in (None, first))

    wait_for("it serves the port", lambda: house.phone.fetch("127.0.0.1", 9000, seconds=SOON) == "la-a")
    assert house.phone.wifi.fetch(WIFI, 9000) == "la-a"


def test_a_change_that_can_t_be_made_changes_nothing(house: House) -> None:
    berth = house.phone.berth
    house.start("la-a", "--port", "8080:80")
    house.start("la-b", "--port", "9000:80")
    holder = ["python3", "-c", "import socket; s = socket.create_server(('', 7070)); print(1, flush=True); s.accept()"]
    before, saved = house.phone.state(), saved_ports(house, "la-a")
    with subprocess.Popen([*house.phone.prefix, *holder], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.readline()
        refusals = {
            ("add", "9100:80,7070:80"): "port 7070/tcp can't be shown: a program of this device has it",
            ("add", "9100:80,9000:80"): "port 9000/tcp can't be shown: container la-b has it",
            ("add", "8080:80"): "container la-a: port 8080:80/tcp is shown already",
            ("add", "8080:81"): "container la-a: ports: 8080/tcp of the phone is given twice",
            ("remove", "9000"): "container la-a: port 9000:9000/tcp is not among those it shows (8080:80/tcp)",
            ("remove", "8080:81"): "container la-a: port 8080:81/tcp is not among those it shows",
            ("remove", "8080:80/udp"): "container la-a: port 8080:80/udp is not among those it shows",
        }
        for (what, port), sentence in refusals.items():
            refused = berth("net", "port", what, "la-a", port)
            assert (refused.returncode, sentence in refused.stderr) == (1, True), refused.stderr
        program.kill()

    assert (house.phone.changes(before), saved_ports(house, "la-a")) == ([], saved)


def test_ports_of_a_stopped_container_are_saved_and_of_another_network_refused(house: House) -> None:
    berth = house.phone.berth
    house.start("la-a")
    berth.succeed("stop", "la-a", "--timeout", "1")

    told_of = json.loads(berth.succeed("net", "port", "add", "la-a", "8080:80", "--json"))

    assert told_of["ports"] == [{"host": 8080, "container": 80}] == saved_ports(house, "la-a")
    berth.succeed("start", "la-a", "--net=none")
    assert told(berth, "la-a")["network"] == "none"
    refused = berth("net", "port", "add", "la-a", "9000:80")
    assert "container la-a: has no ports to show, for it is saved with --net=none" in refused.stderr
