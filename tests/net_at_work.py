"""The net process, killed at the moment in which it does its n-th thing to the phone.

    python -m tests.net_at_work HOME PID       in the phone's namespaces; each line read from standard input is a number

For each, a net process serves two containers from their first to their last request, one of them on the bridge, both
with all that one can have; PID is a process that has a network namespace of its own.  It is killed right before that
many of its effects (0: never), and how many there were is printed.  Then what it left is taken back as `recover` does,
and "done" is printed.
"""

import fcntl
import os
import signal
import socket
import sys
from types import FrameType
from typing import Any

from msgspec.structs import replace

from berth.engine import network
from berth.home import Home
from berth.kernel.sockets import connect, listen
from berth.network.messages import Request, receive_answer, send
from berth.network.model import Wish
from berth.network.records import NetFolder
from berth.network.server import serve
from berth.spec import Port

EFFECTS = {"send", "fork_exec", "waitpid", "write", "rename", "unlink"}
"""What the interpreter calls to change something: netlink, programs, settings, records."""

NAMES = ("net-a", "net-b")


def main() -> None:
    home, pid = Home(sys.argv[1], f"{sys.argv[1]}/run"), int(sys.argv[2])
    for line in sys.stdin:
        print(one_life(home, pid, int(line)), flush=True)
        for name in NAMES:
            network.leave(home.run, name)
        network.settle(home)
        print("done", flush=True)


def one_life(home: Home, pid: int, last: int) -> int:
    """Have a net process live until its effect `last`; return how many it had."""
    folder = NetFolder(home.run)
    folder.make()
    reader, writer = os.pipe()
    with open(folder.lock, "w", encoding="ascii") as lock, listen(folder.socket, socket.SOCK_SEQPACKET) as listener:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until somebody is connected, or it would end at once
        child = os.fork()
        if child == 0:
            lock.close()
            os.close(reader)
            sys.setprofile(Count(last, writer))
            serve(home, listener, None)
            os._exit(0)
        os.close(writer)
        sock = connect(folder.socket, socket.SOCK_SEQPACKET)
    with sock:
        talk(sock, pid)
    os.waitpid(child, 0)
    counted = len(os.read(reader, 1 << 16))
    os.close(reader)
    return counted


class Count:
    """Tells of each effect before it happens, and ends the process before the last one."""

    def __init__(self, last: int, writer: int) -> None:
        self._last, self._writer, self._count = last, writer, 0

    def __call__(self, _: FrameType, event: str, called: Any) -> None:
        if event != "c_call" or called.__name__ not in EFFECTS:
            return
        sys.setprofile(None)
        self._count += 1
        if self._count == self._last:
            os.kill(os.getpid(), signal.SIGKILL)
        os.write(self._writer, b".")
        sys.setprofile(self)


def talk(sock: socket.socket, pid: int) -> None:
    """Ask for all that two containers ask for; return when that is done, or when the net process has ended."""
    limited = Wish(name=NAMES[0], bandwidth_down=1 << 20, bandwidth_up=1 << 20)
    wishes = (
        replace(limited, ports=(Port(8080, 80), Port(9000, 9000, 3, "udp")), isolated=True),
        replace(limited, name=NAMES[1], ports=(Port(8081, 80),), bridge=True),
    )
    requests = [
        *(Request(call="reserve", name=wish.name, wish=wish) for wish in wishes),
        Request(call="attach", name=NAMES[0], pid=pid),
        Request(call="detach", name=NAMES[0]),
        Request(call="attach", name=NAMES[1], pid=pid),
        Request(call="ports", name=NAMES[1], add=(Port(8082, 82),)),
        Request(call="detach", name=NAMES[1]),
    ]
    for request in requests:
        try:
            send(sock, request)
            answer = receive_answer(sock)
        except OSError:
            return
        if answer is None:
            return
        assert not answer.error, answer.error


if __name__ == "__main__":
    main()
