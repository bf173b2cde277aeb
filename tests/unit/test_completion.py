"""Completion, in the shells themselves."""

from __future__ import annotations  # pexpect.spawn is generic only to the type checker

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from berth.cli.completion import script
from berth.cli.table import COMMANDS, Command
from berth.errors import UsageError
from berth.home import Home
from berth.spec import Spec
from berth.store import save_spec
from tests.faults import SECONDS

CASES = [
    ("berth st", ["start", "stop"]),
    ("berth com", ["completion"]),
    ("berth start ", ["db", "web"]),
    ("berth start w", ["web"]),
    ("berth start web ", []),
    ("berth stop web ", ["db", "web"]),
    ("berth stop web,d", ["web,db"]),
    ("berth --name=w", ["--name=web"]),
    ("berth --name=web,d", ["--name=web,db"]),
    ("berth -n d", ["db"]),
    ("berth -n db enter ", []),
    ("berth start --fs", ["--fsck"]),
    ("berth start --fsck ", ["always", "auto", "never"]),
    ("berth start --net=", ["--net=gateway", "--net=host", "--net=lan", "--net=nat", "--net=none"]),
    ("berth start --privileged=nomask,f", ["--privileged=nomask,full"]),
    ("berth start --memory ", []),
    ("berth --fsck never sta", ["start"]),
    ("berth stop --v", []),
    ("berth help lo", ["logs"]),
    ("berth completion ", ["bash", "mksh"]),
    ("berth run --rm --init w", ["work/"]),
    ("berth start --init w", ["work/"]),
    ("berth start --rootfs=w", ["--rootfs=work/"]),
    ("berth start --bind-mount /a:w", ["/a:work/"]),
    ("berth run web -- w", ["work/"]),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two containers, their scripts and something to complete file names with."""
    home = Home(str(tmp_path / "state"), str(tmp_path / "run"))
    for name in ("web", "db"):
        save_spec(home, Spec(name=name, rootfs="/r"))
    os.mkdir(f"{home.containers}/unfinished")
    (tmp_path / "work").mkdir()
    for shell in ("bash", "mksh"):
        (tmp_path / f"completion.{shell}").write_text(script(shell, home))
    return tmp_path


@pytest.mark.parametrize(("line", "candidates"), CASES)
def test_bash_finds_what_may_follow(folder: Path, line: str, candidates: list[str]) -> None:
    assert sorted(in_bash(folder, line)) == sorted(candidates)


@pytest.mark.parametrize(("line", "candidates"), CASES)
def test_mksh_finds_what_may_follow(folder: Path, line: str, candidates: list[str]) -> None:
    assert sorted(in_mksh(folder, line)) == sorted(candidates)


def in_bash(folder: Path, line: str) -> list[str]:
    """The words that bash would offer; COMPREPLY holds what follows the last = or :, as readline wants it."""
    code = """
        . ./completion.bash
        compopt() { :; }  # refused where no completion is under way
        COMP_LINE=$1 COMP_POINT=${#1}
        __berth_complete
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    word = line.rpartition(" ")[2]
    kept = word[: max(word.rfind("="), word.rfind(":")) + 1]
    offered = ask(folder, "bash", code, line).stdout.split()
    return [f"{kept}{item}" + ("/" if (folder / item).is_dir() else "") for item in offered]


def in_mksh(folder: Path, line: str) -> list[str]:
    """The words that mksh lists, or the one that it completes the line with."""
    code = """
        bind() { :; }  # only a terminal has keys
        . ./completion.mksh
        __berth_complete "$1"
    """
    done = ask(folder, "mksh", code, line)
    before, _, word = line.rpartition(" ")
    completed = done.stdout.removeprefix(f"{before} ").rstrip(" ")
    return done.stderr.split() or ([] if completed == word else [completed])


def ask(folder: Path, shell: str, code: str, line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([shell, "-c", code, shell, line], cwd=folder, capture_output=True, text=True, check=True)


@pytest.fixture
def typed(folder: Path, request: pytest.FixtureRequest) -> Iterator[pexpect.spawn[str]]:
    """An interactive shell with completion, its prompt reached."""
    shell = request.param
    arguments = {"bash": ["--norc", "--noprofile", "-i"], "mksh": ["-i", "-o", "emacs"]}[shell]
    environment = {
        "PS1": "ready> ",
        "TERM": "dumb",
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "ENV": "/dev/null",
    }
    child = pexpect.spawn(shell, arguments, env=environment, cwd=str(folder), encoding="utf-8", timeout=SECONDS)
    child.setwinsize(24, 200)
    child.sendline("PS1='ready''> '; berth() { echo \"called:$*:\"; }; . ./completion." + shell)
    child.expect("ready> ")
    child.sendline("echo now")
    child.expect("now\r\n")
    child.expect("ready> ")
    yield child
    child.close(force=True)


@pytest.mark.parametrize(("typed", "key"), [("bash", "\t"), ("mksh", "\x18\t")], indirect=["typed"])
def test_a_key_completes_the_line_that_is_typed(typed: pexpect.spawn[str], key: str) -> None:
    for word in ("berth --net=no", " sta", " w"):
        typed.send(word + key)
    typed.send("--roo" + key + " wo" + key + "\r")  # --rootfs-img begins alike: no space follows --rootfs by itself

    typed.expect("called:--net=none start web --rootfs work/ ?:")


@pytest.mark.parametrize(("typed", "key"), [("mksh", "\x18\t")], indirect=["typed"])
def test_in_mksh_another_programs_line_stays_as_it_is(typed: pexpect.spawn[str], key: str) -> None:
    typed.send("echo 'it''s'  $((1+1))" + key + "\r")

    typed.expect("its 2\r\n")


@pytest.mark.parametrize("shell", ["bash", "mksh"])
def test_the_scripts_are_clean(folder: Path, shell: str) -> None:
    dialect = {"bash": "bash", "mksh": "ksh"}[shell]
    # mksh has `local`, which ksh has not (SC3043), and the line must be split into words there (SC2086)
    done = subprocess.run(
        ["shellcheck", "-s", dialect, "-e", "SC3043,SC2086", f"completion.{shell}"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.stdout, done.returncode) == ("", 0)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=lambda command: command.name)
def test_every_command_for_a_container_completes_its_name(folder: Path, command: Command) -> None:
    offers_names = sorted(in_bash(folder, f"berth {command.name} ")) == ["db", "web"]

    assert offers_names is (command.containers[1] > 0)


def test_another_shell_is_refused() -> None:
    with pytest.raises(UsageError, match='completion "fish": scripts are there for bash and mksh'):
        script("fish", Home("/x", "/y"))
