"""The caller's terminal is as it was, however a program ends; a closed one ends the program."""

import os
import signal
from pathlib import Path

import pexpect
import pytest

from tests import faults
from tests.callers import (
    Terminal,
    Watched,
    at_terminal,
    await_raw,
    find_process,
    matched,
    parent_of,
    pid_of,
    with_terminal,
)
from tests.faults import children
from tests.program import Berth

pytestmark = pytest.mark.system


def compare_modes(berth: Berth, run: list[str], script: str) -> Terminal:
    """At a new terminal, run `script` and print the terminal's mode before and after it."""
    command = " ".join([*berth.command, *run])
    return at_terminal(berth, "bash", "-c", f"stty -g; {command} {script}; echo code=$?; stty -g")


def expect_same_mode(terminal: Terminal) -> str:
    """Read two modes, assert that they are the same, and return the exit code that is told between them."""
    mode = r"([0-9a-f]+(?::[0-9a-f]+){20,})\r\n"
    terminal.expect(mode)
    before = matched(terminal)
    terminal.expect(r"code=(\d+)\r\n")
    code = matched(terminal)
    terminal.expect(mode)
    assert matched(terminal) == before
    terminal.expect(pexpect.EOF)
    terminal.close()
    return code


def test_modes_are_restored_after_a_normal_end(berth: Berth, run: list[str]) -> None:
    assert expect_same_mode(compare_modes(berth, run, "sh -c 'stty raw -echo; exit 3'")) == "3"


def test_modes_are_restored_when_the_program_is_killed(berth: Berth, run: list[str]) -> None:
    terminal = compare_modes(berth, run, "sleep 4805")
    os.kill(find_process("4805"), signal.SIGKILL)

    assert expect_same_mode(terminal) == "137"


def test_modes_are_restored_when_the_caller_is_asked_to_end(berth: Berth, run: list[str]) -> None:
    terminal = compare_modes(berth, run, "sleep 4806")
    find_process("4806")
    await_raw(terminal)
    (client,) = children(pid_of(terminal))

    os.kill(client, signal.SIGTERM)

    assert expect_same_mode(terminal) == "143"


def test_modes_are_restored_when_the_worker_is_killed(berth: Berth, run: list[str]) -> None:
    terminal = compare_modes(berth, run, "sleep 4807")
    program = find_process("4807")
    await_raw(terminal)
    ended = Watched(program)

    os.kill(parent_of(program), signal.SIGKILL)

    assert expect_same_mode(terminal) == "1"
    assert ended.ends()


def test_a_closed_terminal_hangs_up_the_program(berth: Berth, root: Path) -> None:
    script = "trap 'echo hup >/told; exit' HUP; echo ready; while :; do sleep 4808; done"
    terminal = with_terminal(berth, "run", "terminals", "--", "sh", "-c", script)
    terminal.expect_exact("ready")
    sleeper = Watched(find_process("4808"))

    os.close(terminal.child_fd)  # as sshd does when the connection is lost
    terminal.closed = True

    assert sleeper.ends()
    told = root / "told"
    faults.wait_until(lambda: told.exists() and told.read_text() == "hup\n", "the program was hung up")
    (root / "told").unlink()
    terminal.wait()


def test_a_program_that_outlives_the_closed_terminal_is_killed(berth: Berth, root: Path) -> None:
    terminal = with_terminal(berth, "run", "terminals", "--", "sh", "-c", "trap '' HUP; echo ready; exec sleep 4809")
    terminal.expect_exact("ready")
    program = Watched(find_process("4809"))

    os.close(terminal.child_fd)
    terminal.closed = True

    assert program.ends()
    terminal.wait()


def test_a_closed_terminal_ends_a_one_off(berth: Berth, root: Path) -> None:
    terminal = with_terminal(berth, "run", "--rm", "--rootfs", root, "--", "sh", "-c", "echo ready; exec sleep 4810")
    terminal.expect_exact("ready")
    program = Watched(find_process("4810"))

    os.close(terminal.child_fd)
    terminal.closed = True

    assert program.ends()
    terminal.wait()
