"""Where the benchmark takes place: temporary folders, root file systems that all contenders share, and Berth."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests import host_state, leftovers, rootfs
from tests.bench.match import Failed
from tests.bench.ours import Ours
from tests.bench.peers import Lxc
from tests.bench.processes import Programs
from tests.program import Berth

QUICK_INIT = "/sbin/quick-init"
_QUICK_INIT = """\
#!/bin/sh
trap 'exit 0' TERM
while :; do sleep 3600 & wait $!; done
"""
BASIC_TARGET = "reached-basic-target"
_UNIT = f"""\
[Unit]
Description=Tell the benchmark that basic.target is reached
DefaultDependencies=no
After=basic.target

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo > /{BASIC_TARGET}'
"""


class Scene:
    """What all contenders share; `stage` makes one and takes it away.

    `served` is Berth with its service, when a match runs it, and `bare` Berth without.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.served = Ours(folder, host_state.home_of(folder))
        self.bare = Ours(folder, folder / "bare")
        self.programs = Programs(folder / "peers.output", self.bare.programs.environment)
        self.lxc = Lxc(self.programs, folder / "lxc")

    def busybox(self) -> Path:
        """Return a root file system of BusyBox that has QUICK_INIT, which ends at once when it is sent SIGTERM."""
        return self._made("busybox", "busybox", _add_quick_init)

    def image(self) -> Path:
        """Return a clean ext4 image of BusyBox."""
        target = self.folder / "busybox.ext4"
        return target if target.exists() else rootfs.copy(rootfs.image("busybox"), target)

    def debian(self) -> Path:
        """Return Debian with systemd, which writes to the pipe BASIC_TARGET in its root when that is reached."""
        return self._made("debian-systemd", "debian", _add_unit)

    def _made(self, kind: str, name: str, add: Callable[[Path], None]) -> Path:
        target = self.folder / name
        if not target.exists():
            add(rootfs.copy(rootfs.directory(kind), target))
        return target


def _add_quick_init(root: Path) -> None:
    init = root / QUICK_INIT.lstrip("/")
    init.write_text(_QUICK_INIT)
    init.chmod(0o755)


def _add_unit(root: Path) -> None:
    units = root / "etc/systemd/system"
    (units / "bench.service").write_text(_UNIT)
    wanted = units / "multi-user.target.wants"
    wanted.mkdir(exist_ok=True)
    (wanted / "bench.service").symlink_to("../bench.service")
    os.mkfifo(root / BASIC_TARGET, 0o600)


@contextmanager
def stage() -> Iterator[Scene]:
    """Make the scene and take everything of it away afterwards, whatever happened."""
    with leftovers.run_folder() as folder:
        scene = Scene(folder)
        try:
            yield scene
        finally:
            leftovers.stop_containers(Berth(scene.bare.home))
            leftovers.kill_processes(scene.bare.home)


@contextmanager
def cleared(*actions: Callable[[], object]) -> Iterator[None]:
    """Do `actions` at the end, all of them, whatever failed before."""
    with ExitStack() as stack:
        for action in reversed(actions):
            stack.enter_context(_afterwards(action))
        yield


@contextmanager
def _afterwards(action: Callable[[], object]) -> Iterator[None]:
    try:
        yield
    finally:
        with suppress(Failed, OSError):
            action()
