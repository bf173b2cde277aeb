"""Starting and stopping whole containers."""

import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.bench.match import Contender, Failed, Row, Table, play
from tests.bench.peers import Lxc
from tests.bench.processes import wait_end, wait_readable
from tests.bench.scene import BASIC_TARGET, QUICK_INIT, Scene, cleared

DIRECTORY = "berth start, a directory"
DIRECTORY_BARE = "berth start, a directory, without the service"
IMAGE = "berth start, a clean image"
LXC = "lxc-start -d"
OWN_TIME = "init alone, sent the signal directly"
STOP = "berth stop, asked by a running process"
BASIC_BERTH = "berth start, systemd"
BASIC_NSPAWN = "systemd-nspawn --boot"
BASIC_LXC = "lxc-start"
FIFTY = "berth, 50 started through the service"
MANY = 50
_BOOT_SECONDS = 60.0


def matches(scene: Scene, rounds: int) -> Iterator[Table]:
    """Measure all of this module."""
    yield starts(scene, rounds)
    yield stops(scene, rounds)
    yield basic_target(scene, rounds)
    yield fifty(scene, rounds)


def starts(scene: Scene, rounds: int) -> Table:
    """Measure the time until init is executed."""
    served, bare, lxc = scene.served, scene.bare, scene.lxc
    rootfs, image = scene.busybox(), scene.image()
    lxc.add("start", rootfs, "/sbin/init", "SIGUSR2")

    def directory() -> float:
        taken = served.cold("start", "--name=start", "--rootfs", rootfs)
        served.ask("stop", "start", "--timeout", "0")
        return taken

    def directory_bare() -> float:
        taken = bare.cold("start", "--name=start-bare", "--rootfs", rootfs)
        bare.cold("stop", "start-bare", "--timeout", "0")
        return taken

    def from_image() -> float:
        taken = served.cold("start", "--name=start-image", "--rootfs-img", image)
        served.ask("stop", "start-image", "--timeout", "0")
        return taken

    def with_lxc() -> float:
        taken = lxc.start("start")
        lxc.stop("start", kill=True)
        return taken

    contenders = (
        Contender(DIRECTORY, directory),
        Contender(DIRECTORY_BARE, directory_bare),
        Contender(IMAGE, from_image),
        Contender(LXC, with_lxc),
    )
    with served.service(), cleared(lambda: lxc.stop("start", kill=True)):
        rows = play(contenders, rounds)
    how = "BusyBox, each start a new process: until it exits, which is when the container's init has been executed."
    return Table("Start", how, rows)


def stops(scene: Scene, rounds: int) -> Table:
    """Measure what stopping adds to the time that init itself takes."""
    served, lxc = scene.served, scene.lxc
    rootfs = scene.busybox()
    lxc.add("stop", rootfs, QUICK_INIT, "SIGTERM")
    start = ("start", "--name=stop", "--rootfs", rootfs, "--init", QUICK_INIT)

    def own_time() -> float:
        served.ask(*start)
        pid, monitor_pid = served.pids("stop")
        init, monitor = os.pidfd_open(pid), os.pidfd_open(monitor_pid)
        _wait_for_trap(pid)
        began = time.perf_counter()
        signal.pidfd_send_signal(init, signal.SIGTERM)
        wait_end(init)
        taken = time.perf_counter() - began
        wait_end(monitor)
        return taken * 1000

    def asked() -> float:
        served.ask(*start)
        _wait_for_trap(served.pids("stop")[0])
        return served.ask("stop", "stop")

    def cold() -> float:
        served.ask(*start)
        _wait_for_trap(served.pids("stop")[0])
        return served.cold("stop", "stop")

    def with_lxc() -> float:
        lxc.start("stop")
        _wait_for_trap(lxc.pid("stop"))
        return lxc.stop("stop")

    contenders = (
        Contender(OWN_TIME, own_time),
        Contender(STOP, asked),
        Contender("berth stop, as a command", cold),
        Contender("lxc-stop", with_lxc),
    )
    with served.service(), cleared(lambda: lxc.stop("stop", kill=True)):
        rows = play(contenders, rounds)
    how = "An init that ends at once when it is sent SIGTERM; until everything of the container is gone from the host."
    return Table("Stop", how, rows)


def _wait_for_trap(pid: int) -> None:
    """Return when the init `pid` catches SIGTERM: before that it could not be stopped by it."""
    until = time.monotonic() + _BOOT_SECONDS
    while time.monotonic() < until:
        status = Path(f"/proc/{pid}/status").read_text()
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
        if int(caught.split()[1], 16) & 1 << signal.SIGTERM - 1:
            return
        time.sleep(0.001)
    raise Failed(f"init {pid} does not come to catch SIGTERM")


def basic_target(scene: Scene, rounds: int) -> Table:
    """Measure how long systemd takes to its basic.target; the pipe in the root file system tells of it."""
    root = scene.debian()
    scene.lxc.add("basic", root, "/sbin/init", "SIGRTMIN+3")
    told = os.open(root / BASIC_TARGET, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    nspawn = ("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--console=pipe", "--boot", "-D", root)

    def await_target(began: float) -> float:
        if not wait_readable(told, _BOOT_SECONDS):
            raise Failed("basic.target was not reached")
        taken = time.perf_counter() - began
        os.read(told, 4096)
        return taken * 1000

    def with_berth() -> float:
        began = time.perf_counter()
        scene.served.cold("start", "--name=basic", "--rootfs", root)
        try:
            return await_target(began)
        finally:
            scene.served.ask("stop", "basic")

    def with_lxc() -> float:
        began = time.perf_counter()
        scene.lxc.start("basic")
        try:
            return await_target(began)
        finally:
            scene.lxc.stop("basic")

    def with_nspawn() -> float:
        began = time.perf_counter()
        pid = scene.programs.start(*nspawn)
        try:
            return await_target(began)
        finally:
            os.kill(pid, signal.SIGTERM)
            scene.programs.finish(pid, nspawn)

    contenders = (
        Contender(BASIC_BERTH, with_berth),
        Contender(BASIC_LXC, with_lxc),
        Contender(BASIC_NSPAWN, with_nspawn),
    )
    with scene.served.service(), cleared(lambda: scene.lxc.stop("basic", kill=True), lambda: os.close(told)):
        rows = play(contenders, rounds)
    how = (
        "The same Debian, booted by each in turn: from the start of the command until a unit that is ordered after"
        " basic.target has written to a pipe."
    )
    return Table("systemd to basic.target", how, rows)


def fifty(scene: Scene, rounds: int) -> Table:
    """Measure 50 containers that are started, and stopped, at the same time."""
    served, rootfs = scene.served, scene.busybox()
    names = [f"many-{number}" for number in range(MANY)]
    for name in names:
        scene.lxc.add(name, rootfs, QUICK_INIT, "SIGTERM")

    stopped: list[float] = []

    def together(commands: Iterable[tuple[str | Path, ...]]) -> float:
        began = time.perf_counter()
        for connection in [served.send(*command) for command in commands]:
            served.await_exit(connection)
        return (time.perf_counter() - began) * 1000

    def with_berth() -> float:
        taken = together(("start", "--name", name, "--rootfs", rootfs, "--init", QUICK_INIT) for name in names)
        stopped.append(together(("stop", name) for name in names))
        return taken

    def with_lxc() -> float:
        began = time.perf_counter()
        commands = [scene.lxc.command("lxc-start", name, "-d") for name in names]
        for pid, command in [(scene.programs.start(*command), command) for command in commands]:
            scene.programs.finish(pid, command)
        taken = time.perf_counter() - began
        _kill_all(scene.lxc, names)
        return taken * 1000

    contenders = (
        Contender(FIFTY, with_berth),
        Contender(f"{LXC}, 50 at once", with_lxc),
    )
    with served.service(), cleared(lambda: _kill_all(scene.lxc, names)):
        started, *others = play(contenders, rounds)
    rows = (started, Row("berth, the same 50 stopped", tuple(stopped[1:]), started.trouble), *others)
    how = "50 requests at once; until the last of the 50 is answered."
    return Table("50 containers in parallel", how, rows)


def _kill_all(lxc: Lxc, names: list[str]) -> None:
    for name in names:
        lxc.stop(name, kill=True)
