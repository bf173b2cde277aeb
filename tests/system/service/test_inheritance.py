"""What a caller hands on without meaning to: neither the service nor a container keeps any of it."""

import contextlib
import json
import os
import re
import resource
import select
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.kernel.processes import status_field
from tests import faults
from tests.faults import open_files
from tests.program import Berth
from tests.service import Service, monitor_of

pytestmark = pytest.mark.system

LIST = ("sh", "-c", "for fd in /proc/self/fd/*; do echo ${fd##*/}; done")


@contextlib.contextmanager
def many_open(scratch: Path) -> Iterator[list[int]]:
    """Twenty-odd descriptors of all kinds that a careless caller hands on."""
    with contextlib.ExitStack() as stack:
        for number in range(8):
            stack.enter_context((scratch / f"precious-{number}").open("w"))
            for sock in socket.socketpair():
                stack.enter_context(sock)
        poller = select.epoll()
        stack.callback(poller.close)
        pipes = os.pipe()
        for fd in pipes:
            stack.callback(os.close, fd)
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]
        leaky = [fd for fd in numbers if fd > 2 and is_open(fd)]
        for fd in leaky:
            os.set_inheritable(fd, True)
        yield leaky
        for fd in leaky:
            with contextlib.suppress(OSError):
                os.set_inheritable(fd, False)


def pipes_among(fds: list[int]) -> set[str]:
    """The pipes among them, as /proc names them."""
    return {name for fd in fds if (name := os.readlink(f"/proc/self/fd/{fd}")).startswith("pipe:")}


def is_open(fd: int) -> bool:
    with contextlib.suppress(OSError):
        os.fstat(fd)
        return True
    return False


def call_leaking(berth: Berth, leaky: list[int], *arguments: str | Path) -> str:
    return subprocess.run(
        [*berth.command, *arguments],
        env=berth.environment,
        check=True,
        pass_fds=leaky,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    ).stdout


def test_what_a_real_time_caller_starts_is_an_ordinary_process(berth: Berth, root: Path) -> None:
    real_time = Berth(berth.home)
    real_time.command = ["chrt", "--fifo", "1", *berth.command]
    real_time.environment = berth.environment

    real_time.succeed("start", "sup", "--rootfs", root)

    told = json.loads(berth.succeed("info", "sup", "--json"))
    assert [os.sched_getscheduler(told[key]) for key in ("pid", "monitor_pid")] == [os.SCHED_OTHER] * 2
    berth.succeed("stop", "sup")


def test_no_limit_of_the_caller_holds_for_a_container(berth: Berth, root: Path) -> None:
    narrow = Berth(berth.home)
    narrow.environment = berth.environment
    setting = "umask 077; ulimit -S -n 200; ulimit -S -c 5; echo 700 > /proc/self/oom_score_adj; cd /tmp"
    narrow.command = ["sh", "-c", f'{setting}; exec nice -n 7 "$@"', "sh", *berth.command]

    narrow.succeed("start", "sup", "--rootfs", root)

    told = json.loads(berth.succeed("info", "sup", "--json"))
    for pid in (told["pid"], told["monitor_pid"]):
        assert status_field(pid, "Umask") == "0022"
        assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "0\n"
        assert os.getpriority(os.PRIO_PROCESS, pid) == 0
        assert resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] == 1024
        assert resource.prlimit(pid, resource.RLIMIT_CORE)[0] == 0
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
    berth.succeed("stop", "sup")


def test_no_descriptor_of_the_caller_gets_anywhere(berth: Berth, root: Path, scratch: Path) -> None:
    with many_open(scratch) as leaky:
        assert len(leaky) > 20
        call_leaking(berth, leaky, "start", "sup", "--rootfs", root)
        inside = call_leaking(berth, leaky, "run", "sup", "--", *LIST).split()
        one_off = call_leaking(berth, leaky, "run", "--rm", "--rootfs", root, "--", *LIST).split()
        pipes = pipes_among(leaky)
    told = json.loads(berth.succeed("info", "sup", "--json"))

    assert {*inside} <= {"0", "1", "2", "3"}  # 3 is the shell's own, on the folder that it lists
    assert {*one_off} <= {"0", "1", "2", "3"}
    assert set(open_files(told["pid"]).values()) <= {"/dev/console", "/sbin/init", "/dev/pts/0"}
    faults.wait_until(lambda: sockets_of(told["monitor_pid"]) <= 1, "whoever called it has gone")  # 1: its listener
    monitor = open_files(told["monitor_pid"])
    assert [monitor[fd] for fd in range(3)] == ["/dev/null"] * 3
    assert not pipes & {*monitor.values()}
    kinds = sorted(re.sub(r"\d+", "N", path.replace(str(berth.home), "HOME")) for fd, path in monitor.items() if fd > 2)
    assert set(kinds) <= {
        "/dev/pts/N",
        "/dev/pts/ptmx",
        "/memfd:order (deleted)",  # what the start was ordered with, for the next boot
        "HOME/containers/sup/log",
        "HOME/run/containers/sup/journal",
        "anon_inode:[pidfd]",
        "anon_inode:inotify",
        "anon_inode:seccomp notify",  # what the container asks to be mounted
        "mnt:[N]",  # the mounts of the host, for which it leaves its own at its end
        "pipe:[N]",
        "socket:[N]",
    }
    assert kinds.count("pipe:[N]") <= 2  # both ends of what a signal writes to
    assert len(kinds) <= 10
    berth.succeed("stop", "sup")


def sockets_of(pid: int) -> int:
    return sum(path.startswith("socket:") for path in open_files(pid).values())


def test_the_service_keeps_nothing_of_who_started_it(berth: Berth, scratch: Path, root: Path) -> None:
    service = Service(berth)
    with many_open(scratch) as leaky:
        files_of_caller = {os.readlink(f"/proc/self/fd/{fd}") for fd in leaky}
        call_leaking(berth, leaky, "serve", "--background")
    faults.wait_until(service.answers, "the service answers")
    try:
        held = open_files(service.pid)
        assert not {*held.values()} & files_of_caller - {"/dev/null"}
        faults.wait_until(lambda: len(open_files(service.pid)) <= 13, "whoever asked whether it answers has gone")
        berth.succeed("start", "sup", "--rootfs", root)
        assert berth.succeed("run", "sup", "--", *LIST).split() <= ["0", "1", "2", "3"]
        sockets = [path for path in open_files(monitor_of(berth, "sup")).values() if path.startswith("socket:")]
        assert not {*sockets} & {*held.values()}
        berth.succeed("stop", "sup")
    finally:
        service.end()
