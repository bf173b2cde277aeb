"""Any system call may fail: a start then says which one in a sentence and leaves nothing, or does without it."""

import errno
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import faults
from tests.program import Berth
from tests.refusing import refusing

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]
NAME = "fault"

MS_RDONLY, MS_REMOUNT, MS_BIND, MS_SLAVE, MS_SHARED = 0x1, 0x20, 0x1000, 0x80000, 0x100000
PR_CAPBSET_DROP, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 24, 4, 36
TIOCSPTLCK, LOOP_CTL_GET_FREE, SIOCSIFFLAGS = 0x40045431, 0x4C82, 0x8914
CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWPID = 0x20000, 0x2000000, 0x20000000
F_OFD_SETLKW = 38


def flags(bits: int, index: int = 3) -> str:
    return f"{index}={bits:#x}/{bits:#x}"


# What is refused (calls with blanks between them), with what, and what the sentence names.
FATAL = {
    "mount": ("mount", errno.EPERM, "mount on /"),
    "mount-slave": (f"mount:{flags(MS_SLAVE)}", errno.EACCES, "mount on /"),
    "mount-bind": (f"mount:{flags(MS_BIND)}", errno.EIO, "mount on "),
    "mount-new": ("mount:3=0x0/0x12b1020", errno.ENOMEM, "mount [a-z0-9]+ on /"),
    "remount": (f"mount:{flags(MS_REMOUNT | MS_BIND | MS_RDONLY)}", errno.EPERM, "read-only /proc"),
    "mount-shared": (f"mount:{flags(MS_SHARED)}", errno.ENOMEM, "mount on /"),
    "umount": ("umount2", errno.EBUSY, "umount on "),
    "pivot_root": ("pivot_root", errno.EPERM, "pivot_root"),
    "unshare-mount": (f"unshare:0={CLONE_NEWNS:#x}", errno.ENOMEM, "unshare on mount:"),
    "unshare-cgroup": (f"unshare:0={CLONE_NEWCGROUP:#x}", errno.ENOSPC, "unshare on cgroup:"),
    "namespaces": (f"clone3 unshare:{flags(CLONE_NEWPID, 0)}", errno.ENOSPC, "unshare on mount,pid,uts,ipc"),
    "mknod": ("mknodat", errno.EIO, "mknod /dev/"),
    "mkdir": ("mkdirat", errno.ENOSPC, "mkdir /dev/"),
    "symlink": ("symlinkat", errno.ENOSPC, "link /dev/"),
    "sethostname": ("sethostname", errno.EPERM, f"sethostname on {NAME}"),
    "bounding-set": (f"prctl:0={PR_CAPBSET_DROP}", errno.EPERM, "PR_CAPBSET_DROP"),
    "dumpable": (f"prctl:0={PR_SET_DUMPABLE}", errno.EINVAL, "PR_SET_DUMPABLE"),
    "subreaper": (f"prctl:0={PR_SET_CHILD_SUBREAPER}", errno.EINVAL, "PR_SET_CHILD_SUBREAPER"),
    "seccomp": ("seccomp:0=0x1", errno.EINVAL, "seccomp"),
    "capset": ("capset", errno.EPERM, "capset"),
    "setsid": ("setsid", errno.EPERM, "setsid"),
    "openat2": ("openat2", errno.EIO, "/sbin/init is not there"),
    "pty": (f"ioctl:1={TIOCSPTLCK:#x}", errno.EIO, "TIOCSPTLCK"),
    "loopback": (f"ioctl:1={SIOCSIFFLAGS:#x}", errno.EPERM, "loopback"),
    "statfs": ("statfs", errno.EIO, "statvfs"),
    "listen": ("listen", errno.EADDRINUSE, "listen on "),
    "record": (f"fcntl:1={F_OFD_SETLKW}", errno.ENOLCK, "record can't be written"),
    "fork": ("clone:0=0x0/0x10000", errno.EAGAIN, "Resource temporarily unavailable"),
}
FATAL_WITH_IMAGE = {
    "mount": ("mount:3=0x0/0x12b1020", errno.EIO, "image .*: the kernel refuses its file system"),
    "loop": (f"ioctl:1={LOOP_CTL_GET_FREE:#x}", errno.EPERM, "image .*: no loop device can be had"),
    "mkdir": ("mkdir", errno.EROFS, "Read-only file system"),
    "pivot_root": ("pivot_root", errno.EPERM, "pivot_root"),
}
DISPENSABLE = {
    "clone3": ("clone3", errno.EPERM),
    "close_range": ("close_range", errno.EPERM),
    "mknodat": ("mknodat", errno.EPERM),
    "pidfd": ("pidfd_open", errno.EPERM),
    "no-more-pidfds": ("pidfd_open", errno.EMFILE),
    "pidfd_send_signal": ("pidfd_send_signal", errno.EPERM),
    "openat2": ("openat2", errno.EPERM),
    "prlimit": ("prlimit64", errno.EPERM),
    "setpriority": ("setpriority", errno.EPERM),
    "name": ("prctl:0=15", errno.EFAULT),
}


def by_name(table: dict[str, tuple[str, int, str]]) -> list[object]:
    return [pytest.param(*row, id=name) for name, row in table.items()]


@pytest.fixture
def root(rootfs: Factory) -> Path:
    return faults.write_init(rootfs("busybox"))


def refuse_to_start(berth: Berth, number: int, call: str, *arguments: str | Path) -> str:
    """Start under the refusal, and return the one sentence that it must end with."""
    result = refusing(berth, number, *call.split())("start", NAME, *arguments)
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(r"berth: [^\n]+\n", result.stderr), result.stderr
    assert "Errno" not in result.stderr
    assert faults.run_tree(berth) == {}
    return result.stderr


@pytest.mark.parametrize(("call", "number", "names"), by_name(FATAL))
def test_a_failing_call_is_named_and_everything_undone(
    berth: Berth, root: Path, call: str, number: int, names: str
) -> None:
    files = faults.tree(root)

    sentence = refuse_to_start(berth, number, call, "--rootfs", root, "--net=none")

    assert re.search(names, sentence), sentence
    assert faults.tree(root) == files


@pytest.mark.parametrize(("call", "number", "names"), by_name(FATAL_WITH_IMAGE))
def test_a_failing_call_leaves_nothing_of_an_image(
    berth: Berth, image: Factory, call: str, number: int, names: str
) -> None:
    sentence = refuse_to_start(berth, number, call, "--rootfs-img", image("busybox"))

    assert re.search(names, sentence), sentence
    assert not Path("/mnt/berth", NAME).exists()


@pytest.mark.parametrize(("call", "number"), [pytest.param(*row, id=name) for name, row in DISPENSABLE.items()])
def test_a_call_that_can_be_done_without_is_done_without(berth: Berth, root: Path, call: str, number: int) -> None:
    strict = refusing(berth, number, call)

    strict.succeed("start", NAME, "--rootfs", root)

    assert strict.succeed("run", NAME, "--", "echo", "here") == "here\n"
    strict.succeed("stop", NAME)
    assert faults.run_tree(berth) == {}


@pytest.mark.parametrize(
    ("call", "number"), [("setns", errno.EPERM), ("setgroups", errno.EPERM), ("capset", errno.EPERM)]
)
def test_an_entry_that_fails_says_so_and_the_container_goes_on(
    berth: Berth, root: Path, call: str, number: int
) -> None:
    berth.succeed("start", NAME, "--rootfs", root)

    result = refusing(berth, number, call)("run", NAME, "--", "echo", "here")

    assert result.returncode == 1
    assert re.fullmatch(rf"berth: container {NAME}: can't be entered: [^\n]+\n", result.stderr), result.stderr
    assert berth.succeed("run", NAME, "--", "echo", "here") == "here\n"
    berth.succeed("stop", NAME)
