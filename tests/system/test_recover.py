"""`kill -9` of anybody at any stage of a start: what is left can be told, and is undone without a trace."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from berth.engine import probation
from berth.engine.journal import Journal, RunFolder, State
from berth.kernel.processes import boot_id, start_time
from tests import faults, host_state
from tests.faults import PausedStart, condition, kill, run_tree, wait_until
from tests.program import Berth
from tests.refusing import refusing

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]
NAME = "kill"

EARLY = {
    "forked": "worker monitor builder",
    "recorded": "worker monitor builder",
    "cgroups": "worker monitor builder",
}
SETTING_UP = {"joined": "worker monitor builder init"}
WITH_INIT = dict.fromkeys(
    ("namespaces", "built", "ready", "released", "executed", "running"), "client worker monitor builder init"
)
KILLED = [
    pytest.param(stage, roles, id=f"{stage}-{'+'.join(roles)}")
    for stage, words in {"locked": "client worker", **EARLY, **SETTING_UP, **WITH_INIT}.items()
    for roles in [*((role,) for role in words.split()), tuple(words.split())]
]
KILLED_WITH_IMAGE = [
    pytest.param(stage, roles, id=f"{stage}-{'+'.join(roles)}")
    for stage in ("mounted", "cgroups", "built", "executed", "running")
    for roles in (("monitor",), ("builder",), ("worker", "monitor"))
]
SAYS_GOOD_BYE = """\
#!/bin/sh
trap 'until echo good bye > /dev/console; do sleep 1; done; exit 0' TERM
while :; do sleep 1000 & wait $!; done
"""
MONITOR_KILLED = ("forked", "recorded", "cgroups", "joined", "namespaces", "built", "ready", "released", "executed")


@pytest.fixture
def root(rootfs: Factory) -> Path:
    return faults.write_init(rootfs("busybox"))


@pytest.fixture
def image_of_init(image: Factory, scratch: Path) -> Path:
    """An image whose /sbin/init is the quick one."""
    path, init = image("busybox"), scratch / "init"
    init.write_text(faults.INIT)
    script = f"rm /sbin/init\nwrite {init} /sbin/init\nset_inode_field /sbin/init mode 0100755\n"
    subprocess.run(["debugfs", "-w", "-f", "-", path], input=script, check=True, capture_output=True, text=True)
    return path


def end(berth: Berth, name: str = NAME) -> None:
    """Recover, and stop the container if it still runs."""
    berth.succeed("recover")
    if condition(berth, name) == "running":
        berth.succeed("stop", name)
    assert condition(berth, name) == "stopped"


@pytest.mark.parametrize(("stage", "roles"), KILLED)
def test_after_a_kill_recover_leaves_the_host_as_it_was(
    berth: Berth, root: Path, stage: str, roles: tuple[str, ...]
) -> None:
    kill_and_recover(berth, root, stage, roles)


@pytest.mark.parametrize("roles", [("worker",), ("monitor",), ("builder",), ("child",), ("worker", "monitor", "child")])
def test_after_a_kill_around_the_set_up_child_of_old_kernels_nothing_is_left(
    berth: Berth, root: Path, roles: tuple[str, ...]
) -> None:
    kill_and_recover(refusing(berth, errno.ENOSYS, "clone3"), root, "joined", roles)


def kill_and_recover(berth: Berth, root: Path, stage: str, roles: tuple[str, ...]) -> None:
    files = faults.tree(root)
    start = PausedStart(berth, stage, NAME, "start", NAME, "--rootfs", root)

    start.kill(*roles)
    left = start.settle()

    survives = not {"monitor", "builder", "init", "child"} & {*roles} and (stage != "locked" or roles == ("client",))
    running = stage == "running" and not {"builder", "init"} & {*roles}
    assert (left in ("running", "unattended")) == (survives or running)
    end(berth)
    assert faults.tree(root) == files
    assert run_tree(berth) == {}


@pytest.mark.parametrize(("stage", "roles"), KILLED_WITH_IMAGE)
def test_after_a_kill_the_image_is_free_and_clean(
    berth: Berth, image_of_init: Path, stage: str, roles: tuple[str, ...]
) -> None:
    start = PausedStart(berth, stage, NAME, "start", NAME, "--rootfs-img", image_of_init)

    start.kill(*roles)
    start.settle()

    end(berth)
    assert run_tree(berth) == {}
    assert not Path("/mnt/berth", NAME).exists()
    berth.succeed("start", NAME, "--rootfs-img", image_of_init)
    berth.succeed("stop", NAME)
    assert subprocess.run(["e2fsck", "-fn", image_of_init], check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize("stage", MONITOR_KILLED)
def test_after_a_kill_the_next_start_clears_up_by_itself(berth: Berth, root: Path, stage: str) -> None:
    files = faults.tree(root)
    start = PausedStart(berth, stage, NAME, "start", NAME, "--rootfs", root)
    start.kill("monitor")
    assert "its monitor was killed" in start.output()
    start.settle()

    berth.succeed("start", NAME)

    assert berth.succeed("run", NAME, "--", "echo", "here") == "here\n"
    berth.succeed("stop", NAME)
    assert faults.tree(root) == files
    assert run_tree(berth) == {}


def test_a_start_that_fails_when_whoever_ordered_it_is_gone_is_on_probation_no_longer(berth: Berth, root: Path) -> None:
    start = PausedStart(berth, "recorded", NAME, "start", NAME, "--rootfs", root)
    probation.mark(faults.home_of(berth), NAME)

    start.kill(*({"client", "worker", "builder"} & {*start.roles}))

    assert start.settle() == "stopped"
    assert not probation.is_marked(faults.home_of(berth), NAME)


@pytest.mark.parametrize("stage", ["ended", "undone"])
def test_a_stop_whose_monitor_is_killed_undoes_the_rest_itself(berth: Berth, root: Path, stage: str) -> None:
    files = faults.tree(root)
    berth.environment["BERTH_PAUSE_AT"] = stage  # the monitor keeps it from its start
    berth.succeed("start", NAME, "--rootfs", root)
    probation.mark(faults.home_of(berth), NAME)
    stop = PausedStart(berth, "", NAME, "stop", NAME)

    stop.kill("monitor")

    assert stop.output() == f"{NAME}: stopped\n"
    assert not probation.is_marked(faults.home_of(berth), NAME)
    assert faults.tree(root) == files
    assert run_tree(berth) == {}


@pytest.fixture
def without_cgroup2(berth: Berth) -> Berth:
    """The command where the host has not mounted cgroup2, as Android 9 has not: it mounts one of its own."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    places = [target for _, target, filesystem, *_ in mounts if filesystem == "cgroup2"]
    script = 'for place in $PLACES; do umount -l "$place" || exit; done; exec "$@"'
    bare = Berth(berth.home)
    bare.environment = {**berth.environment, "PLACES": " ".join(places)}
    bare.command = ["unshare", "--mount", "sh", "-c", script, "sh", *berth.command]
    return bare


@pytest.mark.parametrize("stage", ["cgroups", "joined", "built", "executed", "running"])
@pytest.mark.parametrize("way", ["recover", "start"])
def test_cgroups_in_a_hierarchy_that_only_the_dead_had_mounted_are_undone(
    without_cgroup2: Berth, root: Path, stage: str, way: str
) -> None:
    start = PausedStart(without_cgroup2, stage, NAME, "start", NAME, "--rootfs", root)
    start.kill(*({"monitor", "init"} & {*start.roles}))
    start.settle()

    if way == "start":
        without_cgroup2.succeed("start", NAME)
        without_cgroup2.succeed("stop", NAME)
    else:
        without_cgroup2.succeed("recover")

    assert run_tree(without_cgroup2) == {}


@pytest.mark.parametrize("stage", ["joined", "namespaces", "built", "ready", "released", "executed"])
@pytest.mark.parametrize("limit", [(), ("--pids-limit", "50")], ids=["bare", "limited"])
def test_a_one_off_program_dies_with_its_worker(berth: Berth, root: Path, stage: str, limit: tuple[str, ...]) -> None:
    run = PausedStart(berth, stage, NAME, "run", "--rm", "--rootfs", root, *limit, "--", "sleep", "500")
    born = faults.children(run.roles["worker"])

    run.kill("worker")

    assert "was killed" in run.output()
    wait_until(lambda: not any(map(faults.is_alive, born)), "PID 1 has ended")
    wait_until(lambda: not [*host_state.processes_of(berth.home)], "nothing of it runs any more")
    berth.succeed("recover")
    assert run_tree(berth) == {}


def monitor_of(berth: Berth, name: str = NAME) -> int:
    pid = msgspec.json.decode(berth.succeed("info", name, "--json"))["monitor_pid"]
    assert isinstance(pid, int)
    return pid


def init_of(berth: Berth, name: str = NAME) -> int:
    pid = msgspec.json.decode(berth.succeed("info", name, "--json"))["pid"]
    assert isinstance(pid, int)
    return pid


def test_a_container_that_lost_its_monitor_and_then_its_init_is_undone(berth: Berth, image_of_init: Path) -> None:
    berth.succeed("start", NAME, "--rootfs-img", image_of_init)
    init = init_of(berth)
    kill(monitor_of(berth))
    assert condition(berth, NAME) == "unattended"

    kill(init)

    assert condition(berth, NAME) == "crashed"
    assert "what its crash left is undone" in berth.succeed("recover")
    assert run_tree(berth) == {}
    assert not Path("/mnt/berth", NAME).exists()


def test_a_container_that_lost_its_monitor_gets_another_one(berth: Berth, root: Path) -> None:
    berth.succeed("start", NAME, "--rootfs", root)
    init = init_of(berth)
    kill(monitor_of(berth))

    assert "has a monitor again" in berth.succeed("recover")

    assert condition(berth, NAME) == "running"
    assert init_of(berth) == init
    kill(init)
    wait_until(lambda: run_tree(berth) == {}, "the new monitor has undone the container")


def test_a_container_without_a_monitor_can_be_stopped(berth: Berth, root: Path) -> None:
    berth.succeed("start", NAME, "--rootfs", root)
    kill(monitor_of(berth))

    assert berth.succeed("stop", NAME) == f"{NAME}: stopped\n"

    assert run_tree(berth) == {}


def test_a_new_monitor_brings_a_new_console(berth: Berth, root: Path) -> None:
    berth.succeed("start", NAME, "--rootfs", root)
    kill(monitor_of(berth))
    assert berth("run", NAME, "--", "sh", "-c", "echo lost > /dev/console").returncode != 0

    berth.succeed("recover")

    berth.succeed("run", NAME, "--", "sh", "-c", "echo found > /dev/console")
    wait_until(lambda: "found" in berth("logs", NAME).stdout, "what is said on the console is in the log")
    berth.succeed("stop", NAME)


def test_an_init_without_a_monitor_is_heard_when_it_is_stopped(berth: Berth, rootfs: Factory) -> None:
    root = faults.write_init(rootfs("busybox"), SAYS_GOOD_BYE)
    berth.succeed("start", NAME, "--rootfs", root)
    kill(monitor_of(berth))

    berth.succeed("stop", NAME)

    assert "good bye" in berth.succeed("logs", NAME)


@pytest.mark.parametrize("stage", ["locked", "forked", "cgroups", "built", "executed"])
def test_recover_does_not_disturb_a_start_that_is_under_way(berth: Berth, root: Path, stage: str) -> None:
    start = PausedStart(berth, stage, NAME, "start", NAME, "--rootfs", root)

    assert berth.succeed("recover") == "there is nothing to recover\n"

    start.go_on()
    assert f"{NAME}: started" in start.output()
    assert berth.succeed("run", NAME, "--", "echo", "here") == "here\n"
    berth.succeed("stop", NAME)


def test_a_start_waits_for_one_whose_worker_was_killed(berth: Berth, root: Path) -> None:
    first = PausedStart(berth, "forked", NAME, "start", NAME, "--rootfs", root)
    os.kill(first.roles["worker"], signal.SIGKILL)
    first.output()

    second = subprocess.Popen([*berth.command, "start", NAME], env=berth.environment, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: waits_for_lock(second.pid), "the second start waits")
    first.go_on()

    assert "already" in second.communicate(timeout=faults.SECONDS)[1]
    wait_until(lambda: condition(berth, NAME) == "running", "the first start has come to its end")
    berth.succeed("stop", NAME)


def waits_for_lock(client: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a child that ended meanwhile
        return any("lock" in Path(f"/proc/{pid}/wchan").read_text() for pid in faults.children(client))
    return False


def test_of_two_starts_at_once_one_is_refused(berth: Berth, root: Path) -> None:
    command = [*berth.command, "start", NAME, "--rootfs", str(root)]
    both = [
        subprocess.Popen(command, env=berth.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]

    said = [process.communicate(timeout=faults.SECONDS) for process in both]

    assert sorted(process.returncode for process in both) == [0, 1]
    assert f"container {NAME}: is running already" in said[0][1] + said[1][1]
    berth.succeed("stop", NAME)


# What a record may look like.


@pytest.fixture
def record(berth: Berth) -> RunFolder:
    folder = RunFolder(faults.home_of(berth), "lost")
    folder.make()
    return folder


def write_record(folder: RunFolder, state: State, *effects: tuple[str, str, str | None]) -> None:
    journal = Journal.create(folder.journal)
    journal.save(state)
    for kind, target, identity in effects:
        number = journal.intend(kind, target)
        if identity is not None:
            journal.done(number, identity)
    os.close(journal.fd)


@pytest.mark.parametrize(
    "content",
    [b"", b"\n\n", b"no JSON at all\n", b'{"state": 7}\n', b"\xff\xfe\x00 \xc3\n", b'"\xff"\n[]\nnull\n', b"{" * 4000],
    ids=["empty", "blank", "words", "wrong-type", "bytes", "wrong-shape", "nested"],
)
def test_a_record_that_says_nothing_is_removed(berth: Berth, record: RunFolder, content: bytes) -> None:
    Path(record.journal).write_bytes(content)

    assert condition(berth, "lost") == "crashed"
    assert "container lost: what its crash left is undone" in berth.succeed("recover")

    assert run_tree(berth) == {}


def test_a_torn_last_line_does_not_hide_what_stands_before_it(berth: Berth, root: Path) -> None:
    files = faults.tree(root)
    start = PausedStart(berth, "built", NAME, "start", NAME, "--rootfs", root)
    start.kill("worker", "monitor", "init")
    start.settle()
    journal = Path(RunFolder(faults.home_of(berth), NAME).journal)
    with journal.open("ab") as file:
        file.write(b'{"state":{"stage":"running","na')

    end(berth)

    assert faults.tree(root) == files
    assert run_tree(berth) == {}


def test_what_is_written_behind_a_torn_line_is_read_again(berth: Berth, record: RunFolder) -> None:
    write_record(record, State(stage="starting", name="lost", boot=boot_id()))
    with open(record.journal, "ab") as file:
        file.write(b'{"eff')

    journal = Journal.take_over(record.journal)

    assert journal is not None
    journal.save(State(stage="stuck", name="lost", boot=boot_id()))
    os.close(journal.fd)
    assert condition(berth, "lost") == "stuck"
    berth.succeed("recover")


def test_a_record_of_another_boot_is_taken_back_on_disk_only(
    berth: Berth, record: RunFolder, scratch: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    made, strange = scratch / "made", scratch / "strange"
    made.mkdir()
    strange.mkdir()
    found = made.stat()
    started = start_time(sleeper.pid) or 0
    state = State(stage="running", name="lost", boot="another", init=(sleeper.pid, started), rootfs=str(scratch))
    cgroup = "/sys/fs/cgroup/berth/lost"
    write_record(
        record,
        state,
        ("cgroup", cgroup, "1:1"),
        ("folder", str(made), f"{found.st_dev}:{found.st_ino}"),
        ("mountpoint", "/strange", f"{found.st_dev}:{found.st_ino}"),
    )

    assert condition(berth, "lost") == "crashed"
    berth.succeed("recover")

    assert not made.exists()
    assert strange.exists()
    assert sleeper.poll() is None
    assert run_tree(berth) == {}


def test_a_mount_point_whose_maker_was_killed_before_it_wrote_that_down_is_removed_if_it_is_empty(
    berth: Berth, record: RunFolder, scratch: Path
) -> None:
    root = scratch / "root"
    (root / "folder").mkdir(parents=True)
    (root / "filled" / "inner").mkdir(parents=True)
    (root / "file").touch()
    (root / "written").write_text("by the container")
    (root / "link").symlink_to("file")
    os.mkfifo(root / "pipe")
    names = ("folder", "filled", "file", "written", "link", "pipe", "not-yet-made", "above/not-yet-made")
    state = State(stage="starting", name="lost", boot=boot_id(), rootfs=str(root))
    write_record(record, state, *(("mountpoint", f"/{name}", None) for name in names))

    berth.succeed("recover")

    assert {path.name for path in root.iterdir()} == {"filled", "written", "link", "pipe"}
    assert run_tree(berth) == {}


@pytest.mark.parametrize("stage", ["starting", "running"])
def test_a_process_that_got_the_pid_of_a_dead_init_is_left_alone(
    berth: Berth, record: RunFolder, sleeper: subprocess.Popen[bytes], stage: str
) -> None:
    started = start_time(sleeper.pid) or 0
    write_record(record, State(stage=stage, name="lost", boot=boot_id(), init=(sleeper.pid, started - 1)))

    assert condition(berth, "lost") == "crashed"
    why = 'is crashed, so there is nothing to stop; run "berth recover" to undo what it left'
    assert berth("stop", "lost").stderr == f"berth: container lost: {why}\n"
    berth.succeed("recover")

    assert sleeper.poll() is None
    assert run_tree(berth) == {}


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()
