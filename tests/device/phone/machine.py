"""The running phone: asked as root asks, rebooted, cut off from power, and put back to what it was at some moment."""

import base64
import contextlib
import shlex
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from tests.device.machine import PROCESSORS, Done, Machine, NoAnswer, emulator, patience
from tests.device.phone.system import Kernel, System, system

BOOT_SECONDS = 240.0  # 10 to 15 on an idle machine
RESTORE_SECONDS = 60.0
PROMPT = b"(qemu) "
MEMORY = 1024  # MiB
BERTH = "/data/adb/modules/berth/bin/berth"
HOME = "/data/adb/berth"


ADDRESS = "10.0.2.15"
INTERNET = "10.0.2.100"
"""Says GREETING to whoever connects to its port 80."""
GREETING = "this is the internet"


class Configuration(NamedTuple):
    """A kind of phone: its root manager, how its Android lays out cgroups, and its kernel."""

    manager: Literal["magisk", "ksu"]
    cgroups: Literal["a9", "a11", "a12", "v2"]
    kernel: Kernel

    @property
    def app_group(self) -> str:
        """The cgroup of an app, with which its Android ends it (AOSP's libprocessgroup)."""
        return "/acct/uid_10123" if self.cgroups in ("a9", "a11") else "/sys/fs/cgroup/uid_10123"


class Shell(Machine):
    """A machine on which the module lies in its place, asked over the agent that is a shell script."""

    def sh(self, script: str, seconds: float = 120.0) -> Done:
        """Run a shell script and return how it ended; raises NoAnswer."""
        encoded = base64.b64encode(script.encode())
        allowed = patience(seconds)
        self._channel.sendall(b"%d %s\n" % (allowed, encoded))
        code, out, err = self._receive_line(allowed + 30.0, script).split(b" ")
        return Done(int(code), *(base64.b64decode(text[1:]).decode(errors="backslashreplace") for text in (out, err)))

    def start(self, *argv: str) -> None:
        """Begin to run a program and wait for nothing: it ends the phone."""
        self._channel.sendall(b"60 " + base64.b64encode(shlex.join(argv).encode()) + b"\n")

    def run(self, *argv: str, seconds: float = 120.0) -> Done:
        return self.sh(shlex.join(argv), seconds)

    def berth(self, *words: str) -> str:
        return self.output(BERTH, *words)

    def inside(self, name: str, *argv: str) -> Done:
        return self.run(BERTH, "run", name, "--", *argv)

    def wait_for_agent(self) -> None:
        while self._receive_line(patience(BOOT_SECONDS), "its boot") != b"ready":
            pass


class Phone(Shell):
    """A virtual phone; whatever it is asked is done by mksh as root in the root manager's domain."""

    def __init__(
        self, configuration: Configuration, channel: socket.socket, monitor: socket.socket, console: Path
    ) -> None:
        super().__init__(channel, console)
        self.configuration = configuration
        self._monitor = monitor
        self._monitor_said(PROMPT)

    def property(self, name: str) -> str:
        """Return the value of a property of Android's."""
        return self.output("getprop", name)

    def wait_until(self, condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
        """Wait until `condition` holds; raises NoAnswer, naming `what`, when it does not within `seconds`."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > patience(seconds):
                log = self.sh(f"tail -n 20 {HOME}/service.log; dmesg | tail -n 20").out
                raise NoAnswer(f"not within {seconds:g} s: {what}; what the phone says:\n{log}")
            time.sleep(0.2)

    def wait_for_boot(self) -> None:
        """Return when Android has booted; raises NoAnswer."""
        self.wait_for_agent()
        self.wait_until(lambda: self.property("sys.boot_completed") == "1", "the boot is completed")

    def flash(self, path: str) -> str:
        """Install the zip at `path` as the root manager does and return what that said; it comes in with a reboot."""
        return self.script("/system/etc/bench/flash", path)

    def script(self, *words: str) -> str:
        """Run a shell script as the root manager does, by its own shell; return what it said, it must succeed."""
        done = self.sh(f'"$BUSYBOX" sh {shlex.join(words)} 2>&1', seconds=300.0)
        assert done.code == 0, f"{' '.join(words)} ended with {done.code}:\n{done.out}"
        return done.out

    def reboot(self) -> None:
        """Start the phone anew as its user does, and return when it has booted."""
        self.output("sh", "-c", "echo reboot,userrequested >/data/property/boot.reason && sync")
        self.reset()

    def reset(self) -> None:
        """Cut the phone off from power, and return when it has booted again."""
        self._received = b""
        self._command("system_reset")
        self.wait_for_boot()

    def forward(self, port: int) -> int:
        """Have a port of 127.0.0.1 here lead to `port` of the phone's Wi-Fi address, and return it."""
        self._command(f"hostfwd_add tcp:127.0.0.1:0-{ADDRESS}:{port}")
        for line in self._command("info usernet").splitlines():
            match line.split():
                case ["TCP[HOST_FORWARD]", _, "127.0.0.1", here, _, there, *_] if there == str(port):
                    return int(here)
        raise NoAnswer(f"the emulator leads no port to {port}")

    def save(self, moment: str) -> None:
        """Remember memory and disks as they are now, under the name `moment`."""
        self._command(f"savevm {moment}")

    def restore(self, moment: str) -> None:
        """Put memory and disks back to what they were at `moment`."""
        self._command(f"loadvm {moment}")
        self._received = b""

    def _command(self, words: str) -> str:
        self._monitor.sendall(words.encode() + b"\n")
        said = self._monitor_said(PROMPT).decode(errors="replace")
        if "Error" in said:
            raise NoAnswer(f"the emulator refuses {words}: {said}")
        return said

    def _monitor_said(self, mark: bytes) -> bytes:
        self._monitor.settimeout(patience(RESTORE_SECONDS))
        said = b""
        while mark not in said:
            data = self._monitor.recv(65536)
            if not data:
                raise NoAnswer(f"the emulator has ended; the end of its console:\n{self.console}")
            said += data
        return said


class Body(NamedTuple):
    """A phone that is switched off: its disks, in `folder`, and what it boots from."""

    configuration: Configuration
    parts: System
    folder: Path

    @contextlib.contextmanager
    def powered(self) -> Iterator[Phone]:
        """Boot it; in the end it loses power at once.  Raises NoAnswer when it does not boot."""
        channel, channel_end = socket.socketpair()
        monitor, monitor_end = socket.socketpair()
        console = self.folder / "console"
        command = _command(self, channel_end.fileno(), monitor_end.fileno())
        with channel, monitor, emulator(command, console, channel_end, monitor_end):
            phone = Phone(self.configuration, channel, monitor, console)
            phone.wait_for_boot()
            yield phone


@contextlib.contextmanager
def built(configuration: Configuration, parcel: Path) -> Iterator[Body]:
    """Make a phone with an empty /data; the files in the folder `parcel` are at /mnt/parcel.

    Raises NotThere when its kernel can't be had any more.
    """
    parts = system(configuration.kernel)
    with tempfile.TemporaryDirectory(prefix="berth-phone-") as name:
        folder = Path(name)
        _pack(parcel, folder / "parcel")
        data = ("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", parts.data, folder / "data")
        subprocess.run(data, check=True)
        yield Body(configuration, parts, folder)


def _pack(parcel: Path, target: Path) -> None:
    size = sum(path.lstat().st_blocks * 512 for path in parcel.rglob("*")) + (16 << 20)
    command: list[str | Path] = ["mke2fs", "-q", "-F", "-t", "ext4", "-d", parcel, target, f"{size * 5 // 4096}k"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _command(body: Body, channel: int, monitor: int) -> list[str]:
    configuration, parts, folder = body
    kernel_arguments = (
        *("console=ttyS0", "quiet", "panic=1", "mitigations=off", "random.trust_cpu=on", "no_timer_check"),
        *("security=selinux", "selinux=1", "enforcing=0"),
        *(f"bench.manager={configuration.manager}", f"bench.cgroups={configuration.cgroups}"),
    )
    return [
        "qemu-system-x86_64",
        *PROCESSORS,
        *("-cpu", "max"),
        *("-m", str(MEMORY)),
        *("-nodefaults", "-display", "none"),
        *("-kernel", str(parts.kernel)),
        *("-initrd", str(parts.ramdisk)),
        *("-append", " ".join(kernel_arguments)),
        *("-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor"),
        *("-chardev", f"file,id=console,path={folder}/console,append=on", "-serial", "chardev:console"),
        *("-device", "virtio-serial", "-chardev", f"socket,id=agent,fd={channel}"),
        *("-device", "virtserialport,chardev=agent"),
        *("-netdev", f"user,id=wifi,ipv6=off,restrict=on,guestfwd=tcp:{INTERNET}:80-cmd:echo {GREETING}"),
        *("-device", "virtio-net-pci,netdev=wifi,romfile="),
        *("-acpitable", f"file={parts.power}"),
        *("-drive", f"if=virtio,format=raw,readonly=on,file={parts.system}"),
        *("-drive", f"if=virtio,format=qcow2,cache=unsafe,file={folder}/data"),  # what was not flushed is lost with it
        *("-drive", f"if=virtio,format=raw,readonly=on,file={folder}/parcel"),
    ]
