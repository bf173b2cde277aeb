"""What the kernel says of devices is read without trust, and what is not about devices is not heard at all."""

import stat
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.host import DeviceNode, Rootfs
from berth.kernel.uevents import Uevent, filter_instructions, parse
from berth.plan.devices import hardware_nodes
from berth.plan.filesystems import run_steps
from berth.plan.model import File, Link, Mask
from berth.spec import Network, Spec

USB = (
    b"add@/devices/pci0/usb1/1-1\0ACTION=add\0DEVPATH=/devices/pci0/usb1/1-1\0SUBSYSTEM=usb\0MAJOR=189\0MINOR=4\0"
    b"DEVNAME=bus/usb/001/005\0DEVTYPE=usb_device\0SEQNUM=2817\0"
)
SYSTEMD = Rootfs(init="/lib/systemd/systemd", init_kind="systemd", systemd=252)


def test_a_device_that_comes_is_read_with_its_node() -> None:
    assert parse(USB) == Uevent("add", "/devices/pci0/usb1/1-1", "usb", "bus/usb/001/005", 189, 4)


def test_a_device_without_a_node_has_no_name_and_no_numbers() -> None:
    message = b"remove@/devices/virtual/net/dummy0\0ACTION=remove\0SUBSYSTEM=net\0INTERFACE=dummy0\0"
    assert parse(message) == Uevent("remove", "/devices/virtual/net/dummy0", "net")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\0\0\0",
        b"add",
        b"add@",
        b"add@devices/x\0DEVNAME=x\0",
        b"@/devices/x\0",
        b"libudev\0\xfe\xed\xca\xfe",
        b"add@/devices/x\0DEVNAME=../../etc/shadow\0",
        b"add@/devices/x\0DEVNAME=a/../b\0",
        b"add@/devices/x\0DEVNAME=/etc/shadow\0",
        b"add@/devices/x\0DEVNAME=a//b\0",
        b"add@/devices/x\0DEVNAME=./a\0",
        b"add@/devices/x\0DEVNAME=a\nb\0",
    ],
)
def test_what_is_no_uevent_or_points_out_of_dev_is_passed_over(message: bytes) -> None:
    assert parse(message) is None


@pytest.mark.parametrize("number", [b"-1", b"", b"one", b"1e3", b"99999999999", "²".encode(), b"0x10"])
def test_a_number_that_is_none_is_unknown(number: bytes) -> None:
    event = parse(b"add@/devices/x\0MAJOR=" + number + b"\0MINOR=3\0DEVNAME=x\0")
    assert event is not None
    assert (event.major, event.minor) == (None, 3)


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda tail: b"add@/devices/x\0DEVNAME=" + tail))
def test_no_message_breaks_the_reader_or_names_something_outside_dev(message: bytes) -> None:
    event = parse(message)
    assert event is None or ".." not in event.devname.split("/")
    assert event is None or not event.devname.startswith("/")


def passes(message: bytes, *actions: str) -> bool:
    """Carry out the socket filter as the kernel does: a load beyond the end lets the message fall."""
    program = filter_instructions(actions)
    at = 0
    word = 0
    while True:
        code, if_true, if_false, value = struct.unpack("HBBI", program[at])
        at += 1
        match code:
            case 0x20:
                if value + 4 > len(message):
                    return False
                word = int.from_bytes(message[value : value + 4], "big")
            case 0x15:
                at += if_true if word == value else if_false
            case 0x06:
                return bool(value)
            case _:
                raise KeyError(code)


@pytest.mark.parametrize(
    ("message", "heard"),
    [
        (USB, True),
        (USB.replace(b"add@", b"remove@", 1), True),
        (b"add@/devices/virtual/misc/uinput\0", True),
        (b"change@/devices/platform/battery/power_supply/battery\0", False),
        (b"bind@/devices/pci0/usb1/1-1\0", False),
        (b"add@/kernel/slab/:0000064\0", False),
        (b"remove@/kernel/slab/:0000064\0", False),
        (b"add@/module/fuse\0", False),
        (b"remote\0", False),
        (b"add@", False),
        (b"", False),
    ],
)
def test_only_devices_that_come_or_go_wake_the_process(message: bytes, heard: bool) -> None:
    assert passes(message, "add", "remove") is heard


def test_changes_wake_only_who_asks_for_them() -> None:
    message = b"change@/devices/platform/charger/power_supply/usb\0"

    assert passes(message, "add", "remove", "change")
    assert not passes(message, "add", "remove")
    assert not passes(b"change@/module/fuse\0", "add", "remove", "change")


def test_what_is_plugged_in_is_shown_by_the_same_rule_as_what_was_there() -> None:
    def char(path: str) -> DeviceNode:
        return DeviceNode(path, stat.S_IFCHR | 0o600, 200, 1)

    devices = [
        *map(
            char,
            ("video0", "dri/card1", "dri/renderD129", "tty9", "vcs3", "console", "null", "pts/4", "sg1", "net/tun"),
        ),
        DeviceNode("sdb", stat.S_IFBLK | 0o660, 8, 16),
    ]
    shown = hardware_nodes(Spec(name="web", hw_access=True), devices)
    assert [node.path for node in shown] == ["dri/renderD129", "video0"]


def test_all_of_udevd_starts_on_a_read_only_sys_before_the_safe_trigger() -> None:
    steps = {step.target: step for step in run_steps(Spec(name="web", hw_access=True), SYSTEMD)}
    for unit in ("systemd-udevd.service", "systemd-udevd-kernel.socket", "systemd-udevd-control.socket"):
        drop_in = steps[f"/run/systemd/system/{unit}.d/berth.conf"]
        assert isinstance(drop_in, File)
        assert "ConditionPathIsReadWrite=/sys/devices" in drop_in.content
    trigger = steps["/run/systemd/system/berth-udev-trigger.service"]
    assert isinstance(trigger, File)
    words = trigger.content.replace("\\\n", " ").split()
    assert sorted(word.partition("=")[2] for word in words if word.startswith("--subsystem-match")) == [
        *("block", "input", "tty", "usb")
    ]


@pytest.mark.parametrize(("net", "kept"), [("host", True), ("none", False)])
def test_udevd_inside_leaves_the_names_of_the_host_s_interfaces_alone(net: Network, kept: bool) -> None:
    steps = run_steps(Spec(name="web", hw_access=True, net=net), SYSTEMD)
    links = {step.target: step.points_to for step in steps if isinstance(step, Link)}
    assert (links.get("/run/udev/rules.d/80-net-setup-link.rules") == "/dev/null") is kept


def test_the_trigger_of_openrc_is_masked() -> None:
    steps = run_steps(Spec(name="web", hw_access=True), Rootfs(init="/sbin/openrc-init", init_kind="openrc"))
    assert "/etc/init.d/udev-trigger" in [step.target for step in steps if isinstance(step, Mask)]


def test_without_hardware_access_udev_is_left_alone() -> None:
    targets = [step.target for step in run_steps(Spec(name="web"), SYSTEMD)]
    assert targets == ["/run", "/run/systemd/container"]
