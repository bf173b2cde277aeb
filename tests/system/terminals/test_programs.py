"""Programs at a terminal: keys, size, settings and bytes as with one that runs outside."""

import os
import re
from pathlib import Path

import pexpect
import pytest

from tests import callers
from tests.callers import (
    INSIDE,
    at_terminal,
    exit_code,
    find_process,
    matched,
    parent_of,
    pid_of,
    say,
    shell_inside,
    with_terminal,
)
from tests.faults import open_files
from tests.program import Berth

pytestmark = pytest.mark.system


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
    assert sorted(open_files(program)) == [0, 1, 2]
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
        for number in open_files(pid):
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


def test_a_small_init_hands_keys_and_exit_codes_through(berth: Berth, root: Path) -> None:
    words = ["run", "--rm", "--init", "--rootfs", str(root), "--"]
    terminal = with_terminal(berth, *words, "sh", "-c", "echo pid=$$; exec sleep 4811")
    terminal.expect(r"pid=(\d+)")
    assert matched(terminal) != "1"
    find_process("4811")

    terminal.send("\x1a")  # Ctrl-Z has nobody to go to here, and must leave nothing stuck
    terminal.sendintr()

    assert exit_code(terminal) == 130


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
