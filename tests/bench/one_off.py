"""One program in a fresh container: from the request to its exit status."""

from collections.abc import Iterator

from tests.bench import peers
from tests.bench.match import Contender, Table, play
from tests.bench.scene import Scene

SERVICE = "berth, through the service"
COLD = "berth run --rm, with the service"
BARE = "berth run --rm, without the service"
BWRAP = "bwrap --unshare-all"
RUNC = "runc run"
_PROGRAM = ("/bin/true",)


def matches(scene: Scene, rounds: int) -> Iterator[Table]:
    """Measure all of this module."""
    yield warm(scene, rounds)
    yield cold(scene, rounds)


def warm(scene: Scene, rounds: int) -> Table:
    """Measure what a running process sees: bwrap is spawned by it, Berth's service asked by it."""
    rootfs = scene.busybox()
    arguments = ("run", "--rm", "--rootfs", rootfs, "--net=none", "--", *_PROGRAM)
    with scene.served.service():
        rows = play(
            (
                Contender(SERVICE, lambda: scene.served.ask(*arguments)),
                Contender(BWRAP, lambda: scene.programs.run(*peers.bwrap(rootfs, *_PROGRAM))),
            ),
            rounds,
        )
    how = (
        "A running process asks for `/bin/true` in new mount, PID, UTS, IPC, cgroup and network namespaces with"
        " /proc, /sys, /dev, /dev/pts and a tmpfs /tmp, and waits for its exit status."
    )
    return Table("One-off /bin/true for a running process", how, rows)


def cold(scene: Scene, rounds: int) -> Table:
    """Measure what a shell sees: every command is a new process."""
    rootfs = scene.busybox()
    arguments = ("run", "--rm", "--rootfs", rootfs, "--net=none", "--", *_PROGRAM)
    bundle = peers.make_bundle(scene.folder / "one-off", rootfs, _PROGRAM, read_only=True)
    crun = ("crun", "--cgroup-manager=disabled", "run", "--bundle", bundle, "berth-bench")
    with scene.served.service():
        rows = play(
            (
                Contender(COLD, lambda: scene.served.cold(*arguments)),
                Contender(BARE, lambda: scene.bare.cold(*arguments)),
                Contender(RUNC, lambda: scene.programs.run("runc", "run", "--bundle", bundle, "berth-bench")),
                Contender("crun run, no cgroups", lambda: scene.programs.run_without_unified(*crun)),
            ),
            rounds,
        )
    return Table("One-off /bin/true as a command", "The same from a shell: each is a new process.", rows)
