"""What is no terminal: pipes, ends of files, exit codes and signals, as with a program that runs outside."""

import os
import select
import signal
import subprocess
from pathlib import Path

import pytest

from tests import faults
from tests.callers import SECONDS, Watched, await_state, find_process, parent_of
from tests.faults import open_files, wait_until
from tests.program import Berth

pytestmark = pytest.mark.system

NOISE = bytes(range(256)) * 4096  # 1 MiB
SIGNALS = ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2")


def start(berth: Berth, *words: str) -> "subprocess.Popen[bytes]":
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*berth.command, *words], env=berth.environment, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
    )


def from_shell(berth: Berth, line: str) -> "subprocess.CompletedProcess[str]":
    """Have sh run `line`, in which `$BERTH` is the command."""
    environment = {**berth.environment, "BERTH": " ".join(berth.command)}
    return subprocess.run(
        ["sh", "-c", line], check=False, env=environment, capture_output=True, text=True, timeout=SECONDS
    )


def read_line(process: "subprocess.Popen[bytes]") -> bytes:
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], SECONDS)[0], "it says nothing"
    return process.stdout.readline()


@pytest.mark.parametrize(
    ("script", "code"),
    [("true", 0), ("exit 7", 7), ("kill -TERM $$; sleep 9", 143), ("kill -KILL $$; sleep 9", 137)],
)
def test_the_exit_code_is_the_programs(berth: Berth, root: Path, script: str, code: int) -> None:
    assert berth("run", "terminals", "--", "sh", "-c", script).returncode == code


@pytest.mark.parametrize(("program", "code"), [("no-such-program", 127), ("/etc", 126), ("/etc/passwd", 126)])
def test_what_can_not_be_executed_is_told_like_a_shell_does(
    berth: Berth, run: list[str], program: str, code: int
) -> None:
    result = berth(*run, program)

    assert result.returncode == code
    assert result.stderr.startswith(f"berth: {program}: ")
    assert result.stderr.count("\n") == 1


def test_a_mebibyte_goes_through_unchanged_both_ways(berth: Berth, run: list[str]) -> None:
    process = start(berth, *run, "cat")
    output, errors = process.communicate(NOISE, SECONDS)

    assert output == NOISE
    assert errors == b""
    assert process.returncode == 0


def test_output_and_errors_stay_apart(berth: Berth, run: list[str]) -> None:
    result = berth(*run, "sh", "-c", "echo good; echo bad >&2")

    assert (result.stdout, result.stderr) == ("good\n", "bad\n")


def test_a_lot_of_output_never_passes_through_berth(berth: Berth, run: list[str]) -> None:
    process = start(berth, *run, "dd", "if=/dev/zero", "bs=1M", "count=1001")
    assert process.stdout is not None
    pipe = os.fstat(process.stdout.fileno())
    assert os.path.samestat(os.stat(f"/proc/{find_process('1001')}/fd/1"), pipe)
    size = 0
    while data := process.stdout.read(1 << 20):
        size += len(data)
    process.communicate(timeout=SECONDS)

    assert size == 1001 << 20


def test_input_from_null_ends_at_once(berth: Berth, run: list[str]) -> None:
    result = from_shell(berth, f"$BERTH {' '.join(run)} cat </dev/null")

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_reader_that_has_enough_ends_the_program_quietly(berth: Berth, run: list[str]) -> None:
    init = ["--init"] if "--rm" in run else []  # the kernel spares a PID 1 the SIGPIPE
    words = " ".join(["run", *init, *run[1:]])
    result = from_shell(berth, f"{{ $BERTH {words} yes; echo $? >&2; }} | head -n 2")

    assert result.stdout == "y\ny\n"
    assert result.stderr == "141\n"


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (0, 1, 2)])
def test_closed_streams_are_null_inside(berth: Berth, run: list[str], closed: tuple[int, ...]) -> None:
    tests = " && ".join(f"[ $(stat -L -c %t:%T /proc/$$/fd/{number}) = 1:3 ]" for number in closed)
    closing = " ".join(f"{number}>&-" for number in closed)

    assert from_shell(berth, f"$BERTH {' '.join(run)} sh -c '{tests} && exit 5' {closing}").returncode == 5


def test_the_end_of_output_comes_when_the_program_closes_it(berth: Berth, run: list[str]) -> None:
    process = start(berth, *run, "sh", "-c", "echo last; exec >&-; exec sleep 4711")

    assert process.stdout is not None
    assert process.stdout.read() == b"last\n"
    assert process.poll() is None
    process.terminate()
    process.communicate(timeout=SECONDS)
    assert process.returncode == 143


def test_who_writes_is_told_when_the_program_closes_its_input(berth: Berth, run: list[str]) -> None:
    process = start(berth, *run, "sh", "-c", "exec <&-; exec sleep 4712")
    assert process.stdin is not None
    poller = select.poll()
    poller.register(process.stdin, select.POLLERR)

    assert poller.poll(SECONDS * 1000)
    process.terminate()
    process.communicate(timeout=SECONDS)


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_is_passed_on_to_the_program(berth: Berth, run: list[str], name: str) -> None:
    process = start(berth, *run, "sh", "-c", f"trap 'echo got {name}; exit 3' {name}; echo ready; read line")
    assert read_line(process) == b"ready\n"
    number = getattr(signal, f"SIG{name}")
    faults.await_catching(process.pid, number)

    process.send_signal(number)

    assert read_line(process) == f"got {name}\n".encode()
    process.communicate(timeout=SECONDS)
    assert process.returncode == 3


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_that_the_program_does_not_catch_ends_it(berth: Berth, run: list[str], name: str) -> None:
    process = start(berth, *run, "sleep", "4713")
    find_process("4713")
    number = getattr(signal, f"SIG{name}")
    faults.await_catching(process.pid, number)

    process.send_signal(number)
    process.communicate(timeout=SECONDS)

    assert process.returncode == 128 + number


def test_an_ignored_signal_stays_ignored(berth: Berth, root: Path) -> None:
    process = start(berth, "run", "terminals", "--", "sh", "-c", "trap '' TERM; echo ready; read line; exit 4")
    assert read_line(process) == b"ready\n"
    faults.await_catching(process.pid, signal.SIGTERM)

    process.terminate()
    process.communicate(b"go on\n", SECONDS)

    assert process.returncode == 4


def test_stopping_the_caller_stops_the_program_and_continuing_continues_it(berth: Berth, run: list[str]) -> None:
    # An own process group of a session that has other processes, or the kernel would not stop it.
    line = f"set -m; {' '.join(berth.command)} {' '.join(run)} sleep 4714 </dev/null & echo $!; read line; wait $!"
    pipe = subprocess.PIPE
    shell = subprocess.Popen(["bash", "-c", line], env=berth.environment, stdin=pipe, stdout=pipe)
    client = int(read_line(shell))
    program = find_process("4714")
    faults.await_catching(client, signal.SIGTSTP)
    os.kill(client, signal.SIGTSTP)
    await_state(program, "T")
    await_state(client, "T")

    os.kill(client, signal.SIGCONT)
    await_state(program, "S")

    os.kill(client, signal.SIGTERM)
    shell.communicate(timeout=SECONDS)


def test_a_caller_that_vanishes_hangs_up(berth: Berth, root: Path) -> None:
    told = root / "told"
    process = start(berth, "run", "terminals", "--", "sh", "-c", "trap 'echo hup >/told; exit' HUP; echo ready; read x")
    assert read_line(process) == b"ready\n"

    process.kill()
    process.wait()
    wait_until(lambda: told.exists() and told.read_text() == "hup\n", "the program was hung up")
    told.unlink()
    process.communicate()


def test_a_program_that_ignores_the_hang_up_is_killed_after_a_while(berth: Berth, root: Path) -> None:
    process = start(berth, "run", "terminals", "--", "sh", "-c", "trap '' HUP; echo ready; exec sleep 4715")
    assert read_line(process) == b"ready\n"
    program = Watched(find_process("4715"))

    process.kill()

    assert program.ends()
    process.communicate()


def test_a_killed_worker_is_told_in_one_sentence(berth: Berth, run: list[str]) -> None:
    process = start(berth, *run, "sleep", "4716")
    program = find_process("4716")
    ended = Watched(program)

    os.kill(parent_of(program), signal.SIGKILL)
    assert process.wait(SECONDS) == 1
    if "--rm" not in run:
        os.kill(program, signal.SIGKILL)
    assert ended.ends()
    _, errors = process.communicate(timeout=SECONDS)

    assert errors == b'berth: the process that served this command was killed; run "berth recover"\n'


def test_a_program_has_three_descriptors(berth: Berth, run: list[str]) -> None:
    process = start(berth, *run, "sleep", "4717")
    try:
        program = find_process("4717")
        assert sorted(open_files(program)) == [0, 1, 2]
    finally:
        process.terminate()
        process.communicate(timeout=SECONDS)


def test_a_one_off_has_three_descriptors_below_its_small_init(berth: Berth, root: Path) -> None:
    process = start(berth, "run", "--rm", "--init", "--rootfs", str(root), "--", "sleep", "4718")
    program = find_process("4718")
    try:
        assert sorted(open_files(program)) == [0, 1, 2]
    finally:
        os.kill(program, signal.SIGTERM)
        process.communicate(timeout=SECONDS)
    assert process.returncode == 143


def test_words_arrive_as_they_are(berth: Berth, run: list[str]) -> None:
    words = [b"a b", b"", b"'\"$x", b"\xff\xfe", "ü\n".encode()]
    argv = [os.fsencode(word) for word in [*berth.command, *run, "printf", "<%s>"]]
    result = subprocess.run([*argv, *words], check=False, env=berth.environment, capture_output=True, timeout=SECONDS)

    assert result.stdout == b"".join(b"<" + word + b">" for word in words)


def test_an_unknown_user_is_one_sentence(berth: Berth, root: Path) -> None:
    for words in (["run", "-u", "nobody-here", "terminals", "--", "true"], ["enter", "terminals", "nobody-here"]):
        result = berth(*words)

        assert result.returncode == 1
        assert result.stderr == "berth: user nobody-here: the container has no such user; it has root, user\n"


def test_a_user_has_the_ids_and_the_home_of_the_containers_own_files(berth: Berth, root: Path) -> None:
    script = "id -u; id -G; echo $HOME $USER $SHELL; pwd"
    output = berth.succeed("run", "-u", "user", "terminals", "--", "sh", "-c", script)

    assert output.splitlines() == ["1000", "1000", "/home/user user /bin/sh", "/home/user"]


def test_a_user_has_the_groups_that_the_containers_own_file_gives(berth: Berth, root: Path) -> None:
    groups = root / "etc/group"
    kept = groups.read_text()
    groups.write_text(f"{kept}harbour:x:2001:other,user\npilots:x:2002:user\nothers:x:2003:other\n")
    try:
        for words in (["run", "-u", "user", "terminals", "--", "id", "-G"], ["enter", "terminals", "user"]):
            assert berth.succeed(*words, stdin="id -G\n").split() == ["1000", "2001", "2002"]
    finally:
        groups.write_text(kept)


def test_enter_runs_a_login_shell_on_a_pipe_too(berth: Berth, root: Path) -> None:
    result = berth("enter", "terminals", stdin="echo $0; exit 9\n")

    assert (result.stdout, result.returncode) == ("-sh\n", 9)
