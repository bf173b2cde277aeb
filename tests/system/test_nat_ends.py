"""How the network of containers ends: in order, and by kill -9 at any point; nothing is left on the phone."""

import json
import os
import signal
from pathlib import Path

import pytest

from berth.kernel.processes import boot_id
from berth.network.addresses import link_of
from tests import faults
from tests.house import SUBNET, House
from tests.phone import INTERNET, MOBILE, MOBILE_ROUTER, SECONDS, SOON, WIFI, Phone, told, wait_for
from tests.system.test_web_process import pss

pytestmark = pytest.mark.system
NET_PSS_KIB = 20 * 1024


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
        assert pss(first) < NET_PSS_KIB

        phone.berth.succeed("stop", "net-a")
        assert phone.net_process() == first
        phone.berth.succeed("stop", "net-b")

        assert phone.changes(before) == []
        wait_for("it has ended", lambda: phone.net_process() is None)
    finally:
        if service:
            faults.end_service(phone.berth)


def test_a_killed_net_process_is_replaced_and_nobody_notices(house: House) -> None:
    phone = house.phone
    house.start("net-a", "--port", "8080:80")
    house.start("net-b")
    first = phone.net_process()
    assert first is not None

    faults.kill(first)

    wait_for("there is another one", lambda: phone.net_process() not in (None, first))
    wait_for("it serves ports", lambda: phone.fetch("127.0.0.1", 8080, seconds=SOON) == "net-a")
    assert "Address: 172.28." in house.inside("net-b", "nslookup net-a.berth")
    switch = ("route", "replace", "default", "via", MOBILE_ROUTER, "dev", "rmnet_data0")
    phone.ip(*switch)
    wait_for("it follows the phone", lambda: house.fetch("net-b", INTERNET, seconds=SOON) == f"mobile {MOBILE}")
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

    assert phone.changes(before) == []
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
    assert phone.changes(before) == []
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
    assert phone.changes(before) == []


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


def test_what_the_kernel_changes_together_with_forwarding_is_put_back_too(house: House) -> None:
    phone = house.phone
    with (
        phone.setting("net.ipv4.conf.all.accept_redirects", "0"),
        phone.setting("net.ipv4.conf.wlan0.forwarding", "1"),
        phone.setting("net.ipv6.conf.wlan0.forwarding", "1"),
    ):
        before = phone.state()
        house.start("net-a")
        phone.berth.succeed("stop", "net-a", "--timeout", "1")
        assert phone.changes(before) == []
