"""Terminals: keys, window size, job control, modes and hang-ups, as with a program that runs outside."""

import os
import re
import signal
import termios
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests import callers
from tests.callers import (
    PROMPT,
    Terminal,
    Watched,
    at_terminal,
    descriptors_of,
    exit_code,
    find_process,
    interactive_shell,
    matched,
    parent_of,
    pid_of,
    with_terminal,
)
from tests.program import Berth

pytestmark = pytest.mark.system

INSIDE = "inside# "


@pytest.fixture(scope="module", params=["bare", "served"])
def berth(request: pytest.FixtureRequest, berth_home: Path) -> Iterator[Berth]:
    with callers.caller(berth_home, served=request.param == "served") as command:
        yield command


@pytest.fixture(scope="module")
def root(berth: Berth) -> Iterator[Path]:
    with callers.running(berth, "terminals", "busybox") as folder:
        yield folder


@pytest.fixture(params=["inside", "one-off"])
def run(request: pytest.FixtureRequest, root: Path) -> list[str]:
    """The words that run a program in the running container, or in a fresh one of its own."""
    return ["run", "terminals", "--"] if request.param == "inside" else ["run", "--rm", "--rootfs", str(root), "--"]


def shell_inside(berth: Berth, run: list[str]) -> Terminal:
    """A shell in the container, at its prompt INSIDE; busybox' asks the terminal for its place, nobody answers."""
    shell = with_terminal(berth, *run, "env", f"PS1={INSIDE}", "TERM=dumb", "sh")
    shell.expect_exact(INSIDE)
    return shell


def say(shell: Terminal, line: str, prompt: str = INSIDE) -> list[str]:
    """Type `line` at the prompt and return what was answered until the next one."""
    shell.sendline(line)
    shell.expect_exact("\n")
    shell.expect_exact(prompt)
    assert shell.before is not None
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shell.before).splitlines()


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


@pytest.mark.parametrize(
    ("closing", "seen"),
    [
        ("", "yes yes yes"),
        ("</dev/null", "no yes yes"),
        ("| cat", "yes no yes"),
        ("2>/dev/null", "yes yes no"),
        ("</dev/null 2>/dev/null | cat", "no no no"),
    ],
)
def test_streams_are_terminals_inside_where_they_are_outside(
    berth: Berth, run: list[str], closing: str, seen: str
) -> None:
    command = " ".join([*berth.command, *run])
    script = "for number in 0 1 2; do [ -t $number ] && echo yes || echo no; done"
    terminal = at_terminal(berth, "bash", "-c", f"{command} sh -c '{script}' {closing}")
    terminal.expect(pexpect.EOF)

    assert terminal.before is not None
    assert terminal.before.split() == seen.split()
    terminal.close()


def test_the_terminal_has_the_callers_type_size_and_settings(berth: Berth, run: list[str]) -> None:
    command = " ".join([*berth.command, *run])
    script = "stty size; echo $TERM; stty -a | grep -o .iutf8; stty -a | grep -o 'kill = [^;]*'"
    terminal = at_terminal(berth, "bash", "-c", f'stty iutf8 kill ^X; {command} sh -c "{script}"')
    terminal.expect(pexpect.EOF)
    assert terminal.before is not None
    assert [line.strip() for line in terminal.before.splitlines()] == ["33 77", "xterm", "iutf8", "kill = ^X"]


def test_the_program_is_told_of_a_new_size(berth: Berth, run: list[str]) -> None:
    terminal = with_terminal(
        berth, *run, "sh", "-c", "trap 'stty size; exit 0' WINCH; echo ready; while :; do read x; done"
    )
    terminal.expect_exact("ready")

    terminal.setwinsize(40, 100)

    terminal.expect_exact("40 100")
    assert exit_code(terminal) == 0


def test_ctrl_c_interrupts_what_runs_in_the_shell_and_not_the_caller(berth: Berth, run: list[str]) -> None:
    shell = shell_inside(berth, run)
    shell.sendline("sleep 4801; echo sta''tus=$?")
    find_process("4801")

    shell.sendintr()
    shell.expect_exact(INSIDE)

    assert say(shell, "echo still he''re") == ["still here"]
    shell.sendline("exit 5")
    assert exit_code(shell) == 5


@pytest.mark.parametrize(("key", "code"), [("\x03", 130), ("\x1c", 131)])
def test_a_key_ends_the_program_that_does_not_catch_it(berth: Berth, run: list[str], key: str, code: int) -> None:
    terminal = with_terminal(berth, *run, "sh", "-c", "ulimit -c 0; echo ready; exec sleep 4802")
    terminal.expect_exact("ready")
    find_process("4802")

    terminal.send(key)

    assert exit_code(terminal) == code


def test_ctrl_d_is_the_end_of_input(berth: Berth, run: list[str]) -> None:
    terminal = with_terminal(berth, *run, "sh", "-c", "echo ready; cat; echo over")
    terminal.expect_exact("ready")
    terminal.sendline("word")
    terminal.expect_exact("word\r\nword\r\n")

    terminal.sendeof()

    terminal.expect_exact("over")
    assert exit_code(terminal) == 0


def test_a_program_in_raw_mode_gets_every_byte(berth: Berth, run: list[str]) -> None:
    every = bytes(range(256))
    terminal = with_terminal(berth, *run, "sh", "-c", "stty raw -echo; echo ready; head -c 256 | md5sum")
    terminal.expect_exact("ready")

    os.write(terminal.child_fd, every)

    terminal.expect_exact("e2c865db4162bed963bfaa9ef6ac18f0")  # of the bytes 0 to 255
    assert exit_code(terminal) == 0


def test_a_lot_of_output_arrives_whole(berth: Berth, run: list[str]) -> None:
    terminal = with_terminal(berth, *run, "sh", "-c", "stty -opost; seq 1 200000; echo over")
    terminal.maxread = 65536
    terminal.expect_exact("over", searchwindowsize=100)
    assert terminal.before is not None
    assert terminal.before.split() == [str(number) for number in range(1, 200001)]
    assert exit_code(terminal) == 0


def test_a_program_has_the_terminal_as_its_own(berth: Berth, run: list[str]) -> None:
    shell = shell_inside(berth, run)

    (name,) = say(shell, "tty")
    assert re.fullmatch(r"/dev/(pts/\d+|console)", name)
    assert say(shell, "echo by-name >/dev/tty") == ["by-name"]
    assert say(shell, f"echo by-path >{name}") == ["by-path"]
    shell.sendline("exec sleep 4803")
    program = find_process("4803")
    assert sorted(descriptors_of(program)) == [0, 1, 2]
    fields = Path(f"/proc/{program}/stat").read_text().rpartition(")")[2].split()
    group, controlling, foreground = fields[2], fields[4], fields[5]
    assert int(controlling) == os.stat(f"/proc/{program}/fd/0").st_rdev & 0xFFFF
    assert foreground == group
    shell.sendintr()
    assert exit_code(shell) == 130


def test_no_process_inside_holds_the_callers_terminal(berth: Berth, run: list[str]) -> None:
    shell = shell_inside(berth, run)
    shell.sendline("sleep 4804")
    program = find_process("4804")
    outer = os.stat(f"/proc/{pid_of(shell)}/fd/0")
    inside = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if same_container(pid, program)]

    assert {program, parent_of(program)} <= set(inside)
    for pid in inside:
        for number in descriptors_of(pid):
            assert not os.path.samestat(os.stat(f"/proc/{pid}/fd/{number}"), outer)
    shell.sendintr()
    shell.expect_exact(INSIDE)
    shell.sendline("exit")
    assert exit_code(shell) == 130


def same_container(one: int, other: int) -> bool:
    try:
        return os.path.samestat(os.stat(f"/proc/{one}/ns/pid"), os.stat(f"/proc/{other}/ns/pid"))
    except OSError:
        return False  # it ended meanwhile


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
    (client,) = children_of(pid_of(terminal))

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


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def await_raw(terminal: Terminal, *, raw: bool = True) -> None:
    """Wait until the caller's terminal is in raw mode, or no longer."""
    callers.await_true(lambda: bool(termios.tcgetattr(terminal.child_fd)[3] & termios.ICANON) != raw)


def test_a_closed_terminal_hangs_up_the_program(berth: Berth, root: Path) -> None:
    script = "trap 'echo hup >/told; exit' HUP; echo ready; while :; do sleep 4808; done"
    terminal = with_terminal(berth, "run", "terminals", "--", "sh", "-c", script)
    terminal.expect_exact("ready")
    sleeper = Watched(find_process("4808"))

    os.close(terminal.child_fd)  # as sshd does when the connection is lost
    terminal.closed = True

    assert sleeper.ends()
    callers.await_true(lambda: (root / "told").exists() and (root / "told").read_text() == "hup\n")
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


def test_a_small_init_hands_keys_and_exit_codes_through(berth: Berth, root: Path) -> None:
    words = ["run", "--rm", "--init", "--rootfs", str(root), "--"]
    terminal = with_terminal(berth, *words, "sh", "-c", "echo pid=$$; exec sleep 4811")
    terminal.expect(r"pid=(\d+)")
    assert matched(terminal) != "1"
    find_process("4811")

    terminal.send("\x1a")  # Ctrl-Z has nobody to go to here, and must leave nothing stuck
    terminal.sendintr()

    assert exit_code(terminal) == 130


def test_ctrl_z_stops_a_program_and_fg_resumes_it(berth: Berth, run: list[str]) -> None:
    shell = interactive_shell(berth)
    shell.sendline(f"berth {' '.join(run)} sh -c 'echo rea\"\"dy; exec sleep 4812'")
    shell.expect_exact("ready")
    program = find_process("4812")

    shell.send("\x1a")
    shell.expect("Stopped")
    shell.expect_exact(PROMPT)
    await_state(program, "T")
    assert say(shell, "stty -a | grep -o -- '-*icanon'", PROMPT) == ["icanon"]

    shell.sendline("fg")
    await_state(program, "S")
    await_raw(shell)
    shell.sendintr()
    shell.expect_exact(PROMPT)
    assert say(shell, "echo $?", PROMPT) == ["130"]
    leave(shell)


def await_state(pid: int, state: str) -> None:
    callers.await_true(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == state)


def leave(shell: Terminal) -> None:
    shell.sendline("exit 0")
    exit_code(shell)


def test_a_stopped_program_goes_on_in_the_background_and_comes_back(berth: Berth, root: Path) -> None:
    shell = interactive_shell(berth)
    shell.sendline("berth run terminals -- sh -c 'echo rea\"\"dy; sleep 4813; echo got $(head -n 1)'")
    shell.expect_exact("ready")
    program = find_process("4813")
    shell.send("\x1a")
    shell.expect("Stopped")
    shell.expect_exact(PROMPT)

    say(shell, "bg", PROMPT)
    await_state(program, "S")
    assert say(shell, "echo wor''ks", PROMPT) == ["works"]
    os.kill(program, signal.SIGKILL)  # what follows reads the terminal, so it stops as any background job does
    callers.await_true(lambda: "Stopped" in " ".join(say(shell, "jobs", PROMPT)))

    shell.sendline("fg")
    await_raw(shell)
    shell.sendline("a line")
    shell.expect_exact("got a line")
    shell.expect_exact(PROMPT)
    leave(shell)


def test_a_program_in_the_background_leaves_the_terminal_alone(berth: Berth, root: Path) -> None:
    shell = interactive_shell(berth)
    shell.sendline("berth run terminals -- sh -c 'echo from be\"\"hind; sleep 4814; exit 7' &")
    shell.expect_exact("from behind")
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

    shell.send("\x1a")
    shell.expect("Stopped")
    shell.expect_exact(PROMPT)
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

    shell.send("\x1a")
    shell.expect("Stopped")
    shell.expect_exact(INSIDE)
    await_state(program, "T")
    shell.sendline("fg")
    await_state(program, "S")
    shell.sendintr()
    shell.expect_exact(INSIDE)
    assert say(shell, "echo $?") == ["130"]
    shell.sendline("exit 0")
    assert exit_code(shell) == 0


def test_enter_is_a_login_shell_in_the_users_home(berth: Berth, root: Path) -> None:
    terminal = with_terminal(berth, "enter", "terminals", "user", "--env", "PS1=$")
    terminal.sendline("echo $0 $HOME $SHELL $USER $(id -u):$(id -G) $(pwd); ls -l $(tty); exit 6")
    terminal.expect_exact("-sh /home/user /bin/sh user 1000:1000 /home/user\r\n")
    terminal.expect(r"crw\S+ +1 user +tty")
    assert exit_code(terminal) == 6


def test_a_program_that_is_first_handles_ctrl_c_itself_if_it_wants(berth: Berth, root: Path) -> None:
    script = "trap 'echo caught' INT; echo ready; while :; do read line && break; done; exit 8"
    terminal = with_terminal(berth, "run", "--rm", "--rootfs", root, "--", "sh", "-c", script)
    terminal.expect_exact("ready")

    terminal.sendintr()
    terminal.expect_exact("caught")
    terminal.sendline("go")

    assert exit_code(terminal) == 8
    assert terminal.before is not None
    assert "caught" not in terminal.before


HOSTILE = {
    "a file": "umount -l /dev/pts; echo x >/dev/pts/ptmx",
    "another device": "umount -l /dev/pts; touch /dev/pts/ptmx; mount --bind /dev/null /dev/pts/ptmx",
    "a link to another device": "umount -l /dev/pts; ln -s ../null /dev/pts/ptmx",
    "a fifo": "umount -l /dev/pts; mkfifo /dev/pts/ptmx",
    "nothing": "umount -l /dev/pts",
    "a file for a folder": "umount -l /dev/pts; rmdir /dev/pts; echo x >/dev/pts",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_replaced_multiplexer_is_refused_in_one_sentence(berth: Berth, what: str) -> None:
    with callers.running(berth, "hostile", "busybox"):
        berth("run", "hostile", "--", "sh", "-c", HOSTILE[what])
        terminal = with_terminal(berth, "enter", "hostile")
        code = exit_code(terminal)
        assert terminal.before is not None

        assert terminal.before.startswith("berth: container hostile: its /dev/pts/ptmx gives no terminal")
        assert code == 1
        assert berth("run", "hostile", "--", "echo", "still works").stdout == "still works\n"
