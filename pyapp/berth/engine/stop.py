"""Stopping a container: its init is asked in its own way, then the cgroup is killed, then the host is as before."""

import contextlib
import json
import os
import select
import signal
import socket
import time
from functools import partial

from berth.engine import probation, rest
from berth.engine.attendant import attend
from berth.engine.cgroup_mounts import reach
from berth.engine.containers import Alive, Container, look_up
from berth.engine.dying import LOOK_SECONDS, await_end, disk_below, wait_while_it_moves
from berth.engine.enter import run_quietly
from berth.engine.events import announce
from berth.engine.inspect import kind_by_name
from berth.engine.journal import RunFolder, is_watched
from berth.engine.recover import clear_remains
from berth.errors import BerthError
from berth.home import Home
from berth.host import InitKind
from berth.kernel.processes import Process, catches
from berth.kernel.sockets import connect
from berth.plan.cgroups import group_path
from berth.store import load_spec

_SIGRTMIN = 34  # as glibc and musl number it for programs
_SIGNALS: dict[InitKind, int] = {"systemd": _SIGRTMIN + 3, "busybox": signal.SIGUSR2, "unknown": signal.SIGTERM}
# INIT stands for the init's own path, FOLDER for the one that PID 1 was given.  The first that can be run is used.
_COMMANDS: dict[InitKind, tuple[tuple[str, ...], ...]] = {
    "sysvinit": (("/sbin/shutdown", "-h", "now"), ("INIT", "0")),
    "openrc": (("/sbin/openrc-shutdown", "--poweroff", "now"),),
    "runit": (("INIT", "0"),),
    "s6": (("s6-linux-init-shutdown", "-p", "now"), ("s6-svscanctl", "-t", "FOLDER")),
}
_DEAF_AT_FIRST: tuple[InitKind, ...] = ("runit",)  # drops what it is asked before its stage 2: asked again and again
_READY_SECONDS = 5.0
_AGAIN_SECONDS = 0.01
_REPEAT_SECONDS = 1.0
_RELEASE_SECONDS = 5.0
_UNDO_SECONDS = 30.0  # netd may hold the lock of iptables for some time, and a busy phone is slow


def stop(home: Home, name: str, seconds: float) -> None:
    """Stop container `name`, giving its init `seconds` to end by itself; return when everything is undone.

    One that is still starting is given no time.  The service does not start it again in this boot.  Raises BerthError
    when it does not run, or when the kernel holds a process that can't be killed.
    """
    found = look_up(home, name)
    rest.note(home, name)
    if found.reboots:
        found = _await_reboot(home, name)
        if found.condition == "stopped":
            return
    if found.condition == "starting" and _abort_start(found):
        _finish_unattended(home, name)
        return
    if found.condition == "stopped":
        load_spec(home, name)  # says that there is no such container, where that is so
    if not found.runs:
        cure = '; run "berth recover" to undo what it left' if found.condition in ("crashed", "stuck") else ""
        raise BerthError(f"container {name}: is {found.condition}, so there is nothing to stop{cure}")
    if found.condition == "unattended":  # so that its init finds a console to say good-bye on
        with RunFolder(home, name).locked(), contextlib.suppress(BerthError):
            attend(home, name)
    container = found.alive
    process = Process(container.pid, container.started)
    image = found.record.image if found.record is not None else ""
    disk = disk_below(container.pid, image) if image else ""
    waiter = call_monitor(RunFolder(home, name), "stop")
    try:
        announce(home, name, "progress", "asked")
        if not (_ask(container, process, seconds) and process.wait(seconds)):
            announce(home, name, "progress", "killed")
            _kill(container, process, disk)
        announce(home, name, "progress", "ended")
        if waiter is None:
            _finish_unattended(home, name)
        elif not _let_undo(found, waiter, disk):
            raise BerthError(f'container {name}: ended, but its monitor is still undoing; see "berth info {name}"')
        elif not _undone(home, found):
            _finish_unattended(home, name)
    finally:
        process.close()
        if waiter is not None:
            waiter.close()


def _await_reboot(home: Home, name: str) -> Container:
    """Wait until a container that reboots is back or has ended: its monitor ends it in order then, with its hooks.

    The kernel tells nobody of a line in its record, so this looks, for 30 seconds at most.
    """
    until = time.monotonic() + _UNDO_SECONDS
    while (found := look_up(home, name)).reboots and time.monotonic() < until:
        time.sleep(_AGAIN_SECONDS)
    return found


def _abort_start(found: Container) -> bool:
    """Kill the monitor of a container that is starting; what it has done so far stands in the record."""
    if found.record is None or found.record.monitor is None:
        return False
    monitor = Process(*found.record.monitor)
    monitor.send(signal.SIGKILL)
    ended = await_end(monitor) == "ended"
    monitor.close()
    return ended


def _let_undo(found: Container, waiter: socket.socket, disk: str) -> bool:
    """Wait until the monitor has undone everything, however long that takes while it moves."""
    monitor = found.record.monitor if found.record is not None else None
    moving = {monitor[0]} if monitor is not None else set()
    still_looks = int(_UNDO_SECONDS / LOOK_SECONDS)
    return wait_while_it_moves(partial(_closed, waiter), lambda: moving, disk, still_looks) == "ended"


def _undone(home: Home, found: Container) -> bool:
    """Whether the monitor has undone everything; it may have been killed before."""
    if look_up(home, found.name).condition == "stopped":
        return True
    if found.record is not None and found.record.monitor is not None:
        monitor = Process(*found.record.monitor)
        monitor.wait(_RELEASE_SECONDS)  # what it could not undo it keeps a record of, and lets go of that at its end
        monitor.close()
    return look_up(home, found.name).condition not in ("crashed", "stuck")


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
    kind = _kind(container)
    number = _SIGNALS.get(kind, signal.SIGTERM)
    until = time.monotonic() + (seconds if kind in _DEAF_AT_FIRST else min(seconds, _READY_SECONDS))
    while process.alive:
        if kind not in _COMMANDS and catches(process.pid, number):
            return process.send(number)
        left = until - time.monotonic()
        if left <= 0:
            break
        asked = kind in _COMMANDS and _command(container, kind, left)
        if asked and kind not in _DEAF_AT_FIRST:
            return True
        process.wait(_REPEAT_SECONDS if asked else _AGAIN_SECONDS)
    return catches(process.pid, number) and process.send(number)


def _kind(container: Alive) -> InitKind:
    """What PID 1 is by now: an init that is a script may have become another program since."""
    kind = container.plan.init_kind
    with contextlib.suppress(OSError):
        running = kind_by_name(os.readlink(f"/proc/{container.pid}/exe"))
        if kind == "unknown" and running != "busybox":  # that runs the script itself as its shell
            kind = running
    return kind


def _command(container: Alive, kind: InitKind, seconds: float) -> bool:
    """Run the shutdown command of `kind`; False when init was not ready for it yet."""
    words = {"INIT": container.plan.argv[0], "FOLDER": _last_argument(container.pid)}
    for command in _COMMANDS[kind]:
        code = run_quietly(container, tuple(words.get(word, word) for word in command), seconds)
        if code is not None:
            return code == 0
    return False


def _last_argument(pid: int) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return os.fsdecode(file.read().rstrip(b"\0").rpartition(b"\0")[2])
    return ""


def _kill(container: Alive, process: Process, disk: str) -> None:
    """Kill all of it and wait for its end, however long that takes while it comes nearer; raises BerthError."""
    process.send(signal.SIGKILL)
    reach(container.plan.cgroups)
    groups = [group_path(cgroup, container.name) for cgroup in reversed(container.plan.cgroups)]
    fate = await_end(process, groups, disk)
    if fate == "stuck":
        raise BerthError(
            f"container {container.name}: PID 1 ({process.pid}) is stuck in the kernel and can't be killed;"
            " it goes with the next reboot"
        )
    if fate == "slow":
        raise BerthError(
            f"container {container.name}: PID 1 ({process.pid}) was killed and is still ending; what it left is undone"
            f' when it has, see "berth info {container.name}"'
        )


def _finish_unattended(home: Home, name: str) -> None:
    folder = RunFolder(home, name)
    with folder.locked():
        _await_release(folder)
        if not look_up(home, name).runs:  # or it was started again meanwhile
            probation.end(home, name)
        troubles = clear_remains(home, name)
    if troubles:
        raise BerthError(f"container {name}: ended, but {troubles[0]}")


def _await_release(folder: RunFolder) -> None:
    """Wait until nobody holds the record: a PID 1 that was being set up ends a moment after its monitor.

    The kernel tells nobody when that is, so this looks, for some seconds at most.
    """
    until = time.monotonic() + _RELEASE_SECONDS
    while is_watched(folder.journal) and time.monotonic() < until:
        time.sleep(_AGAIN_SECONDS / 10)
