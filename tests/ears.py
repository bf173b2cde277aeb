"""Datagrams between network namespaces: who hears which, whoever they claim to come from."""

import subprocess
import sys
from typing import NamedTuple, Self

PORT = 9999
_HEAR = """\
import socket, sys
sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
sock.bind(("::", int(sys.argv[1])))
print("ready", flush=True)
while (name := sock.recv(100)) != b"end":
    print(name.decode(), flush=True)
"""
_SAY = """\
import socket, sys
for word in sys.argv[2:]:
    name, source, target = word.split(",")
    six = ":" in source
    sock = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(*((socket.IPPROTO_IPV6, 75) if six else (socket.IPPROTO_IP, 19)), 1)  # IP_TRANSPARENT
    sock.bind((source, 0))
    sock.sendto(name.encode(), (target, int(sys.argv[1])))
"""


class Word(NamedTuple):
    """A datagram that holds `name`, and goes from and to these addresses."""

    name: str
    source: str
    target: str


class Ear:
    """Listens in the network namespace that the command `prefix` leads to."""

    def __init__(self, prefix: list[str]) -> None:
        self._prefix = prefix
        command = [*prefix, sys.executable, "-c", _HEAR, str(PORT)]
        self._program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._program.stdout is not None
        assert self._program.stdout.readline() == "ready\n"

    def heard(self) -> list[str]:
        """Return the names that were heard until now, and hear no more."""
        say(self._prefix, Word("end", "::1", "::1"))
        return self._program.communicate(timeout=60)[0].split()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._program.kill()
        self._program.communicate()


def say(prefix: list[str], *words: Word) -> None:
    """Send `words` from the network namespace that `prefix` leads to; a source may be anybody's address."""
    command = [*prefix, sys.executable, "-c", _SAY, str(PORT), *(",".join(word) for word in words)]
    subprocess.run(command, check=True, timeout=60)
