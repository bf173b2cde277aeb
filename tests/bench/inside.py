"""A program in a container that runs already, and the cost of the command itself."""

import sys
from collections.abc import Iterator
from contextlib import suppress

from tests.bench import peers
from tests.bench.match import Contender, Failed, Table, play
from tests.bench.scene import QUICK_INIT, Scene, cleared

VERSION = "berth version"
INTERPRETER = "python3 -I -S -c pass"
_PROGRAM = "/bin/true"


def matches(scene: Scene, rounds: int) -> Iterator[Table]:
    """Measure all of this module."""
    yield run(scene, rounds)
    yield version(scene, rounds)


def run(scene: Scene, rounds: int) -> Table:
    """Measure /bin/true in a running container."""
    served, bare, lxc, programs, rootfs = scene.served, scene.bare, scene.lxc, scene.programs, scene.busybox()
    start = ("start", "--rootfs", rootfs, "--init", QUICK_INIT)
    bundle = peers.make_bundle(scene.folder / "inside", rootfs, (QUICK_INIT,), read_only=False)
    lxc.add("inside", rootfs, QUICK_INIT, "SIGTERM")
    crun = ("crun", "--cgroup-manager=disabled")
    with (
        served.service(),
        cleared(
            lambda: lxc.stop("inside", kill=True),
            lambda: programs.run_without_unified(*crun, "delete", "--force", "berth-bench"),
        ),
    ):
        served.ask(*start, "--name=inside")
        bare.cold(*start, "--name=inside-bare")
        command = ("run", "inside", "--", _PROGRAM)
        target = f"--target={served.pids('inside')[0]}"
        with_lxc = lxc.command("lxc-attach", "inside", "--", _PROGRAM)
        with_crun = (*crun, "exec", "berth-bench", _PROGRAM)
        contenders = (
            Contender("berth run, asked by a running process", lambda: served.ask(*command)),
            Contender("berth run, as a command", lambda: served.cold(*command)),
            Contender("berth run, without the service", lambda: bare.cold("run", "inside-bare", "--", _PROGRAM)),
            Contender("lxc-attach", lambda: programs.run(*with_lxc)),
            Contender("nsenter", lambda: programs.run("nsenter", target, "--all", _PROGRAM)),
            Contender("crun exec", lambda: programs.run_without_unified(*with_crun)),
        )
        with suppress(Failed):  # then its row will say why
            lxc.start("inside")
        with suppress(Failed):
            programs.run_without_unified(*crun, "run", "--detach", "--bundle", bundle, "berth-bench")
        rows = play(contenders, rounds)
        served.ask("stop", "inside")
        bare.cold("stop", "inside-bare")
    return Table("/bin/true in a running container", "Until its exit status is there.", rows)


def version(scene: Scene, rounds: int) -> Table:
    """Measure what it costs to start the command at all."""
    rows = play(
        (
            Contender(VERSION, lambda: scene.bare.cold("version")),
            Contender(INTERPRETER, lambda: scene.programs.run(sys.executable, "-I", "-S", "-c", "pass")),
        ),
        rounds,
    )
    return Table("The command itself", "A new process each time.", rows)
