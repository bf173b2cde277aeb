"""The guard over new mounts, on the running kernel: one process asks by bare calls, another answers.

Everything happens in forked children, since a filter stays for good, and in a mount namespace of their own.
"""

import ctypes
import errno
import mmap
import os
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from berth.host import Host, Rootfs
from berth.kernel import errand
from berth.kernel.capabilities import set_capabilities
from berth.kernel.mounts import MS_NODEV, MS_RDONLY, mount, read_mounts
from berth.kernel.namespaces import unshare
from berth.kernel.syscalls import I386, X86_64
from berth.plan import plan
from berth.spec import StartOptions
from tests import faults, quick
from tests.calls32 import call_32
from tests.guarded import MACHINE, SPEC, guarded, low_memory, try_mount
from tests.program import Berth
from tests.silence import silent

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]

NAME = "guarded"
MGC: Final = 0xC0ED0000
LIBC: Final = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long


class Disk(NamedTuple):
    """A disk of the host's that the host has mounted."""

    device: str
    number: int


@pytest.fixture
def disk(scratch: Path, host_unchanged: object) -> Iterator[Disk]:
    image, folder = scratch / "disk.img", scratch / "disk"
    folder.mkdir()
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", image, "16m"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    try:
        (folder / "secret").write_text("the host's")
        device = subprocess.run(
            ["findmnt", "-no", "SOURCE", folder], check=True, capture_output=True, text=True
        ).stdout.strip()
        yield Disk(device, os.stat(device).st_rdev)
    finally:
        subprocess.run(["umount", folder], check=True)


def shown() -> list[str]:
    """The types of what is mounted at /mnt/here, the topmost last."""
    return [entry.filesystem for entry in read_mounts() if entry.target == "/mnt/here"]


def test_a_disk_that_the_host_has_mounted_is_not_mounted_again(disk: Disk) -> None:
    def body() -> list[object]:
        os.mknod("/mnt/node", 0o60600, disk.number)
        return [try_mount("/mnt/node", "ext4", flags) for flags in (0, MS_RDONLY, MGC, MGC | MS_RDONLY)] + [shown()]

    assert guarded(body) == [errno.EPERM] * 4 + [[]]


def test_without_the_guard_it_would_be(disk: Disk) -> None:
    """Else the test above would prove nothing."""
    unguarded = plan(SPEC, StartOptions(), Host(kernel=(6, 5), machine=MACHINE), Rootfs(init="/sbin/init"))

    def body() -> list[object]:
        os.mknod("/mnt/node", 0o60600, disk.number)
        return [try_mount("/mnt/node", "ext4", MS_RDONLY & 0), shown()]

    assert not any(rule.asks for rule in unguarded.syscall_rules)
    assert guarded(body, unguarded) == [0, ["ext4"]]


def test_neither_through_a_bind_nor_a_link_nor_a_descriptor_of_the_node(disk: Disk) -> None:
    def body() -> list[object]:
        os.mknod("/mnt/node", 0o60600, disk.number)
        Path("/mnt/bound").touch()
        mount("/mnt/node", "/mnt/bound", None, 4096)
        os.symlink("bound", "/mnt/link")
        node = os.open("/mnt/node", os.O_PATH)
        ways = ("/mnt/bound", "/mnt/link", f"/proc/self/fd/{node}", f"/dev/fd/{node}", "/mnt/../mnt/node")
        return [try_mount(way, "ext4") for way in ways] + [shown()]

    assert guarded(body) == [errno.EPERM] * 5 + [[]]


@pytest.mark.skipif(MACHINE != "x86_64", reason="32-bit calls are made by x86 instructions")
def test_a_32_bit_call_is_no_way_round(disk: Disk) -> None:
    def body() -> list[object]:
        os.mknod("/mnt/node", 0o60600, disk.number)
        memory, (node, here, ext4, tmpfs) = low_memory(b"/mnt/node", b"/mnt/here", b"ext4", b"tmpfs")
        answers = [call_32(I386.numbers["mount"], node, here, kind, 0, 0) for kind in (ext4, tmpfs)]
        return [*answers, shown(), len(memory)]

    assert guarded(body) == [-errno.EPERM, 0, ["tmpfs"], 4096]


def test_a_type_that_changes_while_it_is_looked_at_gives_no_disk(disk: Disk) -> None:
    def body() -> list[object]:
        os.mknod("/mnt/node", 0o60600, disk.number)
        name = ctypes.create_string_buffer(b"tmpfs", 8)
        going = True

        def swap() -> None:
            while going:
                name.value = b"ext4"
                name.value = b"tmpfs"

        thread = threading.Thread(target=swap)
        thread.start()
        answers: set[int] = set()
        for _ in range(40):
            done = LIBC.mount(b"/mnt/node", b"/mnt/here", name, ctypes.c_ulong(0), None)
            answers.add(0 if done == 0 else ctypes.get_errno())
        going = False
        thread.join()
        return [sorted(answers, key=lambda number: (number != 0, number)), sorted(set(shown()) - {"tmpfs"})]

    answers, others = guarded(body)
    assert others == []
    assert isinstance(answers, list)
    assert set(answers) <= {0, errno.EPERM, errno.ENODEV}


@pytest.mark.parametrize("name", ["debugfs", "tracefs", "devtmpfs", "binfmt_misc", "securityfs"])
def test_what_is_one_with_the_host_is_refused(name: str) -> None:
    assert guarded(lambda: [try_mount("x", name), shown()]) == [errno.EPERM, []]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("tmpfs", "size=64k,mode=700"),
        ("ramfs", None),
        ("proc", None),
        ("sysfs", None),
        ("mqueue", None),
        ("devpts", "newinstance"),
        ("cgroup2", None),
        ("hugetlbfs", None),
        ("overlay", "lowerdir=/usr:/etc"),
    ],
)
def test_ordinary_file_systems_are_mounted(name: str, data: str | None) -> None:
    def body() -> list[object]:
        answer = try_mount("x", name, MS_NODEV | MS_RDONLY if name == "overlay" else MS_NODEV, data)
        entry = next(entry for entry in read_mounts() if entry.target == "/mnt/here")
        return [answer, entry.filesystem, entry.source, "nodev" in entry.options]

    assert guarded(body) == [0, name, "x", True]


def test_relative_paths_and_descriptors_are_the_callers() -> None:
    def body() -> list[object]:
        os.mkdir("/mnt/lower")
        Path("/mnt/lower/file").touch()
        os.chdir("/mnt")
        here = os.open("here", os.O_PATH)
        done = LIBC.mount(b"o", f"/proc/self/fd/{here}".encode(), b"overlay", ctypes.c_ulong(1), b"lowerdir=lower:/usr")
        return [done, os.path.exists("/mnt/here/file")]

    assert guarded(body) == [0, True]


def test_fuse_gets_the_callers_device() -> None:
    def body() -> list[object]:
        fuse = os.open("/dev/fuse", os.O_RDWR)
        answer = try_mount("x", "fuse.test", 0, f"fd={fuse},rootmode=40000,user_id=0,group_id=0")
        operation = struct.unpack("<II", os.read(fuse, 1 << 16)[:8])[1]  # the kernel's greeting, sent to its server
        os.close(fuse)
        return [answer, shown(), operation]

    fuse_init = 26
    assert guarded(body) == [0, ["fuse.test"], fuse_init]


def test_proc_shows_the_namespace_of_whoever_mounts_it() -> None:
    def body() -> list[object]:
        done = subprocess.run(
            ["unshare", "-pf", "--mount-proc", "sh", "-c", "echo $$; ls /proc | grep -c '^[0-9]'"],
            check=False,
            capture_output=True,
            text=True,
        )
        return [done.returncode, done.stderr, *done.stdout.split()]

    answer = guarded(body)
    assert answer[:3] == [0, "", "1"]
    assert int(str(answer[3])) <= 4


def test_without_sys_admin_nothing_is_mounted() -> None:
    def body() -> int:
        os.setresuid(65534, 65534, 65534)
        return try_mount("x", "tmpfs")

    assert guarded(body) == errno.EPERM


def test_it_is_mounted_as_its_caller_and_with_no_more_rights() -> None:
    """Without uid 0 for files a process has SYS_ADMIN still, but no folder is open to it any more."""

    def body() -> list[object]:
        os.makedirs("/mnt/closed/below")
        os.chmod("/mnt/closed", 0o700)
        LIBC.setfsgid(1001)
        LIBC.setfsuid(1000)
        below = LIBC.mount(b"x", b"/mnt/closed/below", b"tmpfs", ctypes.c_ulong(0), None) and ctypes.get_errno()
        done, owner = try_mount("x", "tmpfs"), os.stat("/mnt/here")
        return [below, done, owner.st_uid, owner.st_gid]

    assert guarded(body) == [errno.EACCES, 0, 1000, 1001]


def test_a_capability_that_the_caller_gave_up_does_not_serve_it() -> None:
    def body() -> int:
        os.makedirs("/mnt/closed/below")
        os.chmod("/mnt/closed", 0o700)
        os.chown("/mnt/closed", 1000, 1000)
        set_capabilities(("SYS_ADMIN",))
        failed = LIBC.mount(b"x", b"/mnt/closed/below", b"tmpfs", ctypes.c_ulong(0), None)
        return ctypes.get_errno() if failed else 0

    assert guarded(body) == errno.EACCES


def test_a_user_namespace_mounts_by_itself_what_the_kernel_lets_it(disk: Disk) -> None:
    def body() -> list[object]:
        os.mknod("/mnt/node", 0o60666, disk.number)
        unshare("user", "mount")
        return [try_mount("x", "tmpfs"), try_mount("/mnt/node", "ext4"), shown()]

    assert guarded(body) == [0, errno.EPERM, ["tmpfs"]]


def test_a_user_namespace_opens_nothing_that_it_could_hand_on() -> None:
    def body() -> int:
        unshare("user", "mount")
        return ctypes.get_errno() if LIBC.syscall(X86_64.numbers["fsopen"], b"devtmpfs", 0) < 0 else 0

    assert guarded(body) == errno.ENOSYS


def test_the_new_calls_give_a_tmpfs_and_send_others_back_to_the_old_one() -> None:
    def body() -> list[object]:
        def fsopen(name: bytes | None) -> int:
            fd = int(LIBC.syscall(X86_64.numbers["fsopen"], name, 1))
            return -ctypes.get_errno() if fd < 0 else fd

        context = fsopen(b"tmpfs")
        created = LIBC.syscall(431, context, 6, None, None, 0)
        tree = LIBC.syscall(432, context, 1, 0)
        inheritable = os.get_inheritable(context)
        os.fchdir(tree)
        Path("file").touch()
        return [
            created,
            inheritable,
            os.listdir("."),
            *(fsopen(name) for name in (b"ext4", b"proc", b"devtmpfs", None)),
        ]

    assert guarded(body) == [0, False, ["file"], *[-errno.ENOSYS] * 4]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((0, 0, 0), errno.EFAULT),
        ((0, b"/mnt/here", 0), errno.EINVAL),
        ((0, b"/mnt/here", 8), errno.EFAULT),
        ((0, b"/mnt/none", b"tmpfs"), errno.ENOENT),
        ((0, b"/mnt/here", b""), errno.ENODEV),
        ((0, b"/mnt/here", b"nofs"), errno.ENODEV),
        ((b"/mnt", b"/mnt/here", b"ext4"), errno.ENOTBLK),
        ((b"/mnt/none", b"/mnt/here", b"ext4"), errno.ENOENT),
        ((0, b"/mnt/here", b"ext4"), errno.EINVAL),
        ((b"/mnt", b"/mnt/" + b"x" * 5000, b"tmpfs"), errno.ENAMETOOLONG),
    ],
)
def test_a_wrong_call_fails_as_the_kernel_has_it(arguments: tuple[object, ...], expected: int) -> None:
    def body() -> int:
        words = [ctypes.c_char_p(word) if isinstance(word, bytes) else ctypes.c_void_p(word) for word in arguments]  # type: ignore[arg-type]
        done = LIBC.syscall(X86_64.numbers["mount"], *words, ctypes.c_ulong(0), None)
        return ctypes.get_errno() if done < 0 else 0

    assert guarded(body) == expected


# In a whole container.


def test_root_inside_does_not_mount_the_hosts_disk(berth: Berth, rootfs: Factory, disk: Disk) -> None:
    quick.start(berth, rootfs("busybox"), name=NAME)
    number = f"{os.major(disk.number)} {os.minor(disk.number)}"
    script = f"mknod /tmp/node b {number}; mkdir -p /tmp/here; mount -t ext4 /tmp/node /tmp/here"
    result = berth("run", NAME, "--", "/bin/sh", "-c", script)
    assert result.returncode != 0
    assert "permission denied" in result.stderr
    assert quick.shell(berth, "ls /tmp/here", name=NAME) == ""


def test_init_and_whoever_enters_mount_what_is_theirs(berth: Berth, rootfs: Factory) -> None:
    root = rootfs("busybox")
    own = "mkdir -p /media; mount -t tmpfs of-init /media"
    script = f"#!/bin/sh\ntrap 'exit 0' TERM\n{own}\nwhile :; do sleep 3600 & wait $!; done\n"
    berth.succeed("start", NAME, "--rootfs", root, "--init", quick.write_init(root, "/sbin/mounting-init", script))
    assert "of-init /media tmpfs" in quick.wait_for(
        lambda: quick.shell(berth, "grep of-init /proc/mounts || :", NAME) or None
    )
    assert "mine /srv tmpfs" in quick.shell(
        berth, "mkdir -p /srv; mount -t tmpfs mine /srv; cat /proc/mounts", name=NAME
    )


def test_a_device_that_may_be_opened_may_be_mounted(berth: Berth, rootfs: Factory, disk: Disk) -> None:
    quick.start(berth, rootfs("busybox"), "--privileged=unfiltered-dev", name=NAME)
    number = f"{os.major(disk.number)} {os.minor(disk.number)}"
    script = (
        f"mknod /tmp/node b {number}; mkdir /tmp/here; cd /tmp; mount -t ext4 node here && cat here/secret; umount here"
    )
    assert quick.shell(berth, script, name=NAME) == "the host's"
    berth.succeed("stop", NAME)


def test_a_one_off_with_sys_admin_is_guarded_too(berth: Berth, rootfs: Factory) -> None:
    script = "mount -t tmpfs mine /tmp && grep mine /proc/mounts; mount -t debugfs x /tmp"
    result = berth("run", "--rm", "--cap-add=SYS_ADMIN", "--rootfs", rootfs("busybox"), "--", "/bin/sh", "-c", script)
    assert "mine /tmp tmpfs" in result.stdout
    assert "permission denied" in result.stderr


def test_without_seccomp_nobody_is_asked(berth: Berth, rootfs: Factory) -> None:
    quick.start(berth, rootfs("busybox"), "--privileged=noseccomp", name=NAME)
    assert (
        quick.shell(berth, "mkdir /tmp/d; mount -t debugfs mine /tmp/d && umount /tmp/d && echo done", name=NAME)
        == "done"
    )


def test_without_its_monitor_a_container_mounts_nothing_new(berth: Berth, rootfs: Factory) -> None:
    quick.start(berth, rootfs("busybox"), name=NAME)
    faults.kill(quick.info(berth, NAME)["monitor_pid"])
    result = berth("run", NAME, "--", "mount", "-t", "tmpfs", "x", "/tmp")
    assert result.returncode != 0
    assert "not implemented" in result.stderr
    assert quick.shell(berth, "mount --bind /bin /tmp && ls /tmp/sh", name=NAME) == "/tmp/sh"
    berth.succeed("recover")
    assert "x /tmp tmpfs" in quick.shell(berth, "mount -t tmpfs x /tmp; cat /proc/mounts", name=NAME)
    berth.succeed("stop", NAME)


def test_a_mount_that_hangs_holds_up_no_other(berth: Berth, rootfs: Factory) -> None:
    """A process that a file system on FUSE leaves waiting is the caller's trouble, not the monitor's."""
    quick.start(berth, rootfs("busybox"), name=NAME)
    with silent(berth, NAME, "/mnt", then="mount -t tmpfs y /mnt/below & echo $!") as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline().strip().isdigit()
        ours = quick.shell(berth, "mkdir -p /srv; mount -t tmpfs mine /srv; grep /srv /proc/mounts", name=NAME)
        assert ours.startswith("mine /srv tmpfs")
        berth.succeed("stop", NAME)


def test_what_a_mount_is_made_of_can_not_be_exchanged() -> None:
    """Root inside may open the descriptors and write to the memory of the process that mounts."""
    fd = errand.sealed(b"\x7fELF".ljust(4096, b"\0"))
    try:
        with open(f"/proc/self/fd/{fd}", "r+b", buffering=0) as file, pytest.raises(OSError, match="not permitted"):
            file.write(b"x")
        memory = mmap.mmap(fd, 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
        line = next(line for line in Path("/proc/self/maps").read_text().splitlines() if "memfd:mount" in line)
        begin = int(line.partition("-")[0], 16)
        own = os.open("/proc/self/mem", os.O_RDWR)
        with pytest.raises(OSError, match=r"Bad address|Input/output error"):
            os.pwrite(own, b"x", begin)
        os.close(own)
        assert memory[:4] == b"\x7fELF"
        memory.close()
    finally:
        os.close(fd)
