"""What root inside may ask the kernel about the host: its file systems' names, its console, its mounts.

A shell has no such calls, so a process under the container's filter makes them; what it aims at is the test's own.
"""

import ctypes
import errno
import fcntl
import os
import platform
import pty
import socket
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
SIOCGSKNS: Final = 0x894C
READ_ALL: Final = 3
FAN_MARK_ADD, FAN_OPEN, FAN_ONDIR = 1, 0x20, 0x40000000
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


def call(name: str, *arguments: object) -> int:
    """Make a call of libc's; raises OSError."""
    done = int(getattr(LIBC, name)(*arguments))
    if done < 0:
        raise OSError(ctypes.get_errno(), name)
    return done


def test_what_the_host_opens_of_a_shared_folder_is_not_handed_over(scratch: Path) -> None:
    """Its descriptor of a folder belongs to the host's mount, and from there it goes up to the host's root."""
    (scratch / "shared").mkdir()

    def body() -> None:
        group = call("fanotify_init", 0, os.O_RDONLY)
        mask = ctypes.c_uint64(FAN_OPEN | FAN_ONDIR)
        call("fanotify_mark", group, FAN_MARK_ADD, mask, -1, os.fsencode(scratch / "shared"))
        if os.fork() == 0:
            os.open(scratch / "shared", os.O_RDONLY)
            os._exit(0)
        handed_over = struct.unpack_from("=IBBHQii", os.read(group, 4096))[5]
        assert os.path.samestat(os.stat("..", dir_fd=handed_over), scratch.stat())

    assert tried(body, confined=True) == errno.EPERM
    assert tried(body, confined=False) == 0, "else this would prove nothing"


def test_the_network_namespace_of_a_socket_from_outside_is_not_handed_out() -> None:
    def body() -> None:
        one, _ = socket.socketpair()
        fcntl.ioctl(one, SIOCGSKNS)

    assert tried(body, confined=True) == errno.EPERM
    assert tried(body, confined=False) == 0, "else this would prove nothing"


def test_the_kernel_log_of_the_host_is_not_read() -> None:
    def body() -> None:
        call("klogctl", READ_ALL, ctypes.create_string_buffer(64), 64)

    assert tried(body, confined=True) == errno.EPERM
    assert tried(body, confined=False) == 0, "else this would prove nothing"


def test_what_others_send_on_the_hosts_localhost_is_not_heard() -> None:
    """The dashboard's tokens are sent there."""
    with socket.create_server(("127.83.1.9", 0)) as server:  # what others send to theirs would only fill the queue
        place = server.getsockname()

        def hear() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
                raw.bind((place[0], 0))
                raw.settimeout(60)
                with socket.create_connection(place) as talking:
                    talking.sendall(b"secret")
                while b"secret" not in raw.recv(4096):
                    pass

        assert tried(hear, confined=True) == errno.EPERM
        assert tried(hear, confined=False) == 0, "else this would prove nothing"
