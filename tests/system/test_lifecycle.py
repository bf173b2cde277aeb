"""From start to stop: what a container is while it runs, how it ends, and that nothing is left of it."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from berth.engine import rest
from berth.engine.journal import RunFolder
from berth.engine.stop import call_monitor
from berth.kernel.sockets import connect
from tests import callers, faults, quick
from tests.program import Berth

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]


def test_two_state_folders_may_each_have_a_container_of_one_name(berth: Berth, rootfs: Factory, scratch: Path) -> None:
    root, other = rootfs("busybox"), Berth(scratch / "other-home")
    quick.start(berth, root)
    quick.start(other, root)
    theirs = quick.info(other)["pid"]

    assert berth.succeed("stop", "quay") == "quay: stopped\n"

    assert quick.inside(other, "echo", "here") == "here"
    assert quick.info(other)["pid"] == theirs
    other.succeed("stop", "quay")


@pytest.mark.parametrize("source", ["directory", "image"])
def test_busybox_boots_works_and_is_gone_after_its_stop(
    berth: Berth, rootfs: Factory, image: Factory, source: str
) -> None:
    root = ("--rootfs", rootfs("busybox")) if source == "directory" else ("--rootfs-img", image("busybox"))

    started = berth.succeed("start", "quay", *root)

    told = quick.info(berth)
    assert told["state"] == "running"
    assert f"init is {told['pid']}" in started
    assert Path(f"/proc/{told['pid']}/exe").readlink().name == "busybox"
    assert Path(f"/proc/{told['monitor_pid']}").exists()
    assert told["started_at"] == pytest.approx(time.time(), abs=60)
    assert quick.shell(berth, "echo $$ > /root/was-here; cat /proc/1/comm") == "init"
    faults.wait_until(lambda: "syslogd" in quick.inside(berth, "ps"), "init has started what its inittab names")
    assert berth.succeed("stop", "quay") == "quay: stopped\n"

    told = quick.info(berth)
    assert (told["state"], told["pid"], told["last_end"]) == ("stopped", None, "powered off")
    assert not Path("/mnt/berth/quay").exists()


def test_several_containers_stop_by_one_command(berth: Berth, rootfs: Factory) -> None:
    root = rootfs("busybox")
    for name in ("web", "db", "mail"):
        quick.start(berth, root, name=name)

    assert sorted(berth.succeed("--name=web,db", "stop").splitlines()) == ["db: stopped", "web: stopped"]
    assert quick.info(berth, "mail")["state"] == "running"
    assert berth.succeed("stop", "--all") == "mail: stopped\n"


def test_stopping_what_does_not_run_is_an_error(berth: Berth) -> None:
    refused = berth("stop", "nobody")

    assert refused.returncode == 1
    assert "nobody" in refused.stderr


def test_a_name_that_nobody_has_gets_its_sentence(berth: Berth) -> None:
    for command in (["stop", "nobody"], ["enter", "nobody"], ["run", "nobody", "--", "true"], ["restart", "nobody"]):
        assert "there is no container" in berth(*command).stderr, command


def test_what_runs_inside_has_the_containers_variables_and_its_users_own(berth: Berth, rootfs: Factory) -> None:
    quick.start(berth, rootfs("busybox"), "--env", "COLOUR=blue", "--env", "SIZE=small", "--env", "HOME=/nowhere")

    script = 'echo "$COLOUR $SIZE $HOME $USER $container"'
    assert quick.shell(berth, script) == "blue small /root root berth"
    said = berth.succeed("run", "quay", "--user", "user", "--env", "SIZE=large", "--", "sh", "-c", script)
    assert said == "blue large /home/user user berth\n"
    berth.succeed("stop", "quay")


def test_ps_tells_whose_monitor_a_process_is_and_its_environment_is_untouched(berth: Berth, rootfs: Factory) -> None:
    quick.start(berth, rootfs("busybox"))

    monitor = Path("/proc", str(quick.info(berth)["monitor_pid"]))

    assert (monitor / "cmdline").read_bytes().rstrip(b"\0") == b"berth: monitor of quay"
    assert f"BERTH_HOME={berth.home}".encode() in (monitor / "environ").read_bytes().split(b"\0")
    berth.succeed("stop", "quay")


def test_who_waits_for_the_end_hears_of_it_when_only_memory_is_left(berth: Berth, image: Factory) -> None:
    berth.succeed("start", "quay", "--rootfs-img", image("busybox"))
    folder = RunFolder(faults.home_of(berth), "quay")
    monitor = quick.info(berth)["monitor_pid"]
    mounts = Path(f"/proc/{monitor}/ns/mnt")
    own = mounts.stat()
    waiter = call_monitor(folder, "wait")
    assert waiter is not None

    with contextlib.closing(waiter), subprocess.Popen([*berth.command, "stop", "quay"], env=berth.environment) as stop:
        waiter.settimeout(faults.SECONDS)
        while waiter.recv(100):
            pass
        record_is_there, still_mounted, files = Path(folder.journal).exists(), False, list[str]()
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it may have ended by now
            still_mounted = os.path.samestat(mounts.stat(), own)
            files = [path for path in faults.open_files(monitor).values() if path.startswith(str(berth.home))]

    assert (record_is_there, still_mounted, files, stop.returncode) == (False, False, [], 0)


def test_a_caller_who_is_slow_to_say_what_it_wants_is_heard_and_keeps_nobody_waiting(
    berth: Berth, rootfs: Factory
) -> None:
    quick.start(berth, rootfs("busybox"))
    folder = RunFolder(faults.home_of(berth), "quay")
    with connect(folder.socket) as slow:
        quickly = call_monitor(folder, "wait")
        assert quickly is not None
        with contextlib.closing(quickly):
            assert quickly.recv(100) == b"{}\n"
        slow.send(b'{"call":"wait"}')
        slow.settimeout(faults.SECONDS)
        assert slow.recv(100) == b"{}\n"
    berth.succeed("stop", "quay")


def test_a_descriptor_that_no_call_wants_is_not_kept(berth: Berth, rootfs: Factory) -> None:
    quick.start(berth, rootfs("busybox"))
    path = RunFolder(faults.home_of(berth), "quay").socket
    monitor = quick.info(berth)["monitor_pid"]
    faults.wait_until(lambda: sockets_of(monitor) <= 1, "whoever started it has gone")  # 1: its listener
    before = len(faults.open_files(monitor))
    for words in (b"{}", b'{"call":"nothing"}', b"not JSON", 4000 * b"[", b'{"call":"guard"}'):  # that is no filter's
        with connect(path) as caller, open("/dev/zero", "rb") as file:
            socket.send_fds(caller, [words], [file.fileno()])
            assert caller.recv(100) == b"", "it has been heard"
    faults.wait_until(lambda: len(faults.open_files(monitor)) == before, "nothing of theirs is left")
    berth.succeed("stop", "quay")


def sockets_of(pid: int) -> int:
    return sum(path.startswith("socket:") for path in faults.open_files(pid).values())


def test_how_it_ended_is_known_before_it_counts_as_stopped(berth: Berth, rootfs: Factory) -> None:
    """Or a service that comes up in between would start again what has powered itself off."""
    berth.environment["BERTH_PAUSE_AT"] = "undone"  # the monitor keeps it from its start
    berth.succeed("start", "quay", "--rootfs", rootfs("busybox"))
    del berth.environment["BERTH_PAUSE_AT"]
    monitor = quick.info(berth)["monitor_pid"]

    berth("run", "quay", "--", "poweroff", "-f")
    callers.await_state(monitor, "T")

    assert quick.info(berth)["last_end"] == "powered off"
    assert rest.is_noted(faults.home_of(berth), "quay")
    os.kill(monitor, signal.SIGCONT)
    faults.wait_until(lambda: faults.condition(berth, "quay") == "stopped", "it is stopped")


def test_a_restart_of_what_is_stopped_starts_it_and_says_so(berth: Berth, rootfs: Factory) -> None:
    quick.start(berth, rootfs("busybox"))
    berth.succeed("stop", "quay")

    done = berth("restart", "quay")

    assert (done.stdout, done.stderr) == ("quay: restarted\n", "quay: was stopped, so it is only started\n")
    assert quick.info(berth)["state"] == "running"
    berth.succeed("stop", "quay")


def test_a_restart_gives_a_new_init_with_the_same_options(berth: Berth, rootfs: Factory) -> None:
    quick.start(berth, rootfs("busybox"), "--volatile", "--volatile-size", "20M")
    before = quick.info(berth)
    quick.shell(berth, "touch /root/was-here")

    assert berth.succeed("restart", "quay") == "quay: restarted\n"

    after = quick.info(berth)
    assert after["state"] == "running"
    assert after["pid"] != before["pid"]
    assert (after["volatile"], after["options"]) == (True, before["options"])
    assert quick.shell(berth, "ls -A /root") == ""
    berth.succeed("stop", "quay")


def test_nothing_in_the_users_rootfs_is_rewritten(berth: Berth, rootfs: Factory) -> None:
    root = rootfs("busybox")
    quick.write_init(root)
    (root / "etc/hostname").write_text("as-it-was\n")
    before = faults.tree(root)

    quick.start(berth, root, "--hostname", "other", "--env", "A=b", "--dns", "9.9.9.9")
    quick.inside(berth, "true")
    berth.succeed("stop", "quay")

    assert faults.tree(root) == before


def test_reboot_inside_gives_a_new_init_and_poweroff_inside_stops(berth: Berth, image: Factory) -> None:
    berth.succeed("start", "quay", "--rootfs-img", image("busybox"))
    before, mounted = quick.info(berth), quick.shell(berth, "grep ' / / ' /proc/self/mountinfo | cut -d' ' -f3")

    berth("run", "quay", "--", "reboot", "-f")
    after = quick.wait_for(lambda: told if (told := quick.info(berth))["pid"] not in (before["pid"], None) else None)

    assert (after["state"], after["monitor_pid"]) == ("running", before["monitor_pid"])
    assert quick.shell(berth, "grep ' / / ' /proc/self/mountinfo | cut -d' ' -f3") == mounted
    assert quick.info(berth)["image"] == before["image"]
    berth("run", "quay", "--", "poweroff", "-f")
    quick.wait_for(lambda: quick.info(berth)["state"] == "stopped" or None)
    assert quick.info(berth)["last_end"] == "powered off"


def test_nobody_enters_a_container_before_it_is_whole_again_after_a_reboot(
    berth: Berth, rootfs: Factory, scratch: Path
) -> None:
    hook, again, go = scratch / "hook", scratch / "again", scratch / "go"
    wait = f"touch {again}; until [ -e {go} ]; do sleep 0.02; done"
    hook.write_text(f"#!/bin/sh\n[ -e {scratch}/once ] || exec touch {scratch}/once\n{wait}\n")
    hook.chmod(0o755)
    quick.start(berth, rootfs("busybox"), f"--hook=prestart={hook}")
    berth("run", "quay", "--", "reboot", "-f")
    faults.wait_until(again.exists, "PID 1 is there again, and has no root of its own yet")

    refused = berth("run", "quay", "--", "true")

    assert (refused.returncode, refused.stderr.count("is starting")) == (1, 1)
    go.touch()
    faults.wait_until(lambda: faults.condition(berth, "quay") == "running", "it is back")
    assert quick.inside(berth, "hostname") == "quay"
    berth.succeed("stop", "quay")


def test_busybox_is_asked_to_power_off_and_so_its_shutdown_lines_run(berth: Berth, rootfs: Factory) -> None:
    root = rootfs("busybox")
    with (root / "etc/inittab").open("a") as file:
        file.write("::shutdown:/bin/sh -c 'echo orderly > /root/farewell'\n")
    berth.succeed("start", "quay", "--rootfs", root)

    berth.succeed("stop", "quay")

    assert (root / "root/farewell").read_text() == "orderly\n"


def test_a_stop_right_after_the_start_is_not_lost(berth: Berth, rootfs: Factory) -> None:
    """An init that gets to its handlers late: what is sent too early, the kernel drops."""
    root = rootfs("busybox")
    init = quick.write_init(
        root, script="#!/bin/sh\nsleep 1\ntrap 'echo heard > /root/farewell; exit 0' TERM\nsleep 99 & wait\n"
    )
    berth.succeed("start", "quay", "--rootfs", root, "--init", init)

    berth.succeed("stop", "quay")

    assert (root / "root/farewell").read_text() == "heard\n"


def test_an_init_that_hears_nothing_is_killed_when_its_time_is_over(berth: Berth, rootfs: Factory) -> None:
    root = rootfs("busybox")
    init = quick.write_init(root, script="#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 99; done\n")
    berth.succeed("start", "quay", "--rootfs", root, "--init", init)
    began = time.monotonic()

    berth.succeed("stop", "quay", "--timeout", "1")

    assert time.monotonic() - began < 20, "without --timeout it would have half a minute"
    assert quick.info(berth)["last_end"] == "init was ended by signal 9"
