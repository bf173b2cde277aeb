"""ARM processors and real kernels for them: the module's own Python starts the service and a container.

With 64 bits, with 32, and the program of 32 bits on the kernel of 64.
"""

import json
from collections.abc import Iterator

import pytest

import build
from packing.abi import ABIS
from tests.device.arm.machine import ARM, BOARDS, ZIP, Board, booted
from tests.device.phone.machine import HOME, Shell
from tests.flashing.bare import MAGISK, MODULE, UPDATE

pytestmark = [pytest.mark.device, pytest.mark.full, pytest.mark.timeout(1800)]

ROOT = "/data/local/box"
ARCH = {"arm64-v8a": "arm64", "armeabi-v7a": "arm"}  # as managers tell it
MAKE_ROOT = f"""
import sys
sys.path.insert(0, "{MODULE}/pyapp")
from pathlib import Path
from demo.busybox import make_rootfs
make_rootfs(Path("{ROOT}"))
"""


@pytest.fixture(scope="module", params=BOARDS, ids=lambda board: board.name)
def board(request: pytest.FixtureRequest) -> Board:
    """Each of them."""
    chosen: Board = request.param
    return chosen


@pytest.fixture(scope="module")
def vm(board: Board) -> Iterator[Shell]:
    """The service runs, and so does a container."""
    with booted(board) as machine:
        machine.berth("serve", "--background")
        machine.output(f"{MODULE}/runtime/bin/python3", "-IS", "-c", MAKE_ROOT)
        machine.berth("start", "--name", "box", "--rootfs", ROOT, "--block-nested-namespaces")
        yield machine


def test_the_processor_and_the_kernel_are_real(vm: Shell, board: Board) -> None:
    release, machine = vm.output("uname", "-rm").split()
    assert machine == board.machine
    assert tuple(map(int, release.split(".")[:2])) >= (6, 6), "older ones have no guard over mounts"


def test_of_a_zip_for_both_processors_the_right_runtime_is_installed(vm: Shell, board: Board) -> None:
    told = {**MAGISK.environment, "ARCH": ARCH[board.abi], "API": "34", "ASH_STANDALONE": "1"}
    told |= {"ZIPFILE": f"/{ZIP}", "MODPATH": UPDATE}
    words = [f"{name}={value}" for name, value in told.items()]

    shown = vm.output("env", *words, "sh", "/data/manager.sh", seconds=300)

    assert f"- Processor {board.abi}\n" in shown
    assert f"- berth {build.program_version()} runs here\n" in shown
    assert vm.sh(f"cd {UPDATE}/runtime/lib && ls -d ld-linux*").out == f"{ABIS[board.abi].loader}\n"


def test_the_container_runs(vm: Shell, board: Board) -> None:
    told = json.loads(vm.berth("info", "box", "--json"))
    assert told["state"] == "running"
    assert vm.inside("box", "uname", "-m").out == f"{board.machine}\n"
    assert vm.read(f"/proc/{told['pid']}/cgroup") == "0::/berth/box/payload"


def test_the_check_finds_what_the_kernel_has(vm: Shell) -> None:
    found = {line[8:].partition(":")[0] for line in vm.berth("check").splitlines() if line.startswith("ok ")}
    assert {"system call filters (seccomp)", "loop devices", "ext4", "overlayfs", "32-bit programs"} <= found
    assert {"pidfds", "openat2", "close_range", "birth in a cgroup (clone3)"} <= found


def test_the_deadlock_shield_holds(vm: Shell) -> None:
    assert "Operation not permitted" in vm.inside("box", "unshare", "-m", "true").err


def test_the_guard_makes_mounts_for_the_container_and_refuses_what_is_the_hosts(vm: Shell, board: Board) -> None:
    guarded = board is not ARM  # a 32-bit kernel has no guard
    assert ("the monitor decides" in vm.berth("plan", "box")) == guarded
    made = "mount -t proc proc /mnt && cat /mnt/1/comm && umount /mnt && mount -t tmpfs none /mnt && touch /mnt/file"
    assert vm.inside("box", "sh", "-c", made).out == "init\n", "made by a program of a few arm64 instructions"
    if guarded:
        refused = vm.inside("box", "mount", "-t", "devtmpfs", "none", "/tmp")
        assert refused.code != 0
        assert "ermission denied" in refused.err, "what mount says of EPERM"


def test_the_dashboards_port_answers(vm: Shell) -> None:
    script = f"until [ -s {HOME}/run/web.json ]; do sleep 0.2; done; wget -S -O - http://127.0.0.1:7575/api/v1/host"
    assert "401" in vm.sh(script).err


def test_a_stopped_container_leaves_nothing(vm: Shell) -> None:
    vm.berth("stop", "box")
    assert vm.sh("grep box /proc/mounts; ls -d /sys/fs/cgroup/berth/box").out == ""
    assert vm.berth("recover") == "there is nothing to recover"
