"""Uevents that the kernel is made to tell."""

import os
import socket
import struct

from tests import faults


def say(text: bytes) -> None:
    """Have the kernel repeat a uevent of our making to everybody who listens (Linux 4.18)."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 15) as sender:
        request_and_acknowledge = 5
        sender.send(struct.pack("=IHHII", 16 + len(text), 16, request_and_acknowledge, 1, 0) + text)
        error = struct.unpack_from("=i", sender.recv(4096), 16)[0]
        assert error == 0, os.strerror(-error)


def await_listener(monitor: int) -> None:
    """Wait until process `monitor` follows the host's devices, which begins a moment after the start has been told."""
    faults.wait_until(lambda: "anon_inode:inotify" in faults.open_files(monitor).values(), "it follows the devices")


def a_device_came(name: str, *fields: str) -> bytes:
    lines = (f"add@/devices/virtual/misc/{name}", "ACTION=add", "SUBSYSTEM=misc", f"DEVNAME={name}", *fields)
    return "".join(f"{line}\0" for line in lines).encode()
