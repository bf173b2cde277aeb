"""What fills a screen or asks for a password, in a Debian: editors, pagers, shells, su and sudo."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import callers, faults
from tests.callers import (
    INSIDE,
    PROMPT,
    Terminal,
    exit_code,
    find_process,
    interactive_shell,
    leave,
    say,
    suspend,
    with_terminal,
)
from tests.program import Berth

pytestmark = pytest.mark.system

EMPTY = "\x1b[32;1H~"  # the last line of an empty file in vim, above the line of commands


@pytest.fixture(scope="module")
def root(berth: Berth) -> Iterator[Path]:
    """A Debian with systemd, booted, and with a user `guest` that may use sudo."""
    with callers.running(berth, "screens", "debian-systemd") as folder:
        booted = ["run", "screens", "--", "systemctl", "is-system-running", "--wait"]
        faults.wait_until(lambda: berth(*booted).stdout == "running\n", "all of systemd is up")
        berth.succeed("run", "screens", "--", "useradd", "--create-home", "--shell", "/bin/bash", "guest")
        (folder / "etc/sudoers.d/guest").write_text("guest ALL=(ALL) NOPASSWD: ALL\n")
        yield folder


@pytest.fixture
def bash(berth: Berth, root: Path) -> Terminal:
    """A login shell of root's in the container."""
    shell = with_terminal(berth, "enter", "screens")
    take_prompt(shell)
    return shell


def take_prompt(shell: Terminal) -> None:
    """Have a bash show the prompt INSIDE."""
    shell.sendline("bind 'set enable-bracketed-paste off'; PS1='in''side# '")
    shell.expect_exact(INSIDE)


def test_a_login_shell_knows_who_and_where_it_is(bash: Terminal) -> None:
    assert say(bash, "echo $0 $HOME $SHELL $USER $TERM") == ["-bash /root /bin/bash root xterm"]
    assert say(bash, "shopt login_shell") == ["login_shell    \ton"]
    (name,) = say(bash, "tty")
    assert re.fullmatch(r"/dev/pts/\d+", name)
    assert any(name.removeprefix("/dev/") in line and "bash" in line for line in say(bash, "ps -ef"))
    bash.sendline("exit 4")
    assert exit_code(bash) == 4


def test_jobs_in_bash_stop_and_come_back(bash: Terminal) -> None:
    bash.sendline("sleep 4901")
    sleeper = find_process("4901")
    suspend(bash, INSIDE)
    assert say(bash, "jobs -r; jobs -s | wc -l") == ["1"]
    say(bash, "bg; jobs -r | grep -q sleep && echo running")
    bash.sendline("fg")
    bash.expect_exact("sleep 4901\r\n")
    os.kill(sleeper, signal.SIGTERM)
    bash.expect("Terminated")
    bash.expect_exact(INSIDE)
    leave(bash)


@pytest.mark.parametrize("become", ["su - guest -c id", "runuser -u guest id", "setsid -w su guest -c id"])
def test_su_does_not_hang(bash: Terminal, become: str) -> None:
    assert any("(guest)" in line for line in say(bash, become))
    leave(bash)


def test_su_gives_a_shell_with_jobs_and_a_session(bash: Terminal) -> None:
    bash.sendline("su - guest")
    bash.expect_exact("$ ")
    take_prompt(bash)
    assert say(bash, "id -un; pwd") == ["guest", "/home/guest"]
    bash.sendline("sleep 4902")
    find_process("4902")
    bash.sendintr()
    bash.expect_exact(INSIDE)
    bash.sendline("exit")
    bash.expect_exact(INSIDE)
    leave(bash)


def test_sudo_does_not_hang(berth: Berth, root: Path) -> None:
    terminal = with_terminal(berth, "run", "-u", "guest", "screens", "--", "sudo", "id", "-u")
    terminal.expect_exact("0\r\n")
    assert exit_code(terminal) == 0


def test_su_and_sudo_work_without_a_terminal(berth: Berth, root: Path) -> None:
    assert berth.succeed("run", "screens", "--", "su", "-", "guest", "-c", "id -un") == "guest\n"
    assert berth.succeed("run", "-u", "guest", "screens", "--", "sudo", "id", "-un") == "root\n"


def test_a_password_is_asked_for_without_an_echo(berth: Berth, root: Path) -> None:
    berth.succeed("run", "screens", "--", "chpasswd", stdin="guest:open sesame\n")
    terminal = with_terminal(berth, "run", "-u", "nobody", "screens", "--", "su", "guest", "-c", "echo $USER is in")
    terminal.expect_exact("Password: ")
    terminal.sendline("open sesame")
    terminal.expect_exact("is in")
    assert "sesame" not in str(terminal.before)
    assert exit_code(terminal) == 0


@pytest.fixture(params=["inside", "one-off"])
def run(request: pytest.FixtureRequest, root: Path) -> str:
    return "run screens --" if request.param == "inside" else f"run --rm --rootfs {root} --"


def test_vim_edits_a_file(berth: Berth, run: str, root: Path) -> None:
    terminal = with_terminal(berth, *run.split(), "vim.tiny", "-u", "NONE", "/tmp/edited")
    terminal.expect_exact(EMPTY)
    terminal.send("ihello from vim\x1b")
    terminal.send(":w !sed s/hello/HELLO/\r")
    terminal.expect_exact("HELLO from vim")
    terminal.send("\r:q!\r")
    assert exit_code(terminal) == 0


def test_vim_is_told_of_a_new_size(berth: Berth, run: str) -> None:
    terminal = with_terminal(berth, *run.split(), "vim.tiny", "-u", "NONE")
    terminal.expect_exact(EMPTY)
    terminal.setwinsize(20, 60)
    terminal.expect_exact("\x1b[19;1H~")
    terminal.send(":q!\r")
    assert exit_code(terminal) == 0


def test_vim_stops_and_comes_back_with_its_screen(berth: Berth, root: Path) -> None:
    shell = interactive_shell(berth)
    shell.sendline("berth run screens -- vim.tiny -u NONE")
    shell.expect_exact(EMPTY)
    shell.send("isome words\x1b")
    shell.expect_exact("words")
    suspend(shell)
    shell.sendline("echo out''side")
    shell.expect_exact("outside")
    shell.expect_exact(PROMPT)
    shell.sendline("fg")
    shell.expect_exact("some words")
    shell.send(":q!\r")
    shell.expect_exact(PROMPT)
    leave(shell)


@pytest.mark.parametrize(
    "line",
    ["seq 1 1000 | berth run screens -- less", "berth run screens -- seq 1 1000 | less"],
    ids=["behind", "before"],
)
def test_less_reads_keys_while_its_input_is_a_pipe(berth: Berth, root: Path, line: str) -> None:
    """Inside behind a program outside, and outside behind a program inside."""
    shell = interactive_shell(berth)
    shell.sendline(line)
    shell.expect_exact("\r\n32")
    shell.send("G")
    shell.expect_exact("1000")
    shell.send("q")
    shell.expect_exact(PROMPT)
    assert say(shell, "stty -a | grep -o -- '-*icanon'", PROMPT) == ["icanon"]
    leave(shell)


def test_htop_shows_the_containers_processes(berth: Berth, root: Path) -> None:
    terminal = with_terminal(berth, "run", "screens", "--", "htop")
    terminal.expect_exact("init")
    terminal.send("q")
    assert exit_code(terminal) == 0


def test_the_terminal_of_a_user_is_the_users(berth: Berth, root: Path) -> None:
    terminal = with_terminal(berth, "run", "-u", "guest", "screens", "--", "sh", "-c", "echo yes >$(tty)")
    terminal.expect_exact("yes")
    assert exit_code(terminal) == 0


def test_a_session_of_su_is_known_to_logind(bash: Terminal, berth: Berth) -> None:
    bash.sendline("su - guest")
    bash.expect_exact("$ ")

    sessions = ("run", "screens", "--", "loginctl", "list-sessions")
    faults.wait_until(lambda: "guest" in berth.succeed(*sessions), "logind knows the session")

    bash.sendline("exit")
    bash.expect_exact(INSIDE)
    leave(bash)
