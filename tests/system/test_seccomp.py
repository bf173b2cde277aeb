"""The filter on the running kernel: each call is tried from inside, by 64-bit and by 32-bit calls.

Everything happens in forked children, since a filter stays for good.  A 64-bit process that executes `int 0x80` makes
an i386 call: the kernel shows the filter AUDIT_ARCH_I386 and takes the number from the 32-bit table.
"""

import ctypes
import errno
import os
import platform
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Literal

import pytest

from berth.host import Host
from berth.kernel.call import KernelError
from berth.kernel.seccomp import assemble, install
from berth.kernel.syscalls import I386, X86_64
from berth.plan.model import SyscallRule
from berth.plan.seccomp import plan_syscall_rules
from berth.spec import Spec
from tests.calls32 import call_32
from tests.forked import in_child

pytestmark = pytest.mark.system

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None
Width = Literal[64, 32]

LIBC: Final = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWPID: Final = 0x20000000
MS_RDONLY: Final = 1
MS_REMOUNT: Final = 32
SO_ATTACH_FILTER: Final = 26
LINUX_REBOOT_CMD_RESTART: Final = 0x01234567
RULES: Final = plan_syscall_rules(
    Spec(name="web", block_nested_namespaces=True), Host(kernel=(4, 14), machine="x86_64", root_is_ramfs=True)
)

# Arguments with which a call that got through would do nothing: null pointers, no descriptor.
HARMLESS: Final[dict[str, tuple[int, ...]]] = {
    "init_module": (0, 0, 0),
    "finit_module": (-1, 0, 0),
    "delete_module": (0, 0),
    "kexec_load": (0, 1, 0, 0),
    "kexec_file_load": (-1, -1, 0, 0, 0),
    "settimeofday": (0, 0),
    "clock_settime": (0, 0),
    "clock_settime64": (0, 0),
    "stime": (0,),
    "open_by_handle_at": (-1, 0, 0),
    "mount": (0, 0, 0, MS_REMOUNT | MS_RDONLY, 0),
    "fsconfig": (-1, 7, 0, 0, 0),
    "fspick": (-1, 0, 0),
    "ioctl": (-1, 0xC0045877, 0),
    "quotactl": (0, 0, 0, 0),
    "quotactl_fd": (-1, 0, 0, 0),
    "fanotify_init": (0x80000000, 0),
    "fanotify_mark": (-1, 0x101, 0, 0, -1, 0),
    "listmount": (0, 0, 0, 0),
    "statmount": (0, 0, 0, 0),
    "perf_event_open": (0, 0, -1, -1, 0),
    "bpf": (28, 0, 0),
    "getsockopt": (-1, socket.SOL_SOCKET, 77, 0, 0),  # SO_PEERPIDFD
    "setsockopt": (-1, socket.SOL_SOCKET, 76, 0, 0),  # SO_PASSPIDFD
    "socket": (socket.AF_PACKET, 0, 0),
    "io_uring_setup": (0, 0),
    "swapon": (0, 0),
    "swapoff": (0,),
    "syslog": (99, 0, 0),
    "reboot": (0xDEADBEEF, 0xCAFEBABE, 0, 0),
    "prctl": (0xDEADBEEF, 2, 0, 0, 0),
    "keyctl": (0, 0xFFFFFFFD, 0),  # KEYCTL_GET_KEYRING_ID of the session keyring
    "add_key": (0, 0, 0, 0, 0),
    "request_key": (0, 0, 0, 0),
    "setns": (-1, CLONE_NEWNS),
    "unshare": (CLONE_NEWUTS,),
    "clone": (CLONE_NEWUTS | signal.SIGCHLD, 0, 0, 0, 0),
    "clone3": (0, 0),
}
ENOSYS: Final = ("keyctl", "add_key", "request_key", "clone3", "fspick", "io_uring_setup", "listmount", "statmount")
EXPECTED: Final = {name: errno.ENOSYS if name in ENOSYS else errno.EPERM for name in HARMLESS} | {
    "getsockopt": errno.ENOPROTOOPT,
    "setsockopt": errno.ENOPROTOOPT,
}


def filtered(body: Callable[[], Json], rules: Iterable[SyscallRule] | None) -> Json:
    """Return what `body` returns in a child under the filter of `rules` (None: no filter)."""

    def work() -> Json:
        if rules is not None:
            install(assemble(rules, platform.machine()))
        return body()

    return in_child(work)


def call_64(number: int, arguments: Iterable[int]) -> int:
    """Make a 64-bit call; return its errno, 0 for success."""
    caller = os.getpid()
    result = LIBC.syscall(ctypes.c_long(number), *(ctypes.c_long(argument) for argument in arguments))
    return answer_of(-ctypes.get_errno() if result < 0 else result, caller)


def tried_32(number: int, arguments: Iterable[int]) -> int:
    """Make an i386 call from this 64-bit process; return its errno, 0 for success."""
    caller = os.getpid()
    return answer_of(call_32(number, *arguments), caller)


def answer_of(result: int, caller: int) -> int:
    """Turn a result into an errno, and end the child of a clone that got through."""
    if os.getpid() != caller:
        os._exit(0)
    return -result if result < 0 else 0


def tried(name: str, width: Width, arguments: Iterable[int]) -> Callable[[], Json]:
    number = (X86_64 if width == 64 else I386).numbers[name]
    return lambda: (call_64 if width == 64 else tried_32)(number, arguments)


EACH_CALL: Final = [
    pytest.param(name, width, id=f"{name}-{width}")
    for name in HARMLESS
    for width, architecture in ((64, X86_64), (32, I386))
    if name in architecture.numbers
]


@pytest.mark.parametrize(("name", "width"), EACH_CALL)
def test_a_refused_call_fails_with_its_errno(name: str, width: Width) -> None:
    assert filtered(tried(name, width, HARMLESS[name]), RULES) == EXPECTED[name]


@pytest.mark.parametrize(("name", "width"), EACH_CALL)
def test_without_the_filter_that_call_answers_something_else(name: str, width: Width) -> None:
    """Else the test above would prove nothing."""
    assert filtered(tried(name, width, HARMLESS[name]), None) != EXPECTED[name]


@pytest.mark.parametrize("width", [64, 32])
def test_high_bits_are_no_way_round_the_reboot_rule(width: Width) -> None:
    body = tried("reboot", width, (0x1_DEADBEEF, 0x1_CAFEBABE, 0, 0))
    assert filtered(body, RULES) == errno.EPERM
    assert filtered(body, None) == errno.EINVAL


@pytest.mark.parametrize("width", [64, 32])
def test_reboot_still_ends_a_pid_namespace(width: Width) -> None:
    """Inside a container reboot(2) kills init by SIGHUP, by which the monitor knows a restart from a halt."""
    reboot = tried("reboot", width, (0xFEE1DEAD, 672274793, LINUX_REBOOT_CMD_RESTART))

    def body() -> Json:
        if LIBC.unshare(CLONE_NEWPID) != 0:
            return os.strerror(ctypes.get_errno())
        init = os.fork()
        if init == 0:
            if os.getpid() == 1:  # anywhere else it would restart this machine
                install(assemble(RULES, platform.machine()))
                reboot()
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(init, 0)[1])

    assert filtered(body, None) == -signal.SIGHUP


def test_x32_calls_do_not_exist() -> None:
    assert filtered(lambda: call_64(0x40000000 + 39, ()), RULES) == errno.ENOSYS


def test_fork_threads_and_programs_work_without_clone3() -> None:
    def body() -> Json:
        said: list[Json] = []
        thread = threading.Thread(target=said.append, args=("thread",))
        thread.start()
        thread.join()
        program = subprocess.run(["/bin/sh", "-c", "(echo a) | cat; echo $((6 * 7))"], capture_output=True, check=True)
        forked = os.fork()
        if forked == 0:
            os._exit(7)
        return [said, program.stdout.decode(), os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1])]

    assert filtered(body, RULES) == [["thread"], "a\n42\n", 7]


def test_the_shield_stops_unshare_of_util_linux_and_its_absence_does_not() -> None:
    def body() -> Json:
        done = subprocess.run(["unshare", "--mount", "--uts", "true"], capture_output=True, check=False)
        return [done.returncode, "Operation not permitted" in done.stderr.decode()]

    unshielded = plan_syscall_rules(Spec(name="web"), Host(kernel=(6, 1), machine="x86_64"))
    assert filtered(body, RULES) == [1, True]
    assert filtered(body, unshielded) == [0, False]


def test_a_time_namespace_is_refused_to_unshare_but_0x80_is_not_to_clone() -> None:
    assert filtered(tried("unshare", 64, (0x80,)), RULES) == errno.EPERM
    assert filtered(tried("unshare", 64, (0x80,)), None) == 0
    assert filtered(tried("clone", 64, (0x80, 0, 0, 0, 0)), RULES) == 0


def test_joining_a_namespace_works_under_the_shield() -> None:
    def body() -> Json:
        with Path("/proc/self/ns/uts").open() as namespace:
            return int(LIBC.setns(namespace.fileno(), CLONE_NEWUTS))

    assert filtered(body, RULES) == 0


def test_the_filter_stays_over_execve_and_sets_no_new_privs_not() -> None:
    def body() -> Json:
        status = subprocess.run(["cat", "/proc/self/status"], capture_output=True, check=True, text=True).stdout
        fields = dict(line.split(":\t", 1) for line in status.splitlines())
        return [fields["Seccomp"], fields["NoNewPrivs"]]

    assert filtered(body, RULES) == ["2", "0"]


def test_two_filters_can_stand_on_each_other() -> None:
    """A container inside a container installs its own."""

    def body() -> Json:
        install(assemble(RULES, platform.machine()))
        return [call_64(X86_64.numbers["keyctl"], HARMLESS["keyctl"]), call_64(39, ())]

    assert filtered(body, RULES) == [errno.ENOSYS, 0]


def test_install_without_sys_admin_is_an_error_that_names_the_call() -> None:
    def body() -> Json:
        os.setresuid(65534, 65534, 65534)
        try:
            install(assemble(RULES, platform.machine()))
        except KernelError as error:
            return [error.call, error.errno]
        return "installed"

    assert filtered(body, None) == ["prctl(PR_SET_SECCOMP)", errno.EACCES]


def test_a_program_that_is_none_is_an_error_and_no_filter() -> None:
    def body() -> Json:
        try:
            install(b"")
        except KernelError as error:
            return [error.errno, "Seccomp:\t0\n" in Path("/proc/self/status").read_text()]
        return "installed"

    assert filtered(body, None) == [errno.EINVAL, True]


@pytest.mark.parametrize("machine", ["x86_64", "i686", "i386", "aarch64", "armv8l", "armv7l", "riscv64"])
def test_the_kernels_checker_accepts_the_program_of_every_machine(machine: str) -> None:
    """A socket filter goes through the same check of jumps and returns, and can't lock this process out."""
    program = assemble(RULES, machine)
    instructions = ctypes.create_string_buffer(program, len(program))
    sock_fprog = struct.pack("@HP", len(program) // 8, ctypes.addressof(instructions))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, sock_fprog)
        broken = struct.pack("@HP", len(program) // 8 - 1, ctypes.addressof(instructions))
        with pytest.raises(OSError, match="Invalid argument"):
            probe.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, broken)
