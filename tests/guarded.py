"""A process under the filter of a container whose system calls the monitor is asked about, and who answers them.

Everything happens in forked children, since a filter stays for good, and in a mount namespace of their own.
"""

import ctypes
import mmap
import os
import platform
from collections.abc import Callable
from typing import Final

from berth.engine.channel import Channel
from berth.engine.guard import stand_guard
from berth.host import Host, Rootfs
from berth.kernel.mounts import MS_PRIVATE, MS_REC, mount
from berth.kernel.namespaces import unshare
from berth.kernel.seccomp import assemble, install_with_listener
from berth.plan import plan
from berth.plan.model import Plan
from berth.spec import Spec, StartOptions
from tests.faults import children
from tests.forked import Answer, Child

LIBC: Final = ctypes.CDLL(None, use_errno=True)
MACHINE: Final = platform.machine()
SPEC: Final = Spec(name="guarded", rootfs="/")
HOST: Final = Host(kernel=(6, 6), machine=MACHINE, filesystems=frozenset({"cgroup2"}))
PLAN: Final = plan(SPEC, StartOptions(), HOST, Rootfs(init="/sbin/init"))


def guarded(body: Callable[[], Answer], made: Plan = PLAN) -> Answer:
    """Return what `body` returns in a child who is guarded by the rules of `made`."""
    ours, theirs = Channel.pair()

    def under_guard() -> Answer:
        ours.close()
        unshare("mount")
        mount(None, "/", None, MS_REC | MS_PRIVATE)
        mount("tmpfs", "/mnt", "tmpfs", 0, "mode=755")
        os.mkdir("/mnt/here")
        listener = install_with_listener(assemble(made.syscall_rules, MACHINE))
        theirs.send({}, (listener,))
        os.close(listener)
        theirs.close()
        return body()

    child = Child(under_guard)
    theirs.close()
    others = set(children(os.getpid()))
    _, listeners = ours.receive()
    ours.close()
    for listener in listeners:
        stand_guard(listener, made)  # not by the child: what is under the filter would ask itself
    guards = set(children(os.getpid())) - others
    answer = child.result()
    for guard in guards:
        assert os.waitstatus_to_exitcode(os.waitpid(guard, 0)[1]) == 0, "the guard failed"
    return answer


def try_mount(source: str | None, filesystem: str, flags: int = 0, data: str | None = None) -> int:
    """Mount at /mnt/here by the plain call; return its errno, 0 for success."""
    words = [None if word is None else word.encode() for word in (source, "/mnt/here", filesystem)]
    done = LIBC.mount(*words, ctypes.c_ulong(flags), None if data is None else data.encode())
    return ctypes.get_errno() if done < 0 else 0


def low_memory(*texts: bytes) -> tuple[mmap.mmap, list[int]]:
    """Put texts where a 32-bit pointer reaches; return the memory and their addresses."""
    memory = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40)  # MAP_32BIT
    begin = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    addresses = []
    for text in texts:
        addresses.append(begin + memory.tell())
        memory.write(text + b"\0")
    return memory, addresses
