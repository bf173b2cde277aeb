"""Name servers that take long to be found out, for a process that does not wait."""

import os
from pathlib import Path

from berth.network.loop import Loop
from berth.network.servers import Servers


def read_from(path: Path) -> tuple[str, ...]:
    return tuple(path.read_text().split())


def test_they_are_read_apart_and_those_known_last_hold_until_then(tmp_path: Path) -> None:
    loop, file = Loop(), tmp_path / "servers"
    file.write_text("192.0.2.1 192.0.2.2")
    servers = Servers(loop, lambda: (*read_from(file), str(os.getpid())))

    assert servers.now() == ()
    servers.look_again()
    assert servers.now() == ()
    loop.turn()

    *found, pid = servers.now()
    assert found == ["192.0.2.1", "192.0.2.2"]
    assert int(pid) != os.getpid()


def test_a_change_while_they_are_read_has_them_read_once_more(tmp_path: Path) -> None:
    loop, fifo = Loop(), tmp_path / "servers"
    os.mkfifo(fifo)
    servers = Servers(loop, lambda: read_from(fifo))  # a reader that waits for its writer

    for _ in range(3):
        servers.look_again()
    fifo.write_text("192.0.2.1")
    loop.turn()
    assert servers.now() == ("192.0.2.1",)
    fifo.write_text("192.0.2.9")
    loop.turn()

    assert servers.now() == ("192.0.2.9",)


def test_a_reader_that_fails_leaves_what_is_known(tmp_path: Path) -> None:
    loop, file = Loop(), tmp_path / "servers"
    file.write_text("192.0.2.1")
    servers = Servers(loop, lambda: read_from(file))
    servers.look_again()
    loop.turn()
    file.unlink()

    servers.look_again()
    loop.turn()

    assert servers.now() == ("192.0.2.1",)
