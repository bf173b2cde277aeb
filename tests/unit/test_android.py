"""What only Android has, with small programs in the place of Android's own."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from berth.android import labels, module, power, properties, resolvers
from berth.engine.group_files import merge_network_groups
from berth.errors import BerthError
from berth.host import Host, Rootfs
from berth.plan import plan
from berth.plan.model import NetworkGroups
from berth.plan.network_groups import with_apt, with_groups
from berth.spec import Spec, StartOptions
from tests import faults

PROP = "id=berth\ndescription=Linux in containers\nversion=1\n"


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on PATH with `getprop`, which prints the file of the property's name beside it."""
    program(tmp_path, "getprop", f'cat "{tmp_path}/$1" 2>/dev/null')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def test_a_property_is_read(phone: Path) -> None:
    (phone / "ro.crypto.type").write_text("file\n")

    assert properties.read_property("ro.crypto.type") == "file"
    assert properties.read_property("ro.other") == ""
    assert properties.file_encrypted()


@pytest.mark.parametrize(
    ("reason", "asked"),
    [
        ("shutdown,userrequested", True),
        ("reboot,userrequested", True),
        ("reboot,ota", True),
        ("shutdown,battery", True),
        ("reboot", False),
        ("reboot,rescueparty", False),
        ("kernel_panic,sysrq", False),
        ("watchdog", False),
        ("cold", False),
        ("", False),
    ],
)
def test_a_crash_is_told_from_a_shutdown(phone: Path, reason: str, asked: bool) -> None:
    (phone / "sys.boot.reason").write_text(f"{reason}\n")

    assert properties.end_was_asked_for() is asked


def waiting() -> "subprocess.Popen[bytes]":
    code = "from berth.android import properties; properties.wait_until_booted()"
    return subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": ":".join(sys.path)})


def test_the_end_of_the_boot_is_waited_for_with_the_root_managers_program(phone: Path) -> None:
    fifo = phone / "changed"
    os.mkfifo(fifo)
    program(phone, "resetprop", f'echo "$*" >{phone}/asked; read -r _ <{fifo}')
    (phone / "sys.boot_completed").write_text("0\n")
    with waiting() as process:
        writer = os.open(fifo, os.O_WRONLY)  # returns when the program reads: it waits
        assert process.poll() is None
        (phone / "sys.boot_completed").write_text("1\n")
        os.write(writer, b"\n")
        os.close(writer)
        assert process.wait(faults.SECONDS) == 0
    assert (phone / "asked").read_text() == "-w sys.boot_completed 0\n"


def test_without_such_a_program_it_is_looked_for(phone: Path) -> None:
    with waiting() as process:
        time.sleep(0.5)  # what is looked for is that nothing happens in a time
        assert process.poll() is None
        (phone / "sys.boot_completed").write_text("1\n")
        assert process.wait(faults.SECONDS) == 0


def test_elsewhere_nothing_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    properties.wait_until_booted()
    assert not properties.file_encrypted()
    assert not properties.end_was_asked_for()


def test_a_description_is_marked_and_the_mark_replaced_and_taken_away() -> None:
    marked = module.marked(PROP, "Safe mode [1]\nhere")

    assert marked == PROP.replace("Linux in", "[Safe mode (1) here] Linux in")
    assert module.marked(marked, "Other") == PROP.replace("Linux in", "[Other] Linux in")
    assert module.marked(marked, "") == PROP


def test_the_modules_own_file_is_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module.prop").write_text(PROP)
    monkeypatch.setenv("BERTH_MODULE", str(tmp_path))

    module.describe("Safe mode")

    assert "description=[Safe mode] Linux" in (tmp_path / "module.prop").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["module.prop"]


def test_without_a_module_nothing_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BERTH_MODULE", raising=False)

    module.describe("Safe mode")


@pytest.mark.system
def test_an_image_gets_the_label_that_the_kernel_may_read(tmp_path: Path) -> None:
    """Without SELinux the attribute is kept as any other, on a file system that keeps attributes."""
    image = Path(__file__).resolve().parents[2] / ".cache" / f"label-{os.getpid()}.img"
    image.parent.mkdir(exist_ok=True)
    image.touch()
    try:
        labels.label_image(str(image))
        assert os.getxattr(image, "security.selinux") == labels.IMAGE_LABEL.encode() + b"\0"
        os.setxattr(image, "security.selinux", b"u:object_r:adb_data_file:s0\0")
        labels.label_image(str(image))
        assert os.getxattr(image, "security.selinux") == labels.IMAGE_LABEL.encode() + b"\0"
    finally:
        image.unlink()


def test_a_label_that_does_not_stay_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The edge of the machine is made up here: a kernel that takes the label and keeps another."""
    image = tmp_path / "box.img"
    image.touch()
    monkeypatch.setattr(os, "getxattr", lambda *_: b"u:object_r:adb_data_file:s0\0")
    monkeypatch.setattr(os, "setxattr", lambda *_: None)

    with pytest.raises(BerthError, match=r"adb_data_file:s0 and does not become u:object_r:vold_data_file:s0"):
        labels.label_image(str(image))


def test_what_is_no_file_is_not_labelled(tmp_path: Path) -> None:
    before = os.listxattr(tmp_path)
    labels.label_image(str(tmp_path))
    assert os.listxattr(tmp_path) == before


NEW = """\
NetworkProviders for:
  wifi

Active default network: 102

Current Networks:
  NetworkAgentInfo{network{101} handle{1} ni{MOBILE[LTE] CONNECTED} lp{{InterfaceName: rmnet0\
 DnsAddresses: [ /10.74.210.210,/10.74.210.211 ] Domains: null MTU: 1500}} nc{[ Transports: CELLULAR ]}}
  NetworkAgentInfo{network{102} handle{2} ni{WIFI CONNECTED} lp{{InterfaceName: wlan0 LinkAddresses: [ fe80::2/64 ]\
 DnsAddresses: [ /fe80::1%wlan0,/192.168.1.1,/2001:db8::53,/192.168.1.1,/192.168.1.2,/192.168.1.3 ] Domains: lan}}}
"""
OLD = """\
Active default network: 100
Current Networks:
  NetworkAgentInfo{ ni{[type: WIFI[]]}  network{100}  lp{{InterfaceName: wlan0 LinkAddresses: [10.0.2.15/24,]\
  Routes: [0.0.0.0/0 -> 10.0.2.2 wlan0,] DnsAddresses: [10.0.2.3,] Domains: null MTU: 0}}  nc{[ Transports: WIFI]}}
"""


def test_the_name_servers_are_those_of_the_default_network() -> None:
    assert resolvers.default_resolvers(NEW) == ("192.168.1.1", "2001:db8::53", "192.168.1.2")
    assert resolvers.default_resolvers(OLD) == ("10.0.2.3",)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Active default network: none\n",
        NEW.replace("network: 102", "network: 103"),
        NEW.replace("DnsAddresses", "Dns"),
    ],
    ids=["nothing", "no-network", "unknown-network", "other-words"],
)
def test_where_none_is_named_others_are_asked(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert resolvers.default_resolvers(text) == ()
    assert resolvers.read_resolvers(()) == resolvers.FALLBACK
    assert resolvers.read_resolvers(("192.0.2.1", "not an address")) == ("192.0.2.1",)


def test_properties_that_name_servers_go_first(phone: Path) -> None:
    (phone / "net.dns1").write_text("192.168.1.1\n")
    (phone / "net.dns2").write_text("not an address\n")

    assert resolvers.read_resolvers(("192.0.2.1",)) == ("192.168.1.1",)


PASSWD = """\
root:x:0:0:root:/root:/bin/bash
_apt:x:42:65534::/nonexistent:/usr/sbin/nologin
user:x:1000:1000::/home/user:/bin/sh
nobody:x:65534:65534::/:/bin/false
"""
GROUP = "root:x:0:\nmine:x:3004:user"


def test_the_network_groups_are_added_once_and_those_there_stay() -> None:
    merged = with_groups(GROUP, PASSWD)

    assert merged.startswith(GROUP + "\n")
    assert "aid_inet:x:3003:root,user\n" in merged
    assert "aid_net_admin:x:3005:root\n" in merged
    assert merged.count(":3004:") == 1
    assert with_groups(merged, PASSWD) == merged


def test_apt_may_open_sockets_and_nobody_else_changes() -> None:
    changed = with_apt(PASSWD)

    assert changed == PASSWD.replace("_apt:x:42:65534:", "_apt:x:42:3003:")
    assert with_apt(changed) == changed


def test_group_files_are_replaced_and_links_are_not_followed(tmp_path: Path) -> None:
    etc, outside = tmp_path / "root" / "etc", tmp_path / "outside"
    etc.mkdir(parents=True)
    (etc / "group").write_text(GROUP)
    (etc / "group").chmod(0o640)
    outside.write_text(PASSWD)
    (etc / "passwd").symlink_to(outside)
    before = (etc / "group").stat().st_ino
    root = os.open(tmp_path / "root", os.O_PATH | os.O_DIRECTORY)
    try:
        merge_network_groups(root)
        merged = (etc / "group").stat()
        merge_network_groups(root)
    finally:
        os.close(root)

    assert (etc / "group").read_text() == with_groups(GROUP, "")
    assert (merged.st_mode & 0o777, merged.st_ino != before) == (0o640, True)
    assert (etc / "group").stat().st_ino == merged.st_ino
    assert outside.read_text() == PASSWD
    assert sorted(path.name for path in etc.iterdir()) == ["group", "passwd"]


def test_the_plan_tells_of_the_groups_only_where_the_kernel_asks_for_them() -> None:
    def steps(*, needed: bool, keep: bool) -> list[object]:
        spec = Spec(name="box", rootfs="/srv", keep_groups=keep)
        host = Host(kernel=(4, 14), machine="aarch64", android=True, network_groups=needed)
        made = plan(spec, StartOptions(), host, Rootfs(init="/sbin/init"))
        return [step for step in made.steps if isinstance(step, NetworkGroups)]

    assert [len(steps(needed=needed, keep=keep)) for needed, keep in ((True, False), (True, True), (False, False))] == [
        1,
        0,
        0,
    ]


@pytest.mark.parametrize(
    ("supplies", "told"),
    [
        (
            {"battery": {"type": "Battery", "capacity": "60", "status": "Discharging"}},
            power.Battery(60.0, charging=False),
        ),
        (
            {"battery": {"type": "Battery", "capacity": "7", "status": "Not charging"}},
            power.Battery(7.0, charging=False),
        ),
        ({"battery": {"type": "Battery", "capacity": "100", "status": "Full"}}, power.Battery(100.0, charging=True)),
        (
            {
                "battery": {
                    "type": "Battery",
                    "capacity": "41",
                    "status": "Charging",
                    "charge_now": "3",
                    "charge_full": "9",
                }
            },
            power.Battery(41.0, charging=True),
        ),
        (
            {
                "a-pen": {"type": "Battery", "scope": "Device", "capacity": "9", "status": "Discharging"},
                "bms": {"type": "BMS", "capacity": "8"},
                "usb": {"type": "USB_PD", "online": "1"},
                "z-battery": {"type": "Battery", "capacity": "60", "status": "Charging"},
            },
            power.Battery(60.0, charging=True),
        ),
        ({"battery": {"type": "Battery", "capacity": ""}}, None),
        ({}, None),
    ],
    ids=["used", "held", "full", "by-capacity", "the-devices-own", "no-answer", "none"],
)
def test_the_battery_is_told_of_as_android_tells(
    supplies: dict[str, dict[str, str]],
    told: power.Battery | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(power, "_SUPPLIES", str(tmp_path / "supplies"))
    for name, values in supplies.items():
        (tmp_path / "supplies" / name).mkdir(parents=True)
        for value, text in values.items():
            (tmp_path / "supplies" / name / value).write_text(f"{text}\n")

    assert power.read_battery() == told
