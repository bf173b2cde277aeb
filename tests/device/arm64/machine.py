"""The machine: made of a kernel package and the module's own files, booted, and asked as the virtual phone is."""

import contextlib
import hashlib
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.device.cpio import append_tree
from tests.device.machine import PROCESSORS, emulator
from tests.device.packages import copy_modules, depends_on, release, unpack
from tests.device.parts import CACHE, cached
from tests.device.phone.machine import Shell
from tests.flashing import product
from tests.flashing.bare import MODULE

ABI = "arm64-v8a"
SUITE = "trixie"  # 6.12: Debian 12's 6.1 has no guard over mounts
KERNEL = "linux-image-arm64"
MODULES = ("overlay", "loop", "ext4")
INIT = Path(__file__).with_name("init")
AGENT = Path(__file__).resolve().parents[1] / "phone/guest/system/etc/bench/agent"
MEMORY = 1024  # MiB


@contextlib.contextmanager
def booted() -> Iterator[Shell]:
    """Boot the machine, with the module in its place; raises NoAnswer, and NotThere without its release."""
    kernel = cached(CACHE / "arm64", _digest(), _make)
    with tempfile.TemporaryDirectory(prefix="berth-arm64-") as name:
        folder = Path(name)
        initramfs, console = folder / "initramfs", folder / "console"
        _write_initramfs(kernel / "modules", folder / "tree", initramfs)
        channel, channel_end = socket.socketpair()
        command = _command(kernel / "kernel", initramfs, console, channel_end.fileno())
        with channel, emulator(command, console, channel_end):
            machine = Shell(channel, console)
            machine.wait_for_agent()
            yield machine


def _digest() -> str:
    return hashlib.sha256(repr((SUITE, KERNEL, MODULES)).encode()).hexdigest()[:12]


def _make(work: Path, made: Path) -> None:
    apt = release(CACHE.parent / "apt", SUITE, "arm64")
    image = work / "image"
    unpack(work, (depends_on(KERNEL, apt),), image, apt)
    made.mkdir()
    copy_modules(image, made / "modules", MODULES)
    next(image.glob("boot/vmlinuz-*")).rename(made / "kernel")


def _write_initramfs(modules: Path, tree: Path, target: Path) -> None:
    files = product.tree(ABI)
    (tree / "bin").mkdir(parents=True)
    (tree / "data/local/tmp").mkdir(parents=True)
    shutil.copy(files / "runtime/bin/busybox", tree / "bin/busybox")
    shutil.copy(INIT, tree / "init")
    shutil.copy(AGENT, tree / "agent")
    with target.open("wb") as archive:
        append_tree(archive, tree)
        append_tree(archive, modules, "modules")
        append_tree(archive, files, MODULE.removeprefix("/"))


def _command(kernel: Path, initramfs: Path, console: Path, channel: int) -> list[str]:
    return [
        "qemu-system-aarch64",
        *("-machine", "virt"),
        *PROCESSORS,
        *("-cpu", "cortex-a76"),
        *("-m", str(MEMORY)),
        *("-nodefaults", "-display", "none", "-no-reboot"),
        *("-kernel", str(kernel)),
        *("-initrd", str(initramfs)),
        *("-append", "console=ttyAMA0 quiet panic=-1 mitigations=off"),
        *("-chardev", f"file,id=console,path={console},append=on", "-serial", "chardev:console"),
        *("-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,fd={channel}"),
        *("-device", "virtserialport,chardev=agent"),
    ]
