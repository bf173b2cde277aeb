"""The module's scripts, by the shells that root managers and Android run them with, in a module of the test's own."""

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import build
from tests import faults
from tests.conftest import Factory
from tests.program import Berth

pytestmark = pytest.mark.system

SCRIPTS = ("service.sh", "post-fs-data.sh", "action.sh", "uninstall.sh")
PROP = "id=berth\ndescription=Linux in containers\n"
TRY_AGAIN = ("safe-mode", "--again")
ONE_TAP = ("api", "PUT", "/api/v1/settings", base64.b64encode(b'{"safe_mode": false}').decode())
"""What the dashboard asks for when its button is pressed."""
SHELLS = {"ash": ("busybox", "ash"), "mksh": ("mksh",)}


class Module:
    """A module folder as it lies on a phone, with this checkout for its program."""

    def __init__(self, folder: Path, shell: tuple[str, ...], berth: Berth) -> None:
        self.folder = folder
        self.shell = shell
        self.berth = berth
        self.system = folder.parent / "system"
        self.environment = {**berth.environment, "ANDROID_ROOT": str(self.system)}
        for name in SCRIPTS:
            shutil.copy(build.ROOT / name, folder / name)
        (folder / "module.prop").write_text(PROP)
        words = " ".join(f"'{word}'" for word in berth.command)
        self.write("bin/berth", f'exec {words} "$@"')
        self.write("runtime/bin/python3", "exit 1")

    def write(self, path: str, script: str) -> Path:
        """Write a program into the module, or over one."""
        return write_program(self.folder / path, script)

    def start(self, script: str) -> "subprocess.Popen[str]":
        """Start a script as a manager does: by its whole path, in a process group of its own."""
        command = [*self.shell, str(self.folder / script)]
        return subprocess.Popen(
            command,
            cwd="/",
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    @contextlib.contextmanager
    def serving(self) -> Iterator["subprocess.Popen[str]"]:
        """Run service.sh and wait until the service answers; a test that fails ends both."""
        with self.start("service.sh") as script:
            try:
                faults.wait_until(self.serves, "the service answers")
                yield script
            except BaseException:
                script.kill()
                raise

    def run(self, script: str) -> tuple[int, str]:
        """Run a script to its end; return its exit code and what it said."""
        with self.start(script) as process:
            said = process.communicate(timeout=faults.SECONDS)[0]
        return process.returncode, said

    @property
    def pid(self) -> int:
        """The service's pid, 0 while there is none."""
        lock = self.berth.home / "run" / "supervisor.lock"
        number = int(lock.read_text() or 0) if lock.exists() else 0
        return number if number and faults.is_alive(number) else 0

    def serves(self) -> bool:
        return bool(json.loads(self.berth.succeed("info", "--json"))["service"])

    @property
    def log(self) -> str:
        return (self.berth.home / "service.log").read_text()

    @property
    def prop(self) -> str:
        return (self.folder / "module.prop").read_text()


def write_program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture(params=list(SHELLS.values()), ids=list(SHELLS))
def module(request: pytest.FixtureRequest, scratch: Path, berth: Berth) -> Iterator[Module]:
    folder = scratch / "modules" / "berth"
    folder.mkdir(parents=True)
    module = Module(folder, request.param, berth)
    yield module
    pid = module.pid
    if pid:
        with contextlib.suppress(ProcessLookupError):  # a test may have ended it just now
            os.kill(pid, signal.SIGTERM)
        faults.wait_until(lambda: not module.pid, "the service has ended")
    for name in ("service.log", "safe-mode.json", "safe", "delete-data-on-uninstall"):
        (berth.home / name).unlink(missing_ok=True)


def test_a_service_that_is_killed_comes_back_and_one_that_is_asked_to_end_does_not(module: Module) -> None:
    with module.serving() as script:
        killed = module.pid
        assert Path(f"/proc/{killed}/oom_score_adj").read_text() in ("-1000\n", "0\n")  # 0: this machine forbids it

        os.kill(killed, signal.SIGKILL)
        faults.wait_until(lambda: module.pid not in (0, killed), "it has come back")
        faults.wait_until(module.serves, "it answers again")
        assert "the service died (code 137); it comes back in 1 s" in module.log

        os.kill(module.pid, signal.SIGTERM)
        assert script.wait(faults.SECONDS) == 0
    assert module.prop == PROP


def test_five_quick_deaths_end_in_the_description_and_the_next_boot_begins_anew(module: Module) -> None:
    module.write("bin/berth", "exit 1")
    pauses = module.folder / "pauses"
    module.environment["PATH"] = f"{module.write('programs/sleep', f'echo $1 >>{pauses}').parent}:{os.environ['PATH']}"
    began = time.monotonic()

    assert module.run("service.sh")[0] == 1

    slept = time.monotonic() - began > 1 + 2 + 4 + 8  # as BusyBox' shell does by itself
    assert slept or pauses.read_text() == "1\n2\n4\n8\n"
    assert module.log.count("it comes back in") == 4
    assert f"description=[The service died 5 times in a row and was stopped; see {module.berth.home}" in module.prop

    module.write("bin/berth", "exit 0")
    assert module.run("service.sh")[0] == 0
    assert module.prop == PROP


def test_beside_another_service_the_script_ends_at_once(module: Module) -> None:
    module.berth.succeed("serve", "--background")
    faults.wait_until(module.serves, "the other one answers")
    said = PROP.replace("Linux", "[Safe mode: it says why] Linux")
    (module.folder / "module.prop").write_text(said)

    assert module.run("service.sh")[0] == 0
    assert module.serves()
    assert module.prop == said


@pytest.mark.parametrize("again", [TRY_AGAIN, ONE_TAP], ids=["command", "dashboard"])
def test_safe_mode_shows_in_the_description_and_one_command_or_tap_ends_it(
    module: Module, rootfs: Factory, again: tuple[str, ...]
) -> None:
    root = faults.write_init(rootfs("busybox"))
    berth = module.berth
    berth.succeed("start", "phone-box", "--rootfs", root, "--autostart")
    berth.succeed("stop", "phone-box")
    faults.date_stop_back(berth, "phone-box")
    markers = berth.home / "starting"
    markers.mkdir(exist_ok=True)
    (markers / "phone-box").write_text("an earlier boot\n")
    (berth.home / "safe-mode.json").unlink(missing_ok=True)
    with module.serving() as script:
        faults.wait_until(lambda: "does not start by itself" in module.log, "it says what it keeps back")
        assert "description=[Safe mode: not started by itself" in module.prop
        assert "phone-box, because the phone went down" in berth.succeed("info")
        assert faults.condition(berth, "phone-box") == "stopped"

        berth.succeed(*again)

        assert module.prop == PROP
        faults.wait_until(lambda: faults.condition(berth, "phone-box") == "running", "it is tried again")
        assert berth.succeed("safe-mode") == "nothing is kept from starting by itself\n"
        assert [path.name for path in markers.iterdir()] == ["phone-box"]
        berth.succeed("stop", "phone-box")
        faults.wait_until(lambda: not list(markers.iterdir()), "an orderly stop takes the marker away")
        os.kill(module.pid, signal.SIGTERM)
        assert script.wait(faults.SECONDS) == 0


def test_a_right_label_is_left_alone(module: Module) -> None:
    write_program(module.system / "bin/ls", 'echo "u:object_r:system_file:s0 $2"')
    write_program(module.system / "bin/chcon", f"touch {module.folder}/relabelled")

    assert module.run("post-fs-data.sh") == (0, "")
    assert not (module.folder / "relabelled").exists()


def test_a_wrong_label_is_set_again_on_the_whole_module(module: Module) -> None:
    write_program(module.system / "bin/ls", 'echo "u:object_r:adb_data_file:s0 $2"')
    write_program(module.system / "bin/chcon", f'echo "$*" >{module.folder}/relabelled')
    (module.berth.home / "service.log").touch()

    assert module.run("post-fs-data.sh") == (0, "")
    assert (module.folder / "relabelled").read_text() == f"-R u:object_r:system_file:s0 {module.folder}\n"
    assert "are set again" in module.log


def test_a_broken_runtime_or_a_hanging_tool_does_not_hold_up_the_boot(module: Module) -> None:
    (module.berth.home / "service.log").touch()
    write_program(module.system / "bin/chcon", "exec sleep 100")
    began = time.monotonic()
    assert module.run("post-fs-data.sh") == (0, "")
    assert time.monotonic() - began < 9  # the shorter of the managers' limits is 10 s
    assert "could not be set" in module.log

    shutil.rmtree(module.folder / "runtime")
    assert module.run("post-fs-data.sh") == (0, "")
    assert "python3 is missing; install the module again" in module.log


def test_the_button_starts_the_service_and_tells_how_things_are(module: Module) -> None:
    code, said = module.run("action.sh")

    assert code == 0
    assert said.startswith("The service is down; starting it.\n")
    assert "service: runs" in said
    assert f"{module.folder}/bin/berth demo\n" in said
    assert "#ticket=" in said  # a browser of Android's would have been opened instead
    assert "starting it" not in module.run("action.sh")[1]
    os.kill(module.pid, signal.SIGTERM)


def test_uninstalling_stops_everything_and_keeps_the_data(module: Module, rootfs: Factory) -> None:
    root = faults.write_init(rootfs("busybox"))
    files = faults.tree(root)
    with module.serving() as script:
        module.berth.succeed("start", "phone-box", "--rootfs", root)

        assert module.run("uninstall.sh") == (0, "phone-box: stopped\nthere is nothing to recover\n")

        assert script.wait(faults.SECONDS) == 0
    assert not module.pid
    assert (module.berth.home / "containers" / "phone-box" / "container.toml").exists()
    assert faults.tree(root) == files


def test_data_is_deleted_when_the_user_asked_but_never_through_a_live_mount(module: Module, scratch: Path) -> None:
    home, precious = module.berth.home, scratch / "precious"
    place = home / "containers" / "box" / "rootfs" / "mnt"
    precious.mkdir()
    (precious / "photo").touch()
    place.mkdir(parents=True)
    (home / "delete-data-on-uninstall").touch()
    subprocess.run(["mount", "--bind", precious, place], check=True)
    try:
        code, said = module.run("uninstall.sh")
        assert code == 0
        assert f"{place} is still mounted, so {home} was not deleted" in said
        assert (precious / "photo").exists()
    finally:
        subprocess.run(["umount", place], check=True)

    module.run("uninstall.sh")

    assert not home.exists()
    assert (precious / "photo").exists()
    home.mkdir()
