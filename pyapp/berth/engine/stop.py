"""Stopping a container: its init is asked in its own way, then the cgroup is killed, then the host is as before."""

import contextlib
import json
import select
import signal
import socket
import time

from berth.engine.cgroup_trees import kill
from berth.engine.containers import Alive, look_up
from berth.engine.enter import run_quietly
from berth.engine.journal import RunFolder
from berth.engine.recover import clear_remains
from berth.errors import BerthError
from berth.home import Home
from berth.host import InitKind
from berth.kernel.processes import Process, catches
from berth.kernel.sockets import connect
from berth.plan.cgroups import own_path

_SIGRTMIN = 34  # as glibc and musl number it for programs
_SIGNALS: dict[InitKind, int] = {"systemd": _SIGRTMIN + 3, "busybox": signal.SIGUSR2, "unknown": signal.SIGTERM}
_COMMANDS: dict[InitKind, tuple[str, ...]] = {
    "sysvinit": ("/sbin/shutdown", "-h", "now"),
    "openrc": ("/sbin/openrc-shutdown", "--poweroff", "now"),
    "runit": ("/sbin/runit-init", "0"),
    "s6": ("/bin/s6-svscanctl", "-t", "/run/service"),
}
_READY_SECONDS = 5.0
_KILL_SECONDS = 5.0


def stop(home: Home, name: str, seconds: float) -> None:
    """Stop container `name`, giving its init `seconds` to end by itself; return when everything is undone.

    Raises BerthError when it does not run, or when the kernel holds a process that can't be killed.
    """
    found = look_up(home, name)
    if not found.runs:
        raise BerthError(f"container {name}: is {found.condition}, so there is nothing to stop")
    container = found.alive
    process = Process(container.pid, container.started)
    waiter = call_monitor(RunFolder(home, name), "stop")
    try:
        if not (_ask(container, process, seconds) and process.wait(seconds)):
            _kill(container, process)
        if waiter is None:
            _finish_unattended(home, name)
        elif not _closed(waiter, _KILL_SECONDS):
            raise BerthError(f'container {name}: ended, but its monitor is still undoing; see "berth info {name}"')
    finally:
        process.close()
        if waiter is not None:
            waiter.close()


def call_monitor(folder: RunFolder, call: str) -> socket.socket | None:
    """Say `call` to a container's monitor and return the connection; None when there is no monitor."""
    try:
        conn = connect(folder.socket)
        conn.send(json.dumps({"call": call}).encode())
    except OSError:
        return None
    return conn


def _closed(conn: socket.socket, seconds: float) -> bool:
    """Wait up to `seconds` for the other end to go: the monitor has undone everything."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if select.select([conn], [], [], left)[0]:
            try:
                if not conn.recv(4096):
                    return True
            except ConnectionResetError:
                return True
    return False


def _ask(container: Alive, process: Process, seconds: float) -> bool:
    """Ask init to end in its own way; False when it does not listen: the kernel drops what PID 1 has no handler for."""
    kind: InitKind = container.plan.init_kind
    if kind in _COMMANDS and run_quietly(container, _COMMANDS[kind]):
        return True
    number = _SIGNALS.get(kind, signal.SIGTERM)
    until = time.monotonic() + min(seconds, _READY_SECONDS)
    while process.alive and not catches(process.pid, number):
        if time.monotonic() >= until:
            return False
        process.wait(0.01)
    return process.send(number)


def _kill(container: Alive, process: Process) -> None:
    process.send(signal.SIGKILL)
    for cgroup in container.plan.cgroups:
        with contextlib.suppress(OSError):
            kill(f"{own_path(cgroup)}/berth/{container.name}")
    if not process.wait(_KILL_SECONDS):
        raise BerthError(
            f"container {container.name}: PID 1 ({process.pid}) is stuck in the kernel and can't be killed;"
            " it goes with the next reboot"
        )


def _finish_unattended(home: Home, name: str) -> None:
    with RunFolder(home, name).locked():
        troubles = clear_remains(home, name)
    if troubles:
        raise BerthError(f"container {name}: ended, but {troubles[0]}")
