"""What root inside may ask the kernel about the host: its file systems' names, its console, its mounts.

A shell has no such calls, so a process under the container's filter makes them; what it aims at is the test's own.
"""

import ctypes
import errno
import fcntl
import os
import platform
import pty
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from berth.engine.inspect import read_host
from berth.host import Host
from berth.kernel.seccomp import assemble, install
from berth.plan.seccomp import plan_syscall_rules
from berth.spec import Spec
from tests.forked import errno_in_child
from tests.program import Berth

pytestmark = pytest.mark.system

FS_IOC_SETFSLABEL: Final = 0x41009432
EXT4_IOC_SETFSUUID: Final = 0x4008662C
FS_IOC_REMOVE_ENCRYPTION_KEY_ALL_USERS: Final = 0xC0406619
TIOCCONS: Final = 0x541D
LISTMOUNT: Final = 458
LSMT_ROOT: Final = 0xFFFFFFFFFFFFFFFF
LIBC: Final = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
RULES: Final = plan_syscall_rules(Spec(name="prisoner"), Host(kernel=(6, 1), machine=platform.machine()))


@pytest.fixture
def disk(scratch: Path, berth: Berth) -> Iterator[Path]:
    """Where a file system of the host's is mounted that the test may ruin."""
    image, folder = scratch / "disk.img", scratch / "disk"
    folder.mkdir()
    command: list[str | Path] = [
        "mke2fs",
        "-q",
        "-F",
        "-t",
        "ext4",
        "-L",
        "before",
        "-O",
        "metadata_csum_seed",
        image,
        "16m",
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def tried(body: Callable[[], object], *, confined: bool) -> int:
    """Return the errno that `body` raised in a child, 0 for none; `confined` by a container's filter."""

    def work() -> None:
        if confined:
            install(assemble(RULES, platform.machine()))
        body()

    return errno_in_child(work)


def ask(folder: Path, number: int, argument: bytes) -> Callable[[], object]:
    def body() -> object:
        fd = os.open(folder, os.O_RDONLY)
        return fcntl.ioctl(fd, number, argument)

    return body


def test_the_name_of_the_hosts_file_system_is_not_changed(disk: Path) -> None:
    label = ask(disk, FS_IOC_SETFSLABEL, b"after".ljust(256, b"\0"))
    uuid = ask(disk, EXT4_IOC_SETFSUUID, struct.pack("=II16s", 16, 0, b"sixteen letters."))
    assert [tried(body, confined=True) for body in (label, uuid)] == [errno.EPERM] * 2
    assert [tried(body, confined=False) for body in (label, uuid)] == [0, 0], "else this would prove nothing"


def test_the_keys_of_the_hosts_file_system_are_not_taken_away(disk: Path) -> None:
    body = ask(disk, FS_IOC_REMOVE_ENCRYPTION_KEY_ALL_USERS, bytes(64))
    assert tried(body, confined=True) == errno.EPERM
    assert tried(body, confined=False) != errno.EPERM, "else this would prove nothing"


def test_what_is_written_to_the_hosts_console_does_not_come_out_inside() -> None:
    """While it is redirected it is so for the whole machine, so the child that may do it is the one that ends it."""

    def body() -> None:
        _, slave = pty.openpty()
        fcntl.ioctl(slave, TIOCCONS)

    assert tried(body, confined=True) == errno.EPERM
    assert tried(body, confined=False) != errno.EPERM, "else this would prove nothing"


def test_the_mounts_of_the_host_are_not_listed() -> None:
    def body() -> None:
        request = struct.pack("=IIQQ", 24, 0, LSMT_ROOT, 0)
        found = (ctypes.c_uint64 * 8)()
        count = LIBC.syscall(ctypes.c_long(LISTMOUNT), request, found, ctypes.c_size_t(8), ctypes.c_uint(0))
        if count < 0:
            raise OSError(ctypes.get_errno(), "listmount")

    assert tried(body, confined=True) == errno.ENOSYS
    unfiltered = tried(body, confined=False)
    assert unfiltered == 0 or read_host().kernel < (6, 8), "else this would prove nothing"
