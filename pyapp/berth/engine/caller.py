"""The process whose system call waits for the monitor's answer, as it was when it was looked at."""

import errno
import os

from msgspec import Struct

from berth.kernel.capabilities import NUMBERS
from berth.kernel.files import read_file
from berth.kernel.namespaces import open_namespaces
from berth.kernel.notifications import Question
from berth.kernel.processes import pidfd_getfd, pidfd_open


class Caller(Struct, frozen=True, kw_only=True):
    """Who asks: what is of its process is open, and stays that one's whatever becomes of the number.

    `capabilities` are those in force, as bits; with `in_user_namespace` they say nothing about the host.
    """

    pidfd: int | None
    memory: int
    root: int
    cwd: int
    namespaces: dict[str, int]
    in_user_namespace: bool
    capabilities: int
    uid: int
    gid: int
    groups: tuple[int, ...]

    def has(self, capability: str) -> bool:
        """Whether the capability is in force."""
        return bool(self.capabilities & 1 << NUMBERS[capability])

    def copy(self, number: int) -> int:
        """Return a copy, close-on-exec, of its descriptor `number`.  Raises OSError: EBADF where it has none."""
        if self.pidfd is None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return pidfd_getfd(self.pidfd, number)


def look_at(question: Question) -> Caller:
    """Return who asks `question`; true only if the caller is found to wait still afterwards.  Raises OSError."""
    place = f"/proc/{question.thread}"
    lines = read_file(f"{place}/status").decode(errors="replace").split("\n")
    fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return Caller(
        pidfd=pidfd_open(int(fields["Tgid"])),
        memory=os.open(f"{place}/mem", os.O_RDONLY | os.O_CLOEXEC),
        root=os.open(f"{place}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC),
        cwd=os.open(f"{place}/cwd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC),
        namespaces=open_namespaces(question.thread),
        in_user_namespace=os.stat(f"{place}/ns/user").st_ino != os.stat("/proc/self/ns/user").st_ino,
        capabilities=int(fields["CapEff"], 16),
        uid=int(fields["Uid"].split()[3]),
        gid=int(fields["Gid"].split()[3]),
        groups=tuple(map(int, fields["Groups"].split())),
    )
