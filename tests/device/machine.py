"""A virtual machine for what the kernel of the machine that runs the tests lacks: booted, asked, ended.

The processor is emulated (TCG), for there may be no KVM or one that does not work.  Commands go to an agent inside over
a virtio port; the serial console is kept, and shown when something does not answer.
"""

import contextlib
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.device import parts

MEMORY = 1024  # MiB
# Two processors, carried out in turn by one thread: with a thread each, QEMU 7.2 may go on with what it made of code
# that the other has changed since.  Linux changes its own, as when a BPF program is attached, and then stands still.
PROCESSORS = ("-accel", "tcg,thread=single", "-smp", "2")
BOOT_SECONDS = 180.0  # 5 to 10 on an idle machine
LEFTOVERS_GO = 30.0  # seconds: what a `stop` is followed by (the next spare worker) is slow on an emulated processor
CROWD = """
(for i in $(seq 40); do sleep 1000 & echo $!; done) >/tmp/crowd
while read pid; do kill $pid; done </tmp/crowd
"""
"""Has forty processes at once, if it may, and ends them."""

SERVICE_AT_REST = ["berth: service", "berth: spare", "berth: zygote"]


def patience(seconds: float) -> float:
    """Return how long to wait for what takes up to `seconds` where nothing else runs: longer on a busy machine."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


class Done(NamedTuple):
    """How a program in the machine ended."""

    code: int
    out: str
    err: str


class NoAnswer(Exception):
    """The machine did not start or did not answer; the text has the end of its console."""


class Machine:
    """A running virtual machine."""

    def __init__(self, channel: socket.socket, console: Path) -> None:
        self._channel = channel
        self._console = console
        self._received = b""

    def run(self, *argv: str, seconds: float = 120.0) -> Done:
        """Run a program in the machine and return how it ended; raises NoAnswer."""
        allowed = patience(seconds)
        self._channel.sendall(json.dumps({"argv": argv, "seconds": allowed}).encode() + b"\n")
        return Done(**self._receive(allowed + 30.0, " ".join(argv)))

    def output(self, *argv: str, seconds: float = 120.0) -> str:
        """Run a program that must succeed and return what it printed, without the last newline."""
        done = self.run(*argv, seconds=seconds)
        assert done.code == 0, f"{' '.join(argv)} ended with {done.code}:\n{done.out}{done.err}"
        return done.out.removesuffix("\n")

    def berth(self, *words: str) -> str:
        """Run a `berth` command that must succeed and return what it printed."""
        return self.output("berth", *words)

    def serve(self) -> None:
        """Start the service and return when it has come to rest, so that what is seen then is there in the end.

        Without the dashboard: the machine lacks what that needs, and its process would be started again and again.
        """
        self.berth("serve", "--background", "--no-dashboard")
        began = time.monotonic()
        while (there := self._own_processes()) != SERVICE_AT_REST:
            assert time.monotonic() - began < patience(BOOT_SECONDS), (
                f"the service has not come to rest, but there is {there}"
            )
            time.sleep(0.2)

    def _own_processes(self) -> list[str]:
        return [name for name in self.traces()["processes"] if name.startswith("berth: ")]

    def inside(self, name: str, *argv: str) -> Done:
        """Run a program in container `name`."""
        return self.run("berth", "run", name, "--", *argv)

    def eat(self, name: str, mebibytes: int) -> Done:
        """Have a program in container `name` use that much memory."""
        return self.inside(name, "dd", "if=/dev/zero", "of=/dev/null", f"bs={mebibytes}M", "count=1")

    def read(self, path: str) -> str:
        """Return the content of a file of the machine, without the last newline."""
        return self.output("cat", path)

    @property
    def console(self) -> str:
        """The end of what the machine's kernel and init have said."""
        return self._console.read_text(errors="replace")[-4000:]

    def traces(self) -> dict[str, Any]:
        """Return what a container could leave: mounts, loop devices, cgroups, controllers, processes, folders."""
        found: dict[str, Any] = json.loads(self.output("python3", "-IS", "/opt/berth/traces.py"))
        return found

    @contextlib.contextmanager
    def unchanged(self) -> Iterator[None]:
        """Fail unless everything is as before at the end."""
        before = self.traces()
        yield
        self.expect_traces(before)

    def expect_traces(self, before: dict[str, Any]) -> None:
        """Fail unless the traces are, or within moments become, as `before`."""
        began = time.monotonic()
        while (after := self.traces()) != before and time.monotonic() - began < patience(LEFTOVERS_GO):
            time.sleep(0.2)
        assert not {kind: (found, before[kind]) for kind, found in after.items() if found != before[kind]}

    def wait_for_agent(self) -> None:
        """Return when the machine has booted; raises NoAnswer."""
        self._receive(patience(BOOT_SECONDS), "its start")

    def _receive(self, seconds: float, asked: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._receive_line(seconds, asked))
        return answer

    def _receive_line(self, seconds: float, asked: str) -> bytes:
        self._channel.settimeout(seconds)
        while b"\n" not in self._received:
            try:
                data = self._channel.recv(65536)
            except (TimeoutError, ConnectionResetError):
                data = b""
            if not data:
                raise NoAnswer(
                    f"the virtual machine gave no answer to {asked}; the end of its console:\n{self.console}"
                )
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line


@contextlib.contextmanager
def booted(*arguments: str, disk: Path | None = None, suite: str = "") -> Iterator[Machine]:
    """Boot a machine with `arguments` for its kernel, and end it in the end; what it writes to `disk` is thrown away.

    The kernel is that of Debian's release `suite`, "" for this machine's.  Raises NoAnswer when it does not boot.
    """
    with tempfile.TemporaryDirectory(prefix="berth-machine-") as folder:
        initramfs, console = Path(folder, "initramfs.cpio"), Path(folder, "console")
        parts.write_initramfs(initramfs, suite)
        ours, theirs = socket.socketpair()
        command = _command(parts.kernel(suite), initramfs, console, theirs.fileno(), disk, *arguments)
        with ours, emulator(command, console, theirs):
            machine = Machine(ours, console)
            machine.wait_for_agent()
            yield machine


@contextlib.contextmanager
def emulator(command: list[str], console: Path, *channels: socket.socket) -> Iterator[None]:
    """Run the emulator, which alone keeps `channels`: without them, as when we are killed, the machine turns off."""
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(console.open("ab"))
        for channel in channels:
            stack.enter_context(channel)
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[channel.fileno() for channel in channels],
        )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _command(
    kernel: Path, initramfs: Path, console: Path, channel: int, disk: Path | None, *arguments: str
) -> list[str]:
    # On a busy machine the emulated timer may be too late for the kernel, which then panics before it has begun.
    kernel_arguments = (
        "console=ttyS0",
        "quiet",
        "panic=-1",
        "mitigations=off",
        "random.trust_cpu=on",
        "no_timer_check",
        *arguments,
    )
    return [
        "qemu-system-x86_64",
        *PROCESSORS,
        *("-cpu", "max"),
        *("-m", str(MEMORY)),
        *("-nodefaults", "-display", "none", "-no-reboot"),
        *("-kernel", str(kernel)),
        *("-initrd", str(initramfs)),
        *("-append", " ".join(kernel_arguments)),
        *("-chardev", f"file,id=console,path={console},append=on", "-serial", "chardev:console"),
        *("-device", "virtio-serial", "-chardev", f"socket,id=agent,fd={channel}"),
        *("-device", "virtserialport,chardev=agent"),
        *(("-drive", f"if=virtio,format=raw,snapshot=on,file={disk}") if disk else ()),
    ]
