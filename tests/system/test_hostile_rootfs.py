"""A root file system and a container that mean harm: nothing outside is touched, and nobody hangs."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import faults, quick
from tests.program import Berth

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]
NAME = "evil"
QUICK = 25.0  # seconds in which a command must be back, on a busy machine; a stop gives half a minute by itself
SOON = 20.0


@pytest.fixture
def root(rootfs: Factory) -> Path:
    return faults.write_init(rootfs("busybox"))


@pytest.fixture
def canary(scratch: Path) -> Path:
    """A tree outside every container that looks like a root, for links to lead to."""
    place = scratch / "canary"
    for folder in ("etc", "proc/sys", "sys/fs", "dev/pts", "run/systemd", "tmp"):
        (place / folder).mkdir(parents=True)
    for file in ("etc/passwd", "etc/resolv.conf", "etc/os-release", "dev/console", "run/systemd/container"):
        (place / file).write_text("outside\n")
    return place


def put(root: Path, path: str, make: Callable[[Path], object]) -> None:
    """Have `make` make what is to be at `path` in the place of what is there."""
    place = root / path
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    make(place)


def link_to(target: str | Path) -> Callable[[Path], object]:
    return lambda place: place.symlink_to(target)


def up(target: Path) -> str:
    """The path of `target` by more steps up than there are folders above."""
    return "../" * 40 + str(target).lstrip("/")


PLACES = {
    "proc": "proc",
    "sys": "sys",
    "dev": "dev",
    "run": "run",
    "tmp": "tmp",
    "mnt": "tmp",
    "etc/resolv.conf": "etc/resolv.conf",
    "dev/console": "dev/console",
    "dev/pts": "dev/pts",
    "sys/fs": "sys/fs",
    "run/systemd": "run/systemd",
}


def use(berth: Berth, root: Path, *arguments: str) -> None:
    """Start it if it lets itself be started, do all that reads or writes inside, and stop it."""
    result = berth("start", NAME, "--rootfs", root, *arguments, seconds=QUICK)
    if result.returncode:
        assert result.stderr.count("\n") == 1, result.stderr
    else:
        berth("run", NAME, "-u", "user", "--", "echo", "here", seconds=QUICK)
        berth("stop", NAME, "--timeout", "2", seconds=QUICK)
    assert faults.condition(berth, NAME) == "stopped"
    assert faults.run_tree(berth) == {}


@pytest.mark.parametrize(
    ("path", "way"),
    [
        *(pytest.param(path, str, id=path) for path in PLACES),
        *(pytest.param(path, up, id=f"{path}-upwards") for path in ("proc", "run", "etc/resolv.conf")),
    ],
)
def test_a_link_in_the_place_of_a_mount_point_leads_nowhere_outside(
    berth: Berth, root: Path, canary: Path, path: str, way: Callable[[Path], str]
) -> None:
    before = faults.tree(canary)
    put(root, path, link_to(way(canary / PLACES[path])))

    use(berth, root, "--dns", "192.0.2.1", "--bind-mount", f"{canary}:/mnt/in/here:ro")

    assert faults.tree(canary) == before


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("proc", "/etc"),
        ("run", "/"),
        ("etc", "/"),
        ("dev", "/proc"),
        ("sys", "/proc"),
        ("tmp", "/proc/self/root"),
        ("dev/console", "/dev/null"),
        ("etc/resolv.conf", "/proc/self/fd/0"),
        ("etc/resolv.conf", "/run/../../../run/../etc/resolv.conf"),
        ("etc/resolv.conf", "/run/systemd/resolve/stub-resolv.conf"),
        ("etc/resolv.conf", "resolv.conf"),
        ("sbin/init", "/proc/self/exe"),
        ("sbin/init", "/proc/1/root/sbin/init"),
        ("sbin/init", "../../../../../../bin/bash"),
        ("sbin/init", "init"),
        ("mnt", "/proc/1/root/mnt"),
    ],
)
def test_links_within_the_rootfs_are_followed_within_it_or_refused(
    berth: Berth, root: Path, path: str, target: str
) -> None:
    before = outside()
    put(root, path, link_to(target))

    use(berth, root, "--dns", "192.0.2.1", "--bind-mount", "/usr:/mnt/usr:ro")

    assert outside() == before


def outside() -> tuple[object, ...]:
    """What of the host these links could lead to, without what others do there: read it, or have an image mounted."""
    places = [Path("/mnt", name) for name in sorted(os.listdir("/mnt")) if name != "berth"]
    found = [Path(path).stat() for path in ("/etc/resolv.conf", "/etc/passwd")]
    files = [(one.st_ino, one.st_mode, one.st_uid, one.st_gid, one.st_size, one.st_mtime_ns) for one in found]
    return ({place.name: faults.tree(place) for place in places}, files)


def make_device(place: Path) -> None:
    os.mknod(place, 0o020666, os.makedev(5, 0))  # /dev/tty: opening it without one fails, reading it waits


def make_socket(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        folder = os.open(place.parent, os.O_PATH)
        listener.bind(f"/proc/self/fd/{folder}/{place.name}")
        os.close(folder)


def make_huge(place: Path) -> None:
    place.write_text("x" * (8 << 20))
    os.truncate(place, 1 << 36)


STRANGE: dict[str, Callable[[Path], object]] = {
    "fifo": os.mkfifo,
    "device": make_device,
    "socket": make_socket,
    "huge": make_huge,
    "folder": Path.mkdir,
    "no-text": lambda place: place.write_bytes(b"\xff\xfe:\x00:\n" * 100),
}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        *((path, kind) for path in ("etc/resolv.conf", "sbin/init") for kind in STRANGE),
        *((path, "fifo") for path in ("etc/passwd", "etc/group", "etc/os-release", "proc", "dev", "run", "tmp", "etc")),
        ("etc/group", "huge"),
        ("etc/os-release", "huge"),
    ],
)
def test_nothing_waits_for_a_strange_file(berth: Berth, root: Path, path: str, kind: str) -> None:
    put(root, path, STRANGE[kind])

    use(berth, root, "--dns", "192.0.2.1")


def test_the_resolvers_inside_are_for_root_to_change(berth: Berth, root: Path) -> None:
    (root / "etc" / "resolv.conf").unlink(missing_ok=True)
    berth.succeed("start", NAME, "--rootfs", root, "--dns", "192.0.2.1")

    assert berth.succeed("run", NAME, "--", "stat", "-c", "%a", "/etc/resolv.conf") == "644\n"

    berth.succeed("stop", NAME)


@pytest.mark.parametrize("make", STRANGE.values(), ids=STRANGE)
def test_an_entry_survives_a_passwd_that_was_replaced_meanwhile(
    berth: Berth, root: Path, make: Callable[[Path], object]
) -> None:
    berth.succeed("start", NAME, "--rootfs", root)
    put(root, "etc/passwd", make)

    assert berth.succeed("run", NAME, "--", "echo", "here", seconds=QUICK) == "here\n"
    assert "no such user" in berth("run", NAME, "-u", "user", "--", "id", seconds=QUICK).stderr

    berth.succeed("stop", NAME)


# A container that is hostile while it runs.


def inside(berth: Berth, script: str) -> None:
    berth.succeed("run", NAME, "--", "sh", "-c", script, seconds=QUICK)


WRECKS = {
    "proc-covered": "mount -t tmpfs tmpfs /proc",
    "proc-gone": "umount -l /proc",
    "dev-covered": "mount -t tmpfs tmpfs /dev",
    "pts-covered": "mount -t tmpfs tmpfs /dev/pts",
    "pts-gone": "umount -l /dev/pts",
    "dev-gone": "umount -l /dev",
    "root-covered": "mount -t tmpfs tmpfs /",
    "all-gone": "umount -a -l; true",
    "shell-gone": "rm -rf /bin/sh /bin/busybox /sbin/init",
    "etc-gone": "rm -rf /etc; true",
    "passwd-fifo": "rm /etc/passwd && mkfifo /etc/passwd",
    "cgroup-gone": "umount -l /sys/fs/cgroup",
    "cgroup-nested": "cd /sys/fs/cgroup; for i in 1 2 3 4 5 6; do mkdir -p $i && cd $i; done; echo $$ >cgroup.procs",
}


@pytest.mark.parametrize("wreck", WRECKS.values(), ids=WRECKS)
def test_a_container_that_wrecks_itself_can_be_entered_or_says_why_and_is_stopped(
    berth: Berth, root: Path, wreck: str
) -> None:
    berth.succeed("start", NAME, "--rootfs", root)
    inside(berth, wreck)

    for command in (["run", NAME, "--", "/bin/echo", "here"], ["enter", NAME]):
        result = berth(*command, stdin="echo here\n", seconds=QUICK)
        if result.returncode:
            assert result.stderr.count("\n") == 1, result.stderr
        else:
            assert result.stdout == "here\n"
    berth.succeed("stop", NAME, "--timeout", "2", seconds=QUICK)

    assert faults.run_tree(berth) == {}


def test_a_fork_bomb_under_a_limit_is_stopped_in_time(berth: Berth, root: Path) -> None:
    berth.succeed("start", NAME, "--rootfs", root, "--pids-limit", "150")
    groups = quick.info(berth, NAME)["cgroups"]
    (limited,) = (group["path"] for group in groups if "pids.max" in group["limits"])
    inside(berth, "sh -c 'bomb() { bomb | bomb & }; while :; do bomb; done' >/dev/null 2>&1 &")
    faults.wait_until(lambda: int(Path(limited, "pids.current").read_text()) > 100, "it has gone off")

    began = time.monotonic()
    berth.succeed("stop", NAME, "--timeout", "2")

    assert time.monotonic() - began < SOON
    assert faults.run_tree(berth) == {}


def test_a_container_that_freezes_its_own_init_is_stopped_in_time(berth: Berth, root: Path) -> None:
    (root / "mnt").mkdir(exist_ok=True)
    berth.succeed("start", NAME, "--rootfs", root)
    v1 = "mount -t cgroup -o freezer x /mnt && mkdir /mnt/a && echo 1 >/mnt/a/cgroup.procs"
    inside(berth, f"{v1} && echo FROZEN >/mnt/a/freezer.state; true")

    berth.succeed("stop", NAME, "--timeout", "1", seconds=QUICK)

    assert faults.run_tree(berth) == {}


def test_a_stop_does_not_wait_for_a_command_inside_that_is_held_up(berth: Berth, root: Path) -> None:
    """Root inside can keep whoever enters waiting: here passwd lies on a FUSE that nobody serves."""
    quick.write_init(root, "/sbin/runit-init", "#!/bin/sh\ntrap : TERM\nwhile :; do sleep 1; done\n")
    berth.succeed("start", NAME, "--rootfs", root, "--init", "/sbin/runit-init")
    holds_up = (
        "exec 3<>/dev/fuse; mount -t fuse x /etc -o fd=3,rootmode=40000,user_id=0,group_id=0 && echo there; sleep 600"
    )
    with subprocess.Popen(
        [*berth.command, "run", NAME, "--", "sh", "-c", holds_up],
        env=berth.environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "there\n"
        berth.succeed("stop", NAME, "--timeout", "1", seconds=QUICK)
        waiting.wait(faults.SECONDS)
    assert faults.run_tree(berth) == {}


def test_an_init_that_ignores_everything_is_killed(berth: Berth, root: Path) -> None:
    numbers = " ".join(map(str, (*range(1, 9), *range(10, 19), *range(20, 32))))
    faults.write_init(root, f"#!/bin/sh\ntrap '' {numbers}\nwhile :; do sleep 1000; done\n")
    berth.succeed("start", NAME, "--rootfs", root)

    began = time.monotonic()
    berth.succeed("stop", NAME, "--timeout", "1")

    assert time.monotonic() - began < SOON
    assert faults.run_tree(berth) == {}


def test_an_init_that_reboots_without_end_is_left_stopped_with_a_reason(berth: Berth, root: Path) -> None:
    faults.write_init(root, "#!/bin/sh\ntrap : TERM\nsleep 0.05\nreboot -f\n")
    berth.succeed("start", NAME, "--rootfs", root)

    faults.wait_until(lambda: faults.run_tree(berth) == {}, "it is left stopped")

    last = json.loads(berth.succeed("info", NAME, "--json"))["last_end"]
    assert last.startswith("rebooted 5 times in a row within 1 s")


@pytest.mark.parametrize("number", [1, 6, 9, 11, 15])
def test_an_init_that_is_shot_leaves_nothing(berth: Berth, root: Path, number: int) -> None:
    berth.succeed("start", NAME, "--rootfs", root)
    init = json.loads(berth.succeed("info", NAME, "--json"))["pid"]
    faults.await_catching(init, signal.SIGTERM)
    os.kill(init, number)

    if number not in (9, 15):  # what a PID 1 without a handler dies of, and what this one ends on
        berth("stop", NAME)
    faults.wait_until(lambda: faults.run_tree(berth) == {}, "its monitor has undone it")
