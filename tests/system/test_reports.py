"""The commands that tell, on containers that really run."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from berth.cli.table import COMMANDS
from berth.engine.journal import RunFolder
from berth.engine.stop import call_monitor
from berth.home import Home
from tests import faults
from tests.conftest import Factory
from tests.program import Berth

pytestmark = pytest.mark.system

PHONE = 40


@pytest.fixture
def demo(berth: Berth, rootfs: Factory) -> Path:
    """A running container `demo` on a directory."""
    root = rootfs("busybox")
    berth.succeed("start", "demo", "--rootfs", root)
    return root


@pytest.fixture
def quiet(berth: Berth, rootfs: Factory) -> None:
    """A running container `demo` on whose console nobody writes but the test: no shell is there."""
    berth.succeed("start", "demo", "--rootfs", faults.write_init(rootfs("busybox")))


def read(berth: Berth, *arguments: str | Path) -> Any:  # what JSON holds is for the test to say
    return json.loads(berth.succeed(*arguments, "--json"))


def on_a_phone(berth: Berth, *arguments: str) -> str:
    """What the command prints on a terminal as wide as a phone's."""
    environment = {key: value for key, value in berth.environment.items() if key != "COLUMNS"}
    command = [*berth.command, *arguments]
    child = pexpect.spawn(
        command[0], command[1:], env=environment, dimensions=(24, PHONE), encoding="utf-8", timeout=120
    )
    child.expect(pexpect.EOF)
    child.close()
    return str(child.before).replace("\r\n", "\n")


def test_info_tells_of_a_running_container(berth: Berth, demo: Path) -> None:
    told = read(berth, "info", "demo")
    assert told["name"] == "demo"
    assert told["state"] == "running"
    assert os.readlink(f"/proc/{told['pid']}/exe").endswith("busybox")
    assert Path(f"/proc/{told['monitor_pid']}/comm").read_text() == "berth: demo\n"
    assert told["rootfs"] == str(demo)
    assert told["init"] == "/sbin/init"
    assert told["init_kind"] == "busybox"
    assert abs(told["started_at"] - time.time()) < 60
    assert told["address"] is None
    assert told["skipped"] == []
    assert 0 < told["usage"]["memory"] < 64 << 20
    assert told["usage"]["processes"] >= 1
    assert 0 <= told["usage"]["uptime"] < 60


def test_info_tells_what_is_in_force_as_the_kernel_has_it(berth: Berth, rootfs: Factory) -> None:
    berth.succeed("start", "demo", "--rootfs", rootfs("busybox"), "--pids-limit", "50", "--cap-drop", "CHOWN")
    told = read(berth, "info", "demo")
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{told['pid']}/status").read_text().splitlines() if ":" in line
    )
    assert int(status["CapBnd"], 16).bit_count() == len(told["capabilities"])
    assert status["Seccomp"].strip() == "2"
    assert told["withheld"]["CHOWN"] == "--cap-drop"
    assert "modules" in told["withheld"]["SYS_MODULE"]
    assert any("init_module" in rule["names"] and rule["errno"] == "EPERM" for rule in told["seccomp"])
    assert told["devices"]["keeper"] in ("bpf", "v1")
    limits = {file: value for group in told["cgroups"] for file, value in group["limits"].items()}
    assert limits["pids.max"] == "50"
    (limited,) = (group["path"] for group in told["cgroups"] if "pids.max" in group["limits"])
    assert Path(limited, "pids.max").read_text() == "50\n"
    human = berth.succeed("info", "demo")
    assert "SYS_MODULE" in human
    assert '"berth plan demo" tells why' in human
    assert "devices: confined:" in human


def test_info_says_where_nothing_confines_the_devices_and_what_was_skipped(berth: Berth, rootfs: Factory) -> None:
    missing = "/there/is/no/such/folder"
    options = ("--privileged", "unfiltered-dev,noseccomp", "--bind-mount", f"{missing}:/mnt")
    berth.succeed("start", "demo", "--rootfs", rootfs("busybox"), *options)
    told = read(berth, "info", "demo")
    assert told["devices"]["keeper"] == "none"
    assert len(told["skipped"]) == 1
    assert missing in told["skipped"][0]
    assert told["seccomp"] == []
    human = berth.succeed("info", "demo")
    assert "NOT confined" in human
    assert f"skipped: {told['skipped'][0]}" in human
    assert "no filter is installed" in human


def test_info_of_a_stopped_container_tells_how_it_ended_and_what_would_be_in_force(berth: Berth, demo: Path) -> None:
    berth.succeed("stop", "demo")
    told = read(berth, "info", "demo")
    assert (told["state"], told["pid"], told["monitor_pid"], told["usage"]) == ("stopped", None, None, None)
    assert told["last_end"] == "powered off"
    assert told["rootfs"] == str(demo)
    assert "SYS_ADMIN" in told["capabilities"]
    assert "last end: powered off" in berth.succeed("info", "demo")


def test_a_running_container_whose_settings_were_lost_is_told_from_its_record(berth: Berth, demo: Path) -> None:
    folder = berth.home / "containers" / "demo"
    (folder / "container.toml").rename(folder / "kept")
    try:
        told = read(berth, "info", "demo")
        assert (told["state"], told["saved"]) == ("running", False)
        assert told["rootfs"] == str(demo)
        assert told["devices"]["keeper"] in ("bpf", "v1")
        assert "its settings are lost" in berth.succeed("info", "demo")
        assert "demo" in berth.succeed("list", "--names").split()
    finally:
        (folder / "kept").rename(folder / "container.toml")


def test_a_name_that_does_not_exist_gets_its_sentence(berth: Berth, demo: Path) -> None:
    for command in ("info", "logs", "plan"):
        result = berth(command, "dmo")
        assert result.returncode == 1
        assert result.stderr == 'berth: there is no container "dmo"; did you mean demo?\n'
        assert result.stdout == ""


def test_info_tells_of_an_image_and_its_loop_device(berth: Berth, image: Factory) -> None:
    path = image("busybox")
    berth.succeed("start", "demo", "--rootfs-img", path)
    told = read(berth, "info", "demo")["image"]
    assert told["path"] == str(path)
    assert told["read_only"] is False
    backing = Path("/sys/block", Path(told["device"]).name, "loop", "backing_file")
    assert backing.read_text().strip() == str(path)
    berth.succeed("stop", "demo")
    berth.succeed("start", "demo", "--volatile")
    told = read(berth, "info", "demo")
    assert told["volatile"] is True
    assert told["image"]["read_only"] is True
    assert read(berth, "plan", "demo")["running"] is False  # without --volatile another plan than that of its start
    assert read(berth, "plan", "demo", "--volatile")["running"] is True


def test_info_without_a_name_tells_of_the_device(berth: Berth, demo: Path) -> None:
    told = read(berth, "info")
    assert told["kernel"] == os.uname().release
    assert told["machine"] == os.uname().machine
    assert told["service"] is False
    assert told["running"] == ["demo"]
    assert told["state_folder"] == str(berth.home)
    assert told["memory"] >= told["memory_available"] > 0
    assert f"kernel: {os.uname().release} {os.uname().machine}" in berth.succeed("info")


def test_list_has_all_containers_and_show_the_running_ones(berth: Berth, demo: Path, rootfs: Factory) -> None:
    berth.succeed("start", "other", "--rootfs", rootfs("busybox"))
    berth.succeed("stop", "other")
    assert read(berth, "list") == [
        {"name": "demo", "state": "running", "rootfs": str(demo)},
        {"name": "other", "state": "stopped", "rootfs": read(berth, "info", "other")["rootfs"]},
    ]
    assert berth.succeed("list", "--names") == "demo\nother\n"
    assert [line.split()[:2] for line in berth.succeed("list").splitlines()[1:]] == [
        ["demo", "running"],
        ["other", "stopped"],
    ]
    (shown,) = read(berth, "show")
    assert shown["name"] == "demo"
    assert shown["pid"] == read(berth, "info", "demo")["pid"]
    assert shown["network"] == "host"
    berth.succeed("stop", "demo")
    assert read(berth, "show") == []
    assert berth.succeed("show") == "no container runs\n"


def test_nothing_is_wider_than_a_phone(berth: Berth, rootfs: Factory, scratch: Path) -> None:
    name = "a-name-that-is-as-long-as-names-may-be-" + "x" * 25
    assert len(name) == 64
    binds = ("--bind-mount", f"/no/such/folder:/mnt,{scratch}:/opt/made:ro")
    berth.succeed("start", name, "--rootfs", rootfs("busybox"), "--memory", "64M", *binds)
    for command in ("list", "show", "check", "info", f"info {name}", f"plan {name}", "net", "scan", "recover", "help",
                    "help start", "safe-mode"):  # fmt: skip
        lines = on_a_phone(berth, *command.split()).splitlines()
        assert lines
        # a word that is wider by itself, such as a path, is left whole
        assert [line for line in lines if len(line) > PHONE and " " in line.strip()] == []
    assert "\na-name-t" in on_a_phone(berth, "show")
    assert name not in on_a_phone(berth, "show")
    assert name in berth.succeed("show")  # a program gets it whole


# A line for each command, in an order in which they can be carried out; {} is a root file system.
EACH_COMMAND = (
    "version",
    "check",
    "safe-mode",
    "demo tiny",
    "stop tiny",
    "plan box --rootfs {}",
    "start box --rootfs {} --autostart",
    "list",
    "list --names",
    "show",
    "info",
    "info box",
    "net",
    "net subnet 10.9.0.0/16",
    "logs box",
    "scan",
    "recover",
    "restart box --timeout 1",
    "stop box --timeout 1",
    "rename box other",
    "safe-mode --again",
    "rm other --yes",
)
# What prints what a program says, what a shell or a person reads, or JSON already; of these others have tests.
WITHOUT = {"enter", "run", "console", "api", "completion", "help"}
ELSEWHERE = {"serve", "events", "dashboard", "updates"}  # with a service or a publisher, in their own tests


def test_every_command_speaks_json_to_programs(berth: Berth, rootfs: Factory) -> None:
    root = faults.write_init(rootfs("busybox"), faults.INIT.replace("while", "echo afloat; while", 1))
    tried = set()
    for line in EACH_COMMAND:
        words = line.format(root).split()
        result = berth(*words, "--json")
        assert result.returncode == 0, (line, result.stderr)
        for told in result.stdout.splitlines():
            json.loads(told)
        assert result.stdout or line == "safe-mode --again", line
        tried.add(words[0])
        if words[0] == "start":
            faults.wait_until(lambda: berth("logs", "box").stdout, "its init has said something")
    assert tried == set(COMMANDS) - WITHOUT - ELSEWHERE
    assert {name for name, command in COMMANDS.items() if command.flag("--json") is None} == WITHOUT


def test_a_plan_of_an_image_looks_inside_and_changes_nothing(berth: Berth, image: Factory) -> None:
    path = image("busybox")
    before = hashlib.sha256(path.read_bytes()).digest()
    told = read(berth, "plan", "demo", "--rootfs-img", path, "--memory", "64M")
    assert told["plan"]["init_kind"] == "busybox"
    assert [entry["what"] for entry in told["groups"]["root"]] == [f"image {path}"]
    assert "e2fsck" in told["groups"]["root"][0]["why"]
    assert any(entry["what"].endswith("to 67108864") for entry in told["groups"]["cgroups"])
    assert hashlib.sha256(path.read_bytes()).digest() == before
    assert berth.succeed("list", "--names") == ""


def test_a_plan_gives_every_step_with_its_reason_in_order(berth: Berth, rootfs: Factory, scratch: Path) -> None:
    hook = scratch / "hook"
    hook.write_text("#!/bin/sh\n")
    options = ("--hook", f"prestart={hook}", "--net", "none", "--bind-mount", "/etc:/mnt:ro,/no/such:/opt")
    told = read(berth, "plan", "demo", "--rootfs", rootfs("busybox"), *options)
    groups = told["groups"]
    assert list(groups) == [
        "root",
        "namespaces",
        "cgroups",
        "devices",
        "kernel settings",
        "mounts",
        "capabilities",
        "system calls",
        "whole device",
        "init",
        "hooks",
        "warnings",
    ]
    assert [entry["what"] for entry in groups["namespaces"]][-1] == "network"
    mounts = [entry["what"] for entry in groups["mounts"]]
    assert mounts.index("mount proc on /proc (nosuid,nodev,noexec)") < mounts.index("bind /etc -> /mnt (ro)")
    assert groups["hooks"][0]["what"] == f"prestart: {hook}"
    assert {"what": "bind /no/such is skipped", "why": "it is not there"} in groups["warnings"]
    assert all(entry["why"] for entry in groups["capabilities"][1:] + groups["system calls"])
    assert berth.succeed("list", "--names") == ""


def test_a_plan_that_could_not_be_carried_out_says_why(berth: Berth, image: Factory, scratch: Path) -> None:
    result = berth("plan", "demo", "--rootfs-img", image("busybox"), "--init", "/no/init")
    assert result.returncode == 1
    assert "/no/init is not there" in result.stderr
    empty = scratch / "empty.img"
    empty.write_bytes(bytes(1 << 20))
    result = berth("plan", "demo", "--rootfs-img", empty)
    assert result.returncode == 1
    assert "no ext4 file system found" in result.stderr


def test_check_finds_what_a_container_needs_by_trying(berth: Berth) -> None:
    judged = {one["key"]: one for one in read(berth, "check")}
    assert judged["ns-pid"]["state"] == judged["loop"]["state"] == judged["devpts"]["state"] == "ok"
    assert "containers can run here." in berth.succeed("check").replace("\n", " ")


def test_check_fails_where_something_that_is_needed_is_missing(berth: Berth) -> None:
    setpriv = shutil.which("setpriv")
    assert setpriv
    confined = [setpriv, "--bounding-set", "-sys_admin", *berth.command, "check"]
    result = subprocess.run(confined, check=False, env=berth.environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert "MISSING mount namespaces: Operation not permitted" in result.stdout
    assert "Without it, no container can start." in result.stdout
    assert "To get it, every kernel has them" in result.stdout


def test_logs_print_what_the_console_said(berth: Berth, quiet: None) -> None:
    berth.succeed("run", "demo", "--", "sh", "-c", "(echo; echo one; echo two) > /dev/console")
    lines = await_lines(berth, "two")
    assert lines[-2:] == ["one", "two"]
    assert berth.succeed("logs", "demo", "--lines", "1") == "two\n"  # text mode reads \r\n so
    assert berth.succeed("logs", "demo", "--lines", "0") == ""
    told = [json.loads(line) for line in berth.succeed("logs", "demo", "--lines", "2", "--json").splitlines()]
    assert told == [{"line": "one"}, {"line": "two"}]
    assert berth("logs", "demo", "--lines", "few").returncode == 2


def await_lines(berth: Berth, last: str) -> list[str]:
    """The log's lines once `last` is there: the monitor writes a moment after the program has."""
    until = time.monotonic() + faults.SECONDS
    while not (told := berth("logs", "demo").stdout).endswith(f"\n{last}\n"):  # it is an error while there is no line
        assert time.monotonic() < until, told
    return told.splitlines()


def test_a_log_can_not_command_the_terminal_it_is_shown_on(berth: Berth, demo: Path) -> None:
    berth.succeed("stop", "demo")  # else a shell that comes up on its console may say more
    with (berth.home / "containers" / "demo" / "log").open("ab") as file:
        file.write(b"\n\x1b]0;owned\x07\x1b[2J\x1b[31mred\x1b[0m plain\x07\r\n")
    assert on_a_phone(berth, "logs", "demo", "--lines", "1") == "\x1b[31mred\x1b[0m plain^G\n\x1b[0m"
    result = subprocess.run(
        [*berth.command, "logs", "demo", "--lines", "1"], check=True, env=berth.environment, capture_output=True
    )
    assert result.stdout.startswith(b"\x1b]0;owned\x07\x1b[2J")


@contextlib.contextmanager
def following(berth: Berth) -> Iterator[subprocess.Popen[bytes]]:
    command = [*berth.command, "logs", "demo", "--follow", "--lines", "0"]
    with subprocess.Popen(command, env=berth.environment, stdout=subprocess.PIPE) as process:
        try:
            faults.wait_until(lambda: watches_files(process), "the log is followed")
            yield process
        finally:
            process.kill()


def watches_files(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether the command's worker waits for changes already: nothing it prints would tell."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        descriptors = Path(f"/proc/{worker_of(process)}/fd").iterdir()
        return any(os.readlink(fd) == "anon_inode:inotify" for fd in descriptors)
    return False


def worker_of(process: subprocess.Popen[bytes]) -> int:
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(child)


def switches(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)


def say(berth: Berth, words: str) -> None:
    berth.succeed("run", "demo", "--", "sh", "-c", f"(echo; echo {words}) > /dev/console")


def test_followed_logs_go_on_across_the_turn_of_the_log_without_waking_up_idly(berth: Berth, quiet: None) -> None:
    with following(berth) as process:
        assert process.stdout is not None
        say(berth, "first")
        assert process.stdout.readline() == b"\r\n"
        assert process.stdout.readline() == b"first\r\n"
        worker = worker_of(process)

        def sleeps() -> bool:
            before = switches(worker)
            time.sleep(1)  # what is looked for is that nothing happens in a time
            return switches(worker) == before

        faults.wait_until(sleeps, "it sleeps when it has printed that")
        berth.succeed("run", "demo", "--", "sh", "-c", "yes 0123456789 | head -n 100000 > /dev/console")
        assert (berth.home / "containers" / "demo" / "log.1").exists()
        say(berth, "last")
        lines = iter(process.stdout.readline, b"last\r\n")
        assert sum(line == b"0123456789\r\n" for line in lines) == 100000


def test_followed_logs_end_with_their_caller_and_with_their_reader(berth: Berth, demo: Path) -> None:
    with following(berth) as process:
        worker = worker_of(process)
        process.send_signal(signal.SIGKILL)
        faults.wait_until(lambda: not faults.is_alive(worker), "the worker has ended")
    with following(berth) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(faults.SECONDS) == 0
    with following(berth) as process:
        berth.succeed("stop", "demo")
        berth.succeed("rm", "demo", "--yes")
        assert process.wait(faults.SECONDS) == 0


def test_ctrl_c_leaves_a_log_that_is_followed(berth: Berth, demo: Path) -> None:
    command = [*berth.command, "logs", "-f", "demo"]
    child = pexpect.spawn(command[0], command[1:], env=berth.environment, timeout=faults.SECONDS)
    say(berth, "heard")
    child.expect_exact("heard\r\n")

    child.sendintr()

    child.expect(pexpect.EOF)
    child.close()
    assert (child.exitstatus, child.signalstatus) in ((130, None), (None, signal.SIGINT))
    assert read(berth, "info", "demo")["state"] == "running"


def test_a_reader_that_goes_early_is_no_crash(berth: Berth, demo: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [*berth.command, "plan", "demo"]
    with open(writer, "wb") as output:
        result = subprocess.run(
            command, check=False, env=berth.environment, stdout=output, stderr=subprocess.PIPE, timeout=120
        )
    assert result.stderr == b""
    assert result.returncode == 128 + signal.SIGPIPE


def test_who_looks_at_the_console_may_go_while_it_talks(berth: Berth, demo: Path) -> None:
    folder = RunFolder(Home(str(berth.home), f"{berth.home}/run"), "demo")
    for _ in range(5):
        viewer = call_monitor(folder, "attach")
        assert viewer is not None
        _, (master,), _, _ = socket.recv_fds(viewer, 3, 1)
        os.close(master)
        with subprocess.Popen(
            [*berth.command, "run", "demo", "--", "sh", "-c", "yes | head -n 20000 > /dev/console"],
            env=berth.environment,
        ):
            time.sleep(0.05)
            viewer.close()
    assert read(berth, "info", "demo")["state"] == "running"
