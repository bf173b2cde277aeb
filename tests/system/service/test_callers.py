"""Whom the service serves and tells, and that nobody holds it up for others."""

import contextlib
import json
import os
import re
import select
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from berth.engine.events import announce
from tests import faults
from tests.program import Berth
from tests.service import Service, ask, calling, connect_in

pytestmark = pytest.mark.system

REFUSED = ("b''", "ConnectionResetError", "BrokenPipeError")  # the connection is closed, early or late


CALL = "does anybody listen?"


@contextlib.contextmanager
def listening(service: Service, name: str, *arguments: str) -> Iterator[Iterator[str]]:
    """`berth events`, from the moment on that nothing of container `name` escapes it; yields the lines it prints."""
    with calling(service.berth, "events", *arguments) as listener:
        assert listener.stdout
        output = listener.stdout

        def hears() -> bool:
            announce(faults.home_of(service.berth), name, "saved", CALL)
            return bool(select.select([output], [], [], 0.05)[0])

        faults.wait_until(hears, "it listens")
        yield (line for line in output if CALL not in line)


def test_events_tell_of_starts_and_stops(service: Service, berth: Berth, root: Path) -> None:
    with listening(service, "sup", "--json") as lines:
        berth.succeed("start", "sup", "--rootfs", root)
        berth.succeed("stop", "sup")

        told = [json.loads(next(lines)) for _ in range(3)]
    assert [(event["name"], event["event"]) for event in told] == [
        ("sup", "starting"),
        ("sup", "running"),
        ("sup", "stopped"),
    ]


def test_events_of_a_container_are_told_in_words_and_without_those_of_others(
    service: Service, berth: Berth, root: Path
) -> None:
    with listening(service, "sup-b", "sup-b") as lines:
        for name in ("sup-a", "sup-b"):
            berth.succeed("start", name, "--rootfs", root)
            berth.succeed("stop", name)

        told = [next(lines) for _ in range(3)]
    assert all(re.match(r"\d\d:\d\d:\d\d sup-b ", line) for line in told), told
    assert [line.split()[2].rstrip(":") for line in told] == ["starting", "running", "stopped"]


def test_events_without_a_service_are_refused_with_the_way_to_start_it(service: Service, berth: Berth) -> None:
    service.end()

    refused = berth("events")

    assert refused.returncode == 1
    assert refused.stderr == 'berth: events: the service does not run; start it with "berth serve --background"\n'


def test_the_sockets_are_for_root_alone(service: Service) -> None:
    assert service.run.stat().st_mode & 0o7777 == 0o700
    for name in ("control.sock", "notify.sock", "events.sock"):
        assert (service.run / name).stat().st_mode & 0o777 == 0o600
    assert as_nobody(lambda: service.connect().close()) == "PermissionError"


def test_a_peer_that_is_not_root_is_not_served_though_it_got_to_the_socket(service: Service) -> None:
    folder = os.open(service.run, os.O_PATH)
    try:
        os.chmod(service.run, 0o711)
        os.chmod(service.run / "control.sock", 0o666)
        assert as_nobody(lambda: ask(connect_in(folder, "control.sock"))) in REFUSED
    finally:
        os.chmod(service.run / "control.sock", 0o600)
        os.chmod(service.run, 0o700)
        os.close(folder)
    assert b'"exit":0' in ask(service.connect())


def as_nobody(action: Callable[[], object]) -> str:
    """Do `action` in a child without any rights, and return what it returned or raised, in words."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            said = repr(action())
        except OSError as error:
            said = type(error).__name__
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        said = file.read().decode()
    os.waitpid(pid, 0)
    return said


@pytest.mark.parametrize(
    "data",
    [b"", b'{"call":"comm', b"no JSON\n", b"[1,2,3]\n", b"{}\n", b"\xff\xfe\n", b"[" * 100000 + b"\n", b"x" * 200000],
    ids=["nothing", "half-a-line", "words", "list", "empty", "bytes", "nested", "long"],
)
def test_a_caller_that_talks_nonsense_holds_up_nobody(service: Service, berth: Berth, data: bytes) -> None:
    with service.connect() as sock:
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.send(data)
        assert berth.succeed("list", seconds=30) is not None
    faults.wait_until(lambda: not service.workers(), "its worker has ended")
    assert b'"exit":0' in ask(service.connect())


def test_callers_that_only_connect_and_listeners_that_never_read_hold_up_nobody(
    service: Service, berth: Berth, root: Path
) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(service.connect())
            stack.enter_context(service.connect("events.sock"))
        berth.succeed("start", "sup", "--rootfs", root, seconds=30)
        berth.succeed("stop", "sup", seconds=30)
    faults.wait_until(lambda: not service.workers(), "the workers have ended")
