"""Root inside against the host: what a container's root tries, with the tools of its own root file system.

What is aimed at belongs to the test: a file system on a loop device of its own, and settings written back as they were.
"""

import errno
import os
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from berth.engine.channel import Channel
from berth.kernel.processes import pidfd_getfd, pidfd_open
from tests import faults, quick
from tests import rootfs as root_file_systems
from tests.program import Berth
from tests.refusing import refusing

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]

NAME = "prisoner"
CORE_PATTERN = "/proc/sys/kernel/core_pattern"
REWRITE = 'mkdir -p /tmp/p && mount -t proc p /tmp/p && cd /tmp/p/sys && v=$(cat {0}) && echo "$v" > {0}'
OPEN_FOR_WRITING = """
for pid in $(grep -l '^State:.*stopped' /proc/[0-9]*/status | cut -d/ -f3); do
    for file in /proc/$pid/exe /proc/$pid/map_files/*; do
        (: >> $file) 2> /tmp/why && echo "written: $(readlink $file)" || echo "refused: $(cat /tmp/why)"
    done
done
"""


@pytest.fixture
def shared_disk(scratch: Path) -> Iterator[Path]:
    """A file system of the host's, mounted, with a root file system in a folder: they share one superblock."""
    disk, folder = scratch / "disk.img", scratch / "disk"
    folder.mkdir()
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", disk, "64m"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["mount", "-o", "loop", disk, folder], check=True)
    try:
        root_file_systems.copy(root_file_systems.directory("busybox"), folder / "root")
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_streams_that_are_the_hosts_null_device_are_the_containers_inside(
    berth: Berth, rootfs: Factory, scratch: Path
) -> None:
    null = scratch / "null"
    os.mknod(null, stat.S_IFCHR, os.makedev(1, 3))
    null.chmod(0o666)
    quick.start(berth, rootfs("busybox"), name=NAME)
    change = ("/bin/sh", "-c", "chmod 600 /proc/self/fd/0 && stat -L -c %a /dev/null")
    for where in (("run", NAME), ("run", "--rm", "--rootfs", rootfs("busybox"))):
        with null.open() as stream:
            done = subprocess.run(
                [*berth.command, *where, "--", *change],
                env=berth.environment,
                stdin=stream,
                capture_output=True,
                check=True,
                text=True,
                timeout=faults.SECONDS,
            )
        assert done.stdout == "600\n"
    assert stat.S_IMODE(null.stat().st_mode) == 0o666


def test_a_null_device_that_was_replaced_inside_is_not_taken_for_one(berth: Berth, rootfs: Factory) -> None:
    quick.start(berth, rootfs("busybox"), name=NAME)
    quick.shell(berth, "rm /dev/null; mkfifo /dev/null", name=NAME)
    result = subprocess.run(
        [*berth.command, "run", NAME, "--", "/bin/true"],
        env=berth.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        timeout=faults.SECONDS,
    )
    assert "its /dev/null is something else" in result.stderr
    assert quick.inside(berth, "/bin/echo", "here", name=NAME) == "here"


def test_who_holds_the_channel_of_a_process_that_enters_is_not_believed(berth: Berth, rootfs: Factory) -> None:
    """Root inside gets it by pidfd_getfd(2), and could have the monitor listen to what it likes."""
    quick.start(berth, rootfs("busybox"), name=NAME)
    entering = faults.PausedStart(berth, "entered", NAME, "run", NAME, "--", "/bin/sh", "-c", "exit 7")
    pidfd = pidfd_open(entering.paused)
    assert pidfd is not None
    sockets = [fd for fd in range(3, 64) if _is_socket(entering.paused, fd)]
    channel = Channel(socket.socket(fileno=pidfd_getfd(pidfd, sockets[0])))
    mine, other = os.pipe()
    watched = os.readlink(f"/proc/self/fd/{mine}")
    for message in ({"guard": True}, {"pid": os.getpid()}, {"joined": True}):
        channel.send(message, (mine,))
    channel.close()
    for fd in (pidfd, mine, other):
        os.close(fd)
    monitor = quick.info(berth, NAME)["monitor_pid"]
    entering.go_on()
    entering.output()
    assert entering.client.returncode == 7
    assert watched not in [os.readlink(file) for file in Path(f"/proc/{monitor}/fd").iterdir()]


def _is_socket(pid: int, fd: int) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:")
    except FileNotFoundError:
        return False


def test_a_fresh_proc_gives_no_way_to_write_core_pattern(berth: Berth, rootfs: Factory) -> None:
    before = Path(CORE_PATTERN).read_text()
    quick.start(berth, rootfs("busybox"), name=NAME)
    result = berth("run", NAME, "--", "/bin/sh", "-c", REWRITE.format("kernel/core_pattern"))
    assert result.returncode != 0
    assert "not permitted" in result.stderr
    assert quick.shell(berth, "cat /tmp/p/sys/kernel/core_pattern", name=NAME) == before.strip(), (
        "reading stays allowed"
    )
    assert Path(CORE_PATTERN).read_text() == before


@pytest.mark.parametrize("served", [False, True], ids=["bare", "served"])
@pytest.mark.parametrize("lacking", [(), ("mount_setattr",)], ids=["new kernel", "before 5.12"])
def test_program_files_can_not_be_written_through_a_process_that_enters(
    berth: Berth, rootfs: Factory, served: bool, lacking: tuple[str, ...]
) -> None:
    quick.start(berth, rootfs("busybox"), name=NAME)
    berth = refusing(berth, errno.ENOSYS, *lacking)
    if served:
        berth.environment["BERTH_PAUSE_AT"] = "entered"
        berth.succeed("serve", "--background")
    entering = faults.PausedStart(berth, "entered", NAME, "run", NAME, "--", "/bin/true")
    if served:
        del berth.environment["BERTH_PAUSE_AT"]
        faults.kill(int((berth.home / "run" / "supervisor.lock").read_text()))
    files = quick.shell(berth, OPEN_FOR_WRITING, name=NAME).splitlines()
    entering.go_on()
    entering.output()
    assert len(files) > 10, "it does see the interpreter and its libraries"
    assert [line for line in files if not line.startswith("refused")] == []


def test_the_settings_of_its_own_network_can_be_written(berth: Berth, rootfs: Factory) -> None:
    quick.start(berth, rootfs("busybox"), "--net=none", name=NAME)
    quick.shell(berth, REWRITE.format("net/ipv4/ip_forward"), name=NAME)
    quick.shell(berth, "echo 1 > /proc/sys/net/ipv4/ip_forward", name=NAME)
    assert quick.inside(berth, "cat", "/proc/sys/net/ipv4/ip_forward", name=NAME) == "1"
    assert "not permitted" in berth("run", NAME, "--", "/bin/sh", "-c", REWRITE.format("vm/swappiness")).stderr


def test_the_settings_of_the_hosts_network_can_not(berth: Berth, rootfs: Factory) -> None:
    quick.start(berth, rootfs("busybox"), name=NAME)
    assert "not permitted" in berth("run", NAME, "--", "/bin/sh", "-c", REWRITE.format("net/core/somaxconn")).stderr


def test_nomask_gives_the_settings_back(berth: Berth, rootfs: Factory) -> None:
    quick.start(berth, rootfs("busybox"), "--privileged=nomask", name=NAME)
    quick.shell(berth, REWRITE.format("kernel/core_pattern"), name=NAME)


def test_the_console_of_the_host_is_not_opened_by_its_number(berth: Berth, rootfs: Factory) -> None:
    quick.start(berth, rootfs("busybox"), name=NAME)
    make = "mknod /tmp/host c 5 1 && exec 3<>/tmp/host"
    assert "not permitted" in berth("run", NAME, "--", "/bin/sh", "-c", make).stderr
    assert quick.shell(berth, "test -t 3 3<>/dev/console && echo its own", name=NAME) == "its own"


def test_on_the_hosts_network_it_pings_and_hears_nothing_else(berth: Berth, rootfs: Factory) -> None:
    root = rootfs("busybox")
    quick.start(berth, root, name=NAME)
    quick.inside(berth, "ping", "-c", "1", "127.0.0.1", name=NAME)
    heard = berth("run", NAME, "--", "arping", "-c", "1", "-I", "lo", "127.0.0.1")
    assert "not permitted" in heard.stderr


def test_a_mask_is_not_the_hosts_null_device(berth: Berth, rootfs: Factory) -> None:
    hosts = Path("/dev/null").stat()
    quick.start(berth, rootfs("busybox"), name=NAME)
    device, inode = quick.inside(berth, "stat", "-c", "%d %i", "/proc/timer_list", name=NAME).split()
    assert (int(device), int(inode)) != (hosts.st_dev, hosts.st_ino)
    assert quick.inside(berth, "cat", "/proc/timer_list", name=NAME) == ""


def test_a_remount_inside_does_not_abort_the_hosts_file_system(berth: Berth, shared_disk: Path) -> None:
    quick.start(berth, shared_disk / "root", name=NAME)
    assert "permi" in berth("run", NAME, "--", "mount", "-o", "remount,abort", "/").stderr
    (shared_disk / "written").write_text("the host still writes")
    berth.succeed("stop", NAME)


def test_the_hosts_file_system_is_not_frozen_from_inside(berth: Berth, shared_disk: Path) -> None:
    quick.start(berth, shared_disk / "root", name=NAME)
    result = berth("run", NAME, "--", "fsfreeze", "--freeze", "/")
    subprocess.run(["fsfreeze", "--unfreeze", shared_disk], check=False, stderr=subprocess.DEVNULL)
    assert "not permitted" in result.stderr
    berth.succeed("stop", NAME)


def test_the_hosts_memory_is_not_swapped_to_a_file_inside(berth: Berth, rootfs: Factory) -> None:
    root = rootfs("busybox")
    quick.start(berth, root, name=NAME)
    make = (
        "dd if=/dev/zero of=/swap bs=64k count=16 2>/dev/null; chmod 600 /swap; mkswap /swap >/dev/null; swapon /swap"
    )
    result = berth("run", NAME, "--", "/bin/sh", "-c", make)
    subprocess.run(["swapoff", root / "swap"], check=False, stderr=subprocess.DEVNULL)
    assert "not permitted" in result.stderr


@pytest.mark.parametrize("number", ["\N{SUPERSCRIPT TWO}", "9" * 5000, "4294967295", "-1"])
def test_a_user_with_an_impossible_number_is_no_user(berth: Berth, rootfs: Factory, number: str) -> None:
    root = rootfs("busybox")
    (root / "etc/passwd").write_text(f"root:x:0:0::/root:/bin/sh\nodd:x:{number}:0::/:/bin/sh\n", encoding="utf-8")
    quick.start(berth, root, name=NAME)
    result = berth("run", "-u", "odd", NAME, "--", "true")
    assert result.returncode == 1
    assert "user odd" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_run_folders_are_private_to_root(berth: Berth, rootfs: Factory) -> None:
    quick.start(berth, rootfs("busybox"), name=NAME)
    run = berth.home / "run"
    open_to_others = [path for path in (run, *run.rglob("*")) if os.lstat(path).st_mode & 0o077]
    assert [path for path in open_to_others if stat.S_ISDIR(os.lstat(path).st_mode)] == []
