"""Finds running containers whose records were lost, by looking at processes, and gives them a record again.

A container's init is PID 1 of its PID namespace and lives in a cgroup `berth/NAME/payload` (`berth/NAME@TAG/payload`
where the home is not the device's own) that only root can have made.  What its plan was is told by its saved
spec; without one it can be found and named, but not adopted.
"""

import os
import re
import time

from berth.engine import cgroups
from berth.engine.attendant import attend
from berth.engine.containers import look_up
from berth.engine.inspect import read_host
from berth.engine.journal import Journal, RunFolder, State, boot_id, identity_of
from berth.engine.launch import read_folder
from berth.errors import BerthError
from berth.home import Home
from berth.kernel.processes import start_time, status_field
from berth.plan import plan
from berth.spec import StartOptions
from berth.store import load_spec

_PAYLOAD = re.compile(r"/berth/([A-Za-z0-9][A-Za-z0-9._-]{0,63})(?:@([0-9a-f]{8}))?/payload(?:/|$)", re.MULTILINE)


def scan(home: Home) -> list[str]:
    """Adopt every running container of this `home` that has no record; return a sentence for each that was found."""
    said = []
    for name, pid in sorted(_inits(home).items()):
        with RunFolder(home, name).locked():
            if look_up(home, name).condition == "stopped":
                said.append(_adopt(home, name, pid))
    return said


def _inits(home: Home) -> dict[str, int]:
    """Return the pid of the init of each container of `home` that runs without a monitor, by the container's name."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        pid = int(entry)
        numbers = (status_field(pid, "NSpid") or "").split()
        if len(numbers) == 2 and numbers[1] == "1" and not _is_watched(pid):
            match = _PAYLOAD.search(_cgroups(pid))
            if match and (match.group(2) or "") == home.tag:
                found[match.group(1)] = pid
    return found


def _is_watched(pid: int) -> bool:
    """Tell whether a monitor is the parent of this init: it may serve another BERTH_HOME."""
    parent = status_field(pid, "PPid")
    return parent is not None and (status_field(int(parent), "Name") or "").startswith("berth: ")


def _cgroups(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _adopt(home: Home, name: str, pid: int) -> str:
    try:
        spec = load_spec(home, name)
    except BerthError as error:
        return f"container {name}: runs (init is {pid}), but {error}"
    host = read_host(home, devices=spec.hw_access, resolvers=True)
    rootfs = read_folder(f"/proc/{pid}/root", spec.init)
    journal = Journal.create(RunFolder(home, name).journal)
    state = State(
        stage="running",
        name=name,
        boot=boot_id(),
        init=(pid, start_time(pid) or 0),
        rootfs=spec.rootfs or "",
        image=spec.image or "",
        started_at=time.time(),
        plan=plan(spec, StartOptions(), host, rootfs),
    )
    journal.save(state)
    assert state.plan is not None
    for path in cgroups.paths(state.plan.cgroups, name):
        if os.path.isdir(path):
            journal.done(journal.intend("cgroup", path), identity_of(os.stat(path)))
    os.close(journal.fd)
    attend(home, name)
    return f"container {name}: found and adopted, init is {pid}"
