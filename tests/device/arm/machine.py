"""The machines: made of a kernel package and the module's own files, booted, and asked as the virtual phone is."""

import contextlib
import hashlib
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.device.cpio import append_tree
from tests.device.machine import emulator
from tests.device.packages import copy_modules, depends_on, release, unpack
from tests.device.parts import CACHE, cached
from tests.device.phone.machine import Shell
from tests.flashing import product
from tests.flashing.bare import MODULE, STEPS

SUITE = "trixie"  # 6.12: Debian 12's 6.1 has no guard over mounts
MODULES = ("overlay", "loop", "ext4")
INIT = Path(__file__).with_name("init")
AGENT = Path(__file__).resolve().parents[1] / "phone/guest/system/etc/bench/agent"
ZIP: Final = "data/berth.zip"
ABIS: Final = ("arm64-v8a", "armeabi-v7a")
MEMORY = 1024  # MiB


class Board(NamedTuple):
    """A processor with the kernel that runs on it, and the runtime `abi` in the module."""

    name: str
    abi: str
    machine: str  # as uname says it
    architecture: str  # of the kernel's package
    kernel: str
    emulator: tuple[str, ...]


_64_BIT: Final = ("qemu-system-aarch64", "-machine", "virt", "-cpu", "cortex-a76")
ARM64: Final = Board("arm64", "arm64-v8a", "aarch64", "arm64", "linux-image-arm64", _64_BIT)
# What most phones with a 32-bit Android are: their processor and kernel have 64 bits.
COMPAT: Final = ARM64._replace(name="compat", abi="armeabi-v7a")
ARM: Final = Board(
    *("arm", "armeabi-v7a", "armv7l", "armhf", "linux-image-armmp"),
    # A kernel without LPAE reaches nothing above 4 GiB.
    ("qemu-system-arm", "-machine", "virt,highmem=off", "-cpu", "cortex-a15"),
)
BOARDS: Final = (ARM64, COMPAT, ARM)


@contextlib.contextmanager
def booted(board: Board) -> Iterator[Shell]:
    """Boot the machine `board`, with the module in its place; raises NoAnswer, and NotThere without its release."""
    kernel = cached(CACHE / board.architecture, _digest(board), lambda work, made: _make(board, work, made))
    with tempfile.TemporaryDirectory(prefix="berth-arm-") as name:
        folder = Path(name)
        initramfs, console = folder / "initramfs", folder / "console"
        _write_initramfs(board, kernel / "modules", folder / "tree", initramfs)
        channel, channel_end = socket.socketpair()
        command = _command(board, kernel / "kernel", initramfs, console, channel_end.fileno())
        with channel, emulator(command, console, channel_end):
            machine = Shell(channel, console)
            machine.wait_for_agent()
            yield machine


def _digest(board: Board) -> str:
    return hashlib.sha256(repr((SUITE, board.kernel, MODULES)).encode()).hexdigest()[:12]


def _make(board: Board, work: Path, made: Path) -> None:
    apt = release(CACHE.parent / "apt", SUITE, board.architecture)
    image = work / "image"
    unpack(work, (depends_on(board.kernel, apt),), image, apt)
    made.mkdir()
    copy_modules(image, made / "modules", MODULES)
    next(image.glob("boot/vmlinuz-*")).rename(made / "kernel")


def _write_initramfs(board: Board, modules: Path, tree: Path, target: Path) -> None:
    files = product.tree(board.abi)
    (tree / "bin").mkdir(parents=True)
    (tree / "data/local/tmp").mkdir(parents=True)
    shutil.copy(files / "runtime/bin/busybox", tree / "bin/busybox")
    shutil.copy(INIT, tree / "init")
    shutil.copy(AGENT, tree / "agent")
    shutil.copy(product.zip_file(*ABIS), tree / ZIP)
    shutil.copy(STEPS, tree / "data/manager.sh")
    with target.open("wb") as archive:
        append_tree(archive, tree)
        append_tree(archive, modules, "modules")
        append_tree(archive, files, MODULE.removeprefix("/"))


def _command(board: Board, kernel: Path, initramfs: Path, console: Path, channel: int) -> list[str]:
    return [
        *board.emulator,
        *("-accel", "tcg"),
        *("-smp", "1"),  # see PROCESSORS: and 32-bit ARM with two does not come up when one thread is both
        *("-m", str(MEMORY)),
        *("-nodefaults", "-display", "none", "-no-reboot"),
        *("-kernel", str(kernel)),
        *("-initrd", str(initramfs)),
        *("-append", "console=ttyAMA0 quiet panic=-1 mitigations=off"),
        *("-chardev", f"file,id=console,path={console},append=on", "-serial", "chardev:console"),
        *("-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,fd={channel}"),
        *("-device", "virtserialport,chardev=agent"),
    ]
