"""Every init that Debian has: boots to its normal state, ends in its own way, and reboots and powers off from inside.

Each rootfs gets a script or service of the test's own that runs in the orderly shutdown only and leaves a file.
"""

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pexpect
import pytest

from berth.kernel.mounts import MS_PRIVATE, MS_REC, mount
from berth.kernel.namespaces import unshare
from tests import disks, faults, quick
from tests import rootfs as root_file_systems
from tests.forked import in_child
from tests.program import Berth

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]

IMAGE: Final = "inits"  # its mount point is this machine's, and tests of another process may have a container quay
STOP_SECONDS: Final = 100  # 1 to 5 on an idle machine: none of them is to be killed because another test is busy
FAREWELL: Final = "root/farewell"  # what the orderly shutdown writes
_SAY_FAREWELL: Final = f"#!/bin/sh\necho orderly >> /{FAREWELL}\n"


class Kind(NamedTuple):
    """A distribution's init: the rootfs, its path, what PID 1 is called, and how to tell that it is up."""

    rootfs: str
    init: str
    first: str
    prepare: Callable[[Path], None]
    is_up: str
    has_commands: bool = True


def executable(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script)
    path.chmod(0o755)


def prepare_systemd(root: Path) -> None:
    unit = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"
    unit += f"ExecStop=/bin/sh -c 'echo orderly >> /{FAREWELL}'\n[Install]\nWantedBy=multi-user.target\n"
    (root / "etc/systemd/system/farewell.service").write_text(unit)
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "farewell.service").symlink_to("../farewell.service")
    make_timer(root)
    shadow = root / "etc/shadow"
    shadow.write_text(re.sub(r"^root:[^:]*:", "root::", shadow.read_text(), flags=re.MULTILINE))  # no password


def make_timer(root: Path) -> None:
    units = root / "etc/systemd/system"
    (units / "tick.timer").write_text("[Timer]\nOnActiveSec=0\nAccuracySec=1ms\n")
    (units / "tick.service").write_text("[Service]\nType=oneshot\nExecStart=/bin/touch /run/ticked\n")
    (units / "timers.target.wants").mkdir(exist_ok=True)
    (units / "timers.target.wants/tick.timer").symlink_to("../tick.timer")


def prepare_sysvinit(root: Path) -> None:
    executable(root / "etc/init.d/farewell", _SAY_FAREWELL)
    for level in (0, 6):
        (root / f"etc/rc{level}.d").mkdir(exist_ok=True)
        (root / f"etc/rc{level}.d/K01farewell").symlink_to("../init.d/farewell")
    (
        root / "etc/init.d/.legacy-bootordering"
    ).touch()  # by the names in rcN.d, not by the dependencies that insserv knew


def prepare_openrc(root: Path) -> None:
    stop = f"stop() {{\n\techo orderly >> /{FAREWELL}\n}}\n"
    executable(root / "etc/init.d/farewell", f"#!/sbin/openrc-run\nstart() {{\n\t:\n}}\n{stop}")
    (root / "etc/runlevels/default").mkdir(parents=True, exist_ok=True)
    (root / "etc/runlevels/default/farewell").symlink_to("/etc/init.d/farewell")


def prepare_runit(root: Path) -> None:
    stage = root / "etc/runit/3"
    stage.write_text(stage.read_text().replace("\n", f"\necho orderly >> /{FAREWELL}\n", 1))


def prepare_s6(root: Path) -> None:
    executable(root / "etc/s6/scan/farewell/run", "#!/bin/sh\nexec sleep infinity\n")
    executable(root / "etc/s6/scan/farewell/finish", _SAY_FAREWELL)


SYSTEMD = Kind("debian-systemd", "/sbin/init", "systemd", prepare_systemd, "systemctl is-system-running --wait")
KINDS: Final = {
    "systemd": SYSTEMD,
    "sysvinit": Kind("debian-sysvinit", "/sbin/init", "init", prepare_sysvinit, "test $(runlevel | cut -c3) = 2"),
    "openrc": Kind("debian-openrc", "/sbin/init", "init", prepare_openrc, "rc-status | grep -q 'farewell.*started'"),
    "openrc-init": Kind(
        "debian-openrc",
        "/sbin/openrc-init",
        "openrc-init",
        prepare_openrc,
        "rc-status | grep -q 'farewell.*started'",
        has_commands=False,  # Debian's reboot and poweroff speak to sysvinit
    ),
    "runit": Kind("debian-runit", "/sbin/init", "runit", prepare_runit, "pgrep runsvdir && pgrep dbus-daemon"),
    "s6": Kind(
        "debian-s6", "/sbin/init", "s6-svscan", prepare_s6, "s6-svstat -u /run/service/farewell", has_commands=False
    ),
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture(scope="module")
def prepared(kind: Kind, berth_home: Path) -> Iterator[Path]:
    """One copy for all tests of a kind: copying takes longer than most of them."""
    folder = Path(tempfile.mkdtemp(dir=berth_home.parent))
    folder.chmod(0o755)
    root = root_file_systems.copy(root_file_systems.directory(kind.rootfs), folder / kind.rootfs)
    kind.prepare(root)
    yield root
    root_file_systems.remove(folder)


@pytest.fixture
def root(prepared: Path) -> Path:
    (prepared / FAREWELL).unlink(missing_ok=True)
    return prepared


def start(berth: Berth, kind: Kind, root: Path) -> None:
    berth.succeed("start", "quay", "--rootfs", root, "--init", kind.init)


def is_up(berth: Berth, kind: Kind, name: str = "quay") -> bool | None:
    return berth("run", name, "--", "/bin/sh", "-c", kind.is_up).returncode == 0 or None


def test_it_boots_to_its_normal_state_and_stops_in_its_own_way(berth: Berth, kind: Kind, root: Path) -> None:
    start(berth, kind, root)
    quick.wait_for(lambda: is_up(berth, kind))
    assert quick.inside(berth, "cat", "/proc/1/comm") == kind.first
    quick.wait_for(lambda: "dbus-daemon" in quick.inside(berth, "ps", "-e") or None)  # init says so before that
    began = time.monotonic()

    berth.succeed("stop", "quay", "--timeout", str(STOP_SECONDS), seconds=2 * STOP_SECONDS)

    assert time.monotonic() - began < STOP_SECONDS, "asked, and not waited out"
    assert (root / FAREWELL).read_text() == "orderly\n"
    assert quick.info(berth)["last_end"] in ("powered off", "init ended with 0")


def test_it_boots_from_an_image_and_stops_in_its_own_way(
    berth: Berth, kind: Kind, image: Factory, scratch: Path
) -> None:
    path, place = image(kind.rootfs), scratch / "mounted"
    place.mkdir()

    def prepare() -> None:
        unshare("mount")  # or whoever gets a mount namespace just now keeps the image in it
        mount(None, "/", None, MS_REC | MS_PRIVATE)
        subprocess.run(["mount", "-o", "loop", path, place], check=True)
        kind.prepare(place)
        subprocess.run(["umount", place], check=True)

    in_child(prepare)
    assert disks.gone(path, scratch), "another test may look at the loop device just now, which keeps it"
    berth.succeed("start", IMAGE, "--rootfs-img", path, "--init", kind.init)
    quick.wait_for(lambda: is_up(berth, kind, IMAGE))
    assert quick.inside(berth, "cat", "/proc/1/comm", name=IMAGE) == kind.first
    berth.succeed("stop", IMAGE, "--timeout", str(STOP_SECONDS), seconds=2 * STOP_SECONDS)

    read = subprocess.run(["debugfs", "-R", f"cat /{FAREWELL}", path], check=True, capture_output=True, text=True)
    assert read.stdout == "orderly\n"
    assert quick.info(berth, IMAGE)["last_end"] in ("powered off", "init ended with 0")


def test_a_stop_just_after_the_start_is_heard(berth: Berth, kind: Kind, root: Path) -> None:
    start(berth, kind, root)
    began = time.monotonic()

    berth.succeed("stop", "quay", "--timeout", str(STOP_SECONDS), seconds=2 * STOP_SECONDS)

    assert time.monotonic() - began < STOP_SECONDS
    assert quick.info(berth)["last_end"] in ("powered off", "init ended with 0")


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.has_commands], indirect=True)
def test_reboot_inside_restarts_it_and_poweroff_inside_stops_it(berth: Berth, kind: Kind, root: Path) -> None:
    start(berth, kind, root)
    quick.wait_for(lambda: is_up(berth, kind))
    before = quick.info(berth)

    berth("run", "quay", "--", "reboot")
    quick.wait_for(lambda: quick.info(berth)["pid"] not in (before["pid"], None) or None)
    quick.wait_for(lambda: is_up(berth, kind))

    after = quick.info(berth)
    assert (after["state"], after["monitor_pid"]) == ("running", before["monitor_pid"])
    assert (root / FAREWELL).read_text() == "orderly\n"
    berth("run", "quay", "--", "poweroff")
    quick.wait_for(lambda: quick.info(berth)["state"] == "stopped" or None)
    assert (root / FAREWELL).read_text() == "orderly\norderly\n"
    assert quick.info(berth)["last_end"] == "powered off"


@pytest.mark.parametrize("kind", ["sysvinit", "runit"], indirect=True)
def test_its_getties_sleep_on_terminals_that_nobody_looks_at(berth: Berth, kind: Kind, root: Path) -> None:
    """One without a terminal would end and be started again, for ever, and never get to the point of waiting."""
    start(berth, kind, root)

    quick.wait_for(lambda: getties(berth).keys() == {f"/dev/tty{number}" for number in range(1, 7)} or None)

    berth.succeed("stop", "quay")


def test_a_getty_sleeps_again_after_a_reboot_and_with_a_new_monitor(berth: Berth, rootfs: Factory) -> None:
    root = rootfs("busybox")
    with (root / "etc/inittab").open("a") as table:
        table.write("tty1::respawn:/sbin/getty 38400 tty1\n")
    berth.succeed("start", "quay", "--rootfs", root)
    quick.wait_for(lambda: getties(berth).get("/dev/tty1"))
    first = quick.info(berth)["pid"]

    berth("run", "quay", "--", "reboot")

    quick.wait_for(lambda: quick.info(berth)["pid"] not in (first, None) or None)
    before = quick.wait_for(lambda: getties(berth).get("/dev/tty1"))
    os.kill(quick.info(berth)["monitor_pid"], signal.SIGKILL)
    berth.succeed("recover")
    quick.wait_for(lambda: getties(berth).get("/dev/tty1", before) != before or None)
    berth.succeed("stop", "quay")


_GETTIES: Final = """\
for process in /proc/[0-9]*; do
    case $(cat $process/comm) in *getty) echo "$process $(readlink $process/fd/0)" ;; esac
done 2>/dev/null
:
"""


def getties(berth: Berth) -> dict[str, str]:
    """The terminals on which a getty waits for a name, each with that getty."""
    lines = [line.split() for line in quick.shell(berth, _GETTIES).splitlines()]
    return {terminal: process for process, *opened in lines for terminal in opened}


@pytest.mark.parametrize("kind", ["sysvinit"], indirect=True)
def test_a_halt_inside_stops_it(berth: Berth, kind: Kind, root: Path) -> None:
    start(berth, kind, root)
    quick.wait_for(lambda: is_up(berth, kind))

    berth("run", "quay", "--", "halt")

    quick.wait_for(lambda: quick.info(berth)["state"] == "stopped" or None)
    assert (root / FAREWELL).read_text() == "orderly\n"


ONLY_SYSTEMD = pytest.mark.parametrize("kind", ["systemd"], indirect=True)


@pytest.fixture
def systemd(berth: Berth, root: Path) -> Iterator[Path]:
    """Debian with systemd, up; returns its root."""
    start(berth, SYSTEMD, root)
    quick.booted(berth)
    yield root
    berth.succeed("stop", "quay")


@ONLY_SYSTEMD
def test_debian_with_systemd_works(berth: Berth, systemd: Path) -> None:
    """One boot for all of it: running, no failed unit, journal, units, timers, su, sudo, sessions, apt."""
    assert quick.inside(berth, "systemctl", "is-system-running") == "running"
    assert quick.inside(berth, "systemctl", "--failed", "--no-legend") == ""
    assert quick.inside(berth, "systemd-detect-virt", "--container") != "none"

    quick.shell(berth, "logger -t harbour the ship is in; journalctl --sync")
    assert "the ship is in" in quick.inside(berth, "journalctl", "-b", "-t", "harbour", "-o", "cat")
    assert "Startup finished" in quick.inside(berth, "journalctl", "-b", "_PID=1", "--no-pager")

    quick.shell(berth, "systemctl stop dbus.socket dbus; systemctl start dbus; systemctl is-active dbus")
    quick.wait_for(lambda: (berth("run", "quay", "--", "test", "-e", "/run/ticked").returncode == 0) or None)
    assert "systemd-tmpfiles-clean.timer" in quick.inside(berth, "systemctl", "list-timers", "--no-pager")
    group = quick.inside(berth, "systemd-run", "--wait", "--pipe", "-q", "cat", "/proc/self/cgroup")
    assert "0::/system.slice/run-" in group


@ONLY_SYSTEMD
def test_users_sessions_and_sudo_work_under_systemd(berth: Berth, systemd: Path) -> None:
    quick.shell(berth, "useradd -m -s /bin/bash ann && echo 'ann ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/ann")

    assert berth.succeed("run", "-u", "ann", "quay", "--", "id", "-un") == "ann\n"
    by_sudo = berth("run", "-u", "ann", "quay", "--", "sudo", "-n", "id", "-un")
    assert (by_sudo.stdout, by_sudo.stderr) == ("root\n", "")  # not even that the host's name can't be resolved
    assert quick.inside(berth, "su", "-", "ann", "-c", "id -un; pwd", name="quay") == "ann\n/home/ann"
    assert berth.succeed("enter", "quay", "ann", stdin="whoami; echo $HOME $SHELL\n") == "ann\n/home/ann /bin/bash\n"
    # A login is a session of logind's, with a service manager of its own.
    quick.shell(berth, "loginctl enable-linger ann")
    quick.wait_for(lambda: "ann" in quick.inside(berth, "loginctl", "list-users", "--no-legend") or None)
    running = "systemctl is-active user@$(id -u ann).service"
    quick.wait_for(lambda: berth("run", "quay", "--", "/bin/sh", "-c", running).returncode == 0 or None)


@ONLY_SYSTEMD
def test_apt_installs_a_package_with_its_service(berth: Berth, systemd: Path, scratch: Path) -> None:
    tree = scratch / "buoy"
    executable(tree / "usr/bin/buoy", "#!/bin/sh\necho floats\n")
    executable(tree / "DEBIAN/postinst", "#!/bin/sh\nset -e\nsystemctl daemon-reload\nsystemctl start buoy\n")
    (tree / "DEBIAN/control").write_text(
        "Package: buoy\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b.c>\nDepends: dbus\nDescription: floats\n"
    )
    (tree / "lib/systemd/system").mkdir(parents=True)
    service = "[Service]\nType=oneshot\nRemainAfterExit=yes\nPrivateTmp=yes\nProtectSystem=strict\nExecStart=buoy\n"
    (tree / "lib/systemd/system/buoy.service").write_text(service)
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tree, systemd / "root/buoy.deb"], check=True)

    installed = quick.shell(berth, "apt-get install -y /root/buoy.deb 2>&1")

    assert "Setting up buoy" in installed
    assert quick.inside(berth, "buoy") == "floats"
    assert quick.inside(berth, "systemctl", "is-active", "buoy") == "active"
    quick.inside(berth, "apt-get", "remove", "-y", "buoy")


@ONLY_SYSTEMD
def test_a_user_logs_in_on_the_console(berth: Berth, systemd: Path) -> None:
    """The getty that systemd puts on /dev/console, through login, to the shell of a session."""
    quick.wait_for(lambda: "login:" in berth.succeed("logs", "quay") or None)

    command, *words = berth.command
    console = pexpect.spawn(command, [*words, "console", "quay"], env=berth.environment, timeout=faults.SECONDS)
    console.expect("login: ")
    console.send("root\r")
    console.expect("# ")
    console.send("tty; loginctl --no-legend list-sessions | cat\r")
    console.expect("/dev/console")
    console.expect("root")
    console.send("\x1d")
    console.expect(pexpect.EOF)


def test_debian_with_systemd_boots_from_an_image_and_reboots_without_mounting_it_anew(
    berth: Berth, image: Factory
) -> None:
    berth.succeed("start", IMAGE, "--rootfs-img", image("debian-systemd"))
    assert quick.booted(berth, IMAGE) == "running"
    before = quick.info(berth, IMAGE)
    mounted = Path(f"/proc/{before['monitor_pid']}/mountinfo").read_text()
    quick.shell(berth, "echo kept > /root/kept", IMAGE)

    berth("run", IMAGE, "--", "systemctl", "reboot")
    quick.wait_for(lambda: quick.info(berth, IMAGE)["pid"] not in (before["pid"], None) or None)

    assert quick.booted(berth, IMAGE) == "running"
    assert quick.inside(berth, "systemctl", "--failed", "--no-legend", name=IMAGE) == ""
    assert Path(f"/proc/{before['monitor_pid']}/mountinfo").read_text() == mounted
    assert quick.inside(berth, "cat", "/root/kept", name=IMAGE) == "kept"
    berth("run", IMAGE, "--", "poweroff")
    quick.wait_for(lambda: quick.info(berth, IMAGE)["state"] == "stopped" or None)


@ONLY_SYSTEMD
def test_a_script_that_becomes_systemd_is_asked_as_systemd_is(berth: Berth, root: Path) -> None:
    init = quick.write_init(root, "/sbin/stage-2", "#!/bin/sh\nexec /usr/lib/systemd/systemd\n")
    berth.succeed("start", "quay", "--rootfs", root, "--init", init)
    quick.booted(berth)

    berth.succeed("stop", "quay", "--timeout", str(STOP_SECONDS), seconds=2 * STOP_SECONDS)

    assert (root / FAREWELL).read_text() == "orderly\n"
