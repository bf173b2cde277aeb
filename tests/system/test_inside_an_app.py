"""`berth` typed into an app's root shell on Android: mounts of its own, and cgroups that are frozen and killed with it.

Android is made of this machine: a PID namespace whose first process has a root with /system/build.prop in it.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import faults
from tests.callers import at_terminal, exit_code
from tests.conftest import Factory
from tests.program import Berth

pytestmark = pytest.mark.system

_CGROUPS = Path("/sys/fs/cgroup/unified")
_SYSTEM = """\
set -e
mount -t tmpfs system "$1"
cd "$1"
mkdir old system
: >system/build.prop
for place in /*; do
  case $place in /proc) mkdir proc ;; /system) ;; *)
    if [ -L "$place" ]; then
      cp -P "$place" .
    elif [ -d "$place" ]; then
      mkdir ".$place"
      mount --rbind "$place" ".$place"
    fi
  esac
done
mount -t proc proc proc
pivot_root . old
umount -l old
echo ready
exec sleep infinity
"""


class App:
    """An app with a root shell: `berth` runs in a mount namespace that shares nothing, and in the app's own cgroup."""

    def __init__(self, system: int, cgroup: Path, berth: Berth) -> None:
        self.cgroup = cgroup
        self.system = ["nsenter", f"--target={system}", "--mount", "--pid", "--root"]
        join = f'echo $$ >{cgroup}/cgroup.procs; mount -t tmpfs private /mnt; touch /mnt/mine; exec "$@"'
        words = [*self.system, "unshare", "--mount", "--propagation=private", "--", "sh", "-c", join, "app"]
        self.berth = Berth(berth.home)
        self.berth.command = [*words, *berth.command]
        self.outside = Berth(berth.home)
        self.outside.command = [*self.system, *berth.command]

    def end(self) -> None:
        """End the app as ActivityManager does: everything in its cgroup, and nothing else."""
        (self.cgroup / "cgroup.kill").write_text("1")
        faults.wait_until(lambda: "populated 0" in (self.cgroup / "cgroup.events").read_text(), "the cgroup is empty")

    def mounts_of(self, pid: int) -> str:
        """Return the mounts of process `pid`, a number in the system's PID namespace."""
        return subprocess.check_output([*self.system, "cat", f"/proc/{pid}/mountinfo"], text=True)


@pytest.fixture
def app(berth: Berth, scratch: Path) -> Iterator[App]:
    root = scratch / "system-root"
    root.mkdir()
    cgroup = _CGROUPS / f"app-{os.getpid()}"
    cgroup.mkdir()
    words = ["unshare", "--mount", "--propagation=slave", "--pid", "--fork", "--kill-child", "sh", "-c", _SYSTEM, "sh"]
    with subprocess.Popen([*words, root], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "ready\n"
            init = int(Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text())
            app = App(init, cgroup, berth)
            yield app
            app.outside("stop", "--all", "--timeout", "0")
        finally:
            holder.kill()
    faults.wait_until(lambda: "populated 0" in (cgroup / "cgroup.events").read_text(), "the cgroup is empty")
    cgroup.rmdir()


@pytest.fixture(params=[False, True], ids=["alone", "served"])
def served_app(app: App, request: pytest.FixtureRequest) -> Iterator[App]:
    """The app, without a service, and with one that was started from within it."""
    if not request.param:
        yield app
        return
    with subprocess.Popen([*app.berth.command, "serve"], env=app.berth.environment) as service:
        faults.wait_until(lambda: json.loads(app.outside.succeed("info", "--json"))["service"], "the service is up")
        yield app
        app.outside("stop", "--all", "--timeout", "0")
        pid = (app.outside.home / "run" / "supervisor.lock").read_text().strip()
        subprocess.run([*app.system, "kill", pid], check=True)
        service.wait(faults.SECONDS)


def test_a_container_outlives_the_app_and_has_the_systems_mounts(served_app: App, rootfs: Factory) -> None:
    app = served_app
    app.berth.succeed("start", "box", "--rootfs", rootfs("busybox"))

    app.end()

    box = json.loads(app.outside.succeed("info", "box", "--json"))
    assert box["state"] == "running"
    assert " private " not in app.mounts_of(box["monitor_pid"])
    assert app.outside.succeed("run", "box", "--", "echo", "alive") == "alive\n"


def test_exit_code_pipe_and_terminal_are_the_callers(served_app: App, rootfs: Factory) -> None:
    app = served_app
    app.berth.succeed("start", "box", "--rootfs", rootfs("busybox"))

    piped = app.berth("run", "box", "--", "sh", "-c", "cat; exit 7", stdin="through")
    terminal = at_terminal(app.berth, *app.berth.command, "run", "box", "--", "sh", "-c", "tty; exit 8")

    assert (piped.returncode, piped.stdout) == (7, "through")
    terminal.expect_exact("/dev/pts/")
    assert exit_code(terminal) == 8


def test_what_only_the_app_sees_is_refused_by_name(served_app: App, rootfs: Factory) -> None:
    refused = served_app.berth("start", "box", "--rootfs", rootfs("busybox"), "--bind-mount", "/mnt/mine:/mine")

    assert refused.returncode == 1
    assert refused.stderr == (
        "berth: /mnt/mine: your shell sees another file there than the system does; use a path outside\n"
    )
