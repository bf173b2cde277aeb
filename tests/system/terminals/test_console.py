"""The console of a container: who looks on, what they type, and that nobody who looks on can hold it up."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests import callers, faults
from tests.callers import (
    SECONDS,
    Terminal,
    Watched,
    at_terminal,
    exit_code,
    interactive_shell,
    leave,
    matched,
    pid_of,
    with_terminal,
)
from tests.program import Berth

pytestmark = pytest.mark.system

DETACH = "\x1d"


@pytest.fixture
def root(berth: Berth) -> Iterator[Path]:
    with callers.running(berth, "consoles", "busybox") as folder:
        yield folder


def look_on(berth: Berth) -> Terminal:
    """Look at the console, with a known prompt."""
    viewer = with_terminal(berth, "console", "consoles")
    viewer.send("\r")
    viewer.expect_exact("# ")
    return viewer


def detach(viewer: Terminal) -> None:
    viewer.send(DETACH)
    assert exit_code(viewer) == 0


def test_what_was_said_is_shown_and_what_is_typed_arrives(berth: Berth, root: Path) -> None:
    berth.succeed("run", "consoles", "--", "sh", "-c", "echo said before >/dev/console")

    viewer = with_terminal(berth, "console", "consoles")
    viewer.expect_exact("said before")
    viewer.send("echo ty''ped; tty\r")
    viewer.expect_exact("typed\r\n/dev/console")

    detach(viewer)
    assert berth.succeed("run", "consoles", "--", "echo", "goes on") == "goes on\n"


def test_who_looks_on_is_told_how_to_leave_and_that_it_has_left(berth: Berth, root: Path) -> None:
    viewer = with_terminal(berth, "console", "consoles")
    viewer.expect_exact("console of consoles; Ctrl-] detaches, and the container goes on\r\n")
    viewer.send(DETACH)

    viewer.expect_exact("berth: detached from the console\r\n")

    assert exit_code(viewer) == 0


def test_what_is_typed_before_the_detaching_key_arrives(berth: Berth, root: Path) -> None:
    viewer = look_on(berth)
    viewer.send(f"echo last >/told\r{DETACH}")
    assert exit_code(viewer) == 0
    faults.wait_until((root / "told").exists, "what was typed has arrived")


def test_ctrl_c_is_for_the_program_on_the_console(berth: Berth, root: Path) -> None:
    viewer = look_on(berth)
    viewer.send("sleep 5001\r")
    callers.find_process("5001")
    viewer.send("\x03")
    viewer.expect_exact("# ")
    viewer.send("echo al''ive\r")
    viewer.expect_exact("alive")
    detach(viewer)


def test_the_console_has_the_size_of_who_looked_last(berth: Berth, root: Path) -> None:
    first = look_on(berth)
    first.send("stty size\r")
    first.expect_exact("33 77")
    second = look_on(berth)
    second.setwinsize(44, 88)
    size = ("run", "consoles", "--", "stty", "-F", "/dev/console", "size")
    faults.wait_until(lambda: berth.succeed(*size) == "44 88\n", "the console has the second viewer's size")
    detach(second)
    detach(first)


def test_two_viewers_see_the_same(berth: Berth, root: Path) -> None:
    first, second = look_on(berth), look_on(berth)
    second.send("echo for bo''th\r")
    first.expect_exact("for both")
    second.expect_exact("for both")
    detach(first)
    second.send("echo one is le''ft\r")
    second.expect_exact("one is left")
    detach(second)


def test_a_viewer_that_does_not_read_holds_nobody_up(berth: Berth, root: Path) -> None:
    viewer = look_on(berth)
    client = pid_of(viewer)
    os.kill(client, signal.SIGSTOP)
    script = "yes | head -c 2000000 >/dev/console; echo over"

    assert berth.succeed("run", "consoles", "--", "sh", "-c", script) == "over\n"

    os.kill(client, signal.SIGCONT)
    viewer.close(force=True)


def test_a_viewer_that_is_killed_takes_nothing_with_it(berth: Berth, root: Path) -> None:
    viewer = look_on(berth)
    viewer.kill(signal.SIGKILL)
    viewer.wait()

    assert berth.succeed("run", "consoles", "--", "sh", "-c", "yes | head -c 1000000 >/dev/console; echo on") == "on\n"
    other = with_terminal(berth, "console", "consoles")
    other.expect_exact("y\r\ny\r\n")
    detach(other)


def test_the_end_of_the_container_ends_the_looking_on(berth: Berth, root: Path) -> None:
    viewer = look_on(berth)
    berth.succeed("stop", "consoles")
    assert exit_code(viewer) == 0
    assert berth("console", "consoles").returncode == 1
    berth.succeed("start", "consoles")


def test_looking_on_goes_on_over_a_reboot(berth: Berth, root: Path) -> None:
    viewer = look_on(berth)
    viewer.send("echo be''fore; reboot\r")
    viewer.expect_exact("before")
    viewer.expect_exact("built-in shell")
    viewer.send("echo af''ter; stty size\r")
    viewer.expect_exact("after\r\n33 77")
    viewer.setwinsize(44, 88)
    viewer.send("stty size\r")
    viewer.expect_exact("44 88")
    detach(viewer)


def test_the_callers_mode_is_restored(berth: Berth, root: Path) -> None:
    command = " ".join(berth.command)
    terminal = at_terminal(berth, "bash", "-c", f"stty -g; {command} console consoles; stty -g")
    mode = r"([0-9a-f]+(?::[0-9a-f]+){20,})\r\n"
    terminal.expect(mode)
    before = matched(terminal)
    terminal.expect_exact("# ")
    terminal.send(DETACH)
    terminal.expect(mode)
    assert matched(terminal) == before
    terminal.expect(pexpect.EOF)


def test_ctrl_c_ends_looking_on_in_a_pipe(berth: Berth, root: Path) -> None:
    berth.succeed("run", "consoles", "--", "sh", "-c", "echo said before >/dev/console")
    shell = interactive_shell(berth)
    shell.sendline("berth console consoles </dev/null | cat")
    shell.expect_exact("said before")
    shell.sendintr()
    shell.expect_exact(callers.PROMPT)
    leave(shell)


def test_a_start_in_the_foreground_shows_the_console_and_ends_with_the_container(berth: Berth, root: Path) -> None:
    berth.succeed("stop", "consoles", "--timeout", "0")
    starter = with_terminal(berth, "start", "consoles", "--foreground")
    starter.expect_exact("# ")
    starter.send("echo he''re; stty size\r")
    starter.expect_exact("here\r\n33 77")
    starter.send("poweroff\r")
    assert exit_code(starter) == 0
    assert re.search(r"stopped", berth.succeed("info", "consoles"))
    berth.succeed("start", "consoles")


def test_closing_the_terminal_of_a_viewer_leaves_the_container_alone(berth: Berth, root: Path) -> None:
    viewer = look_on(berth)
    client = Watched(pid_of(viewer))
    os.close(viewer.child_fd)
    viewer.closed = True
    assert client.ends()
    viewer.wait()
    assert berth.succeed("run", "consoles", "--", "echo", "goes on") == "goes on\n"


def test_nobody_has_a_console_where_nothing_runs(berth: Berth) -> None:
    result = subprocess.run(
        [*berth.command, "console", "nothing"], check=False, env=berth.environment, capture_output=True, timeout=SECONDS
    )
    assert result.returncode == 1
    assert result.stderr.count(b"\n") == 1
