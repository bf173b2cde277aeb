"""Job control and pipes: Ctrl-Z, fg, bg and neighbours behave as with a program that runs outside."""

import os
import signal
from pathlib import Path

import pytest

from tests import callers, faults
from tests.callers import (
    INSIDE,
    PROMPT,
    Watched,
    await_client,
    await_raw,
    await_state,
    find_process,
    interactive_shell,
    leave,
    say,
    shell_inside,
    suspend,
)
from tests.program import Berth

pytestmark = pytest.mark.system


def test_ctrl_z_stops_a_program_and_fg_resumes_it(berth: Berth, run: list[str]) -> None:
    shell = interactive_shell(berth)
    shell.sendline(f"berth {' '.join(run)} sh -c 'echo rea\"\"dy; exec sleep 4812'")
    shell.expect_exact("ready")
    program = find_process("4812")

    suspend(shell)
    await_state(program, "T")
    assert say(shell, "stty -a | grep -o -- '-*icanon'", PROMPT) == ["icanon"]

    shell.sendline("fg")
    await_state(program, "S")
    await_raw(shell)
    shell.sendintr()
    shell.expect_exact(PROMPT)
    assert say(shell, "echo $?", PROMPT) == ["130"]
    leave(shell)


def test_a_stopped_program_goes_on_in_the_background_and_comes_back(berth: Berth, root: Path) -> None:
    shell = interactive_shell(berth)
    shell.sendline("berth run terminals -- sh -c 'echo rea\"\"dy; sleep 4813; echo got $(head -n 1)'")
    shell.expect_exact("ready")
    program = find_process("4813")
    suspend(shell)

    say(shell, "bg", PROMPT)
    await_state(program, "S")
    assert say(shell, "echo wor''ks", PROMPT) == ["works"]
    os.kill(program, signal.SIGKILL)  # what follows reads the terminal, so it stops as any background job does
    faults.wait_until(lambda: "Stopped" in " ".join(say(shell, "jobs", PROMPT)), "the job has stopped")

    shell.sendline("fg")
    await_raw(shell)
    shell.sendline("a line")
    shell.expect_exact("got a line")
    shell.expect_exact(PROMPT)
    leave(shell)


def test_a_program_in_the_background_leaves_the_terminal_alone(berth: Berth, root: Path) -> None:
    shell = interactive_shell(berth)
    shell.sendline("berth run terminals -- sh -c 'echo from be\"\"hind; sleep 4814; exit 7' &")
    shell.expect_exact(PROMPT)
    if "from behind\r\n" not in str(shell.before):  # the shell and the program write as they come
        shell.expect_exact("from behind\r\n")
    program = find_process("4814")

    assert say(shell, "echo wor''ks; stty -a | grep -o -- '-*icanon'", PROMPT)[-2:] == ["works", "icanon"]
    os.kill(program, signal.SIGKILL)
    assert say(shell, "wait $!; echo $?", PROMPT)[-1] == "7"
    leave(shell)


def test_a_pager_behind_the_pipe_has_the_keyboard_for_itself(berth: Berth, root: Path) -> None:
    """The caller must neither read what is typed for its neighbour nor change the mode that the neighbour has set."""
    shell = interactive_shell(berth)
    reader = "(stty -echo -icanon </dev/tty; echo set; head -c 3 </dev/tty | od -c; stty sane </dev/tty; cat)"
    shell.sendline(f"berth run terminals -- sh -c 'sleep 4815' | {reader}")
    program = find_process("4815")
    shell.expect_exact("set\r\n")

    shell.send("xyz")
    shell.expect(r"x +y +z")
    os.kill(program, signal.SIGKILL)
    shell.expect_exact(PROMPT)
    leave(shell)


@pytest.mark.parametrize("read", ["word=$(head -n 1)", "read word"])  # the second waits in poll(2)
def test_a_program_before_a_pipe_can_still_ask(berth: Berth, root: Path, read: str) -> None:
    shell = interactive_shell(berth)
    shell.sendline(f"berth run terminals -- sh -c 'echo as\"\"king >&2; {read}; echo got $word' | cat")
    shell.expect_exact("asking\r\n")
    shell.sendline("an answer")
    shell.expect_exact("got an answer")
    shell.expect_exact(PROMPT)
    leave(shell)


def test_ctrl_c_ends_both_sides_of_a_pipe(berth: Berth, root: Path) -> None:
    shell = interactive_shell(berth)
    shell.sendline("berth run terminals -- sleep 4816 | cat")
    program = Watched(find_process("4816"))

    shell.sendintr()

    shell.expect_exact(PROMPT)
    assert program.ends()
    leave(shell)


def test_ctrl_c_ends_a_program_that_has_no_terminal_at_all(berth: Berth, run: list[str]) -> None:
    shell = interactive_shell(berth)
    shell.sendline(f"berth {' '.join(run)} sleep 4817 </dev/null >/dev/null 2>&1")
    program = Watched(find_process("4817"))

    shell.sendintr()

    shell.expect_exact(PROMPT)
    assert program.ends()
    assert say(shell, "echo $?", PROMPT) == ["130"]
    leave(shell)


def test_ctrl_c_at_a_question_leaves_nobody_reading(berth: Berth) -> None:
    with callers.running(berth, "asked", "busybox"):
        berth.succeed("stop", "asked", "--timeout", "0")
        shell = interactive_shell(berth)
        shell.sendline("berth rm asked")
        shell.expect_exact("go on: ")

        shell.sendintr()
        shell.expect_exact(PROMPT)

        for word in ("one", "two", "three"):
            assert say(shell, f"echo {word}''", PROMPT) == [word]
        leave(shell)


def test_ctrl_z_stops_both_sides_of_a_pipe(berth: Berth, root: Path) -> None:
    shell = interactive_shell(berth)
    shell.sendline("berth run terminals -- sleep 4818 | cat")
    program = find_process("4818")
    await_client(shell, signal.SIGTSTP)

    suspend(shell)
    await_state(program, "T")
    shell.sendline("fg")
    await_state(program, "S")
    shell.sendintr()
    shell.expect_exact(PROMPT)
    leave(shell)


def test_jobs_work_in_a_shell_inside(berth: Berth, run: list[str]) -> None:
    shell = shell_inside(berth, run)
    shell.sendline("sleep 4819")
    program = find_process("4819")

    suspend(shell, INSIDE)
    await_state(program, "T")
    shell.sendline("fg")
    await_state(program, "S")
    shell.sendintr()
    shell.expect_exact(INSIDE)
    assert say(shell, "echo $?") == ["130"]
    leave(shell)
