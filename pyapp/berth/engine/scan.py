"""Finds running containers whose records were lost, by looking at processes, and gives them a record again.

A container's init is PID 1 of its PID namespace and lives in a cgroup `berth/NAME/payload` (`berth/NAME@TAG/payload`
where the home is not the device's own) that only root can have made.  What its plan was is told by its saved
spec; without one it can be found and named, but not adopted.
"""

import os
import re
import time

from msgspec.structs import replace

from berth.engine import awake, cgroups, selinux
from berth.engine.attendant import attend
from berth.engine.containers import look_up
from berth.engine.inspect import read_host
from berth.engine.journal import Journal, RunFolder, State, identity_of
from berth.engine.launch import read_folder
from berth.engine.network import EFFECT, lease_of
from berth.engine.order import IMAGE_FOLDER
from berth.errors import BerthError
from berth.home import Home
from berth.kernel.processes import boot_id, start_time, status_field
from berth.plan import plan
from berth.plan.model import Plan
from berth.spec import JOINED, Spec, StartOptions
from berth.store import load_spec

_PAYLOAD = re.compile(r"/berth/([A-Za-z0-9][A-Za-z0-9._-]{0,63})(?:@([0-9a-f]{8}))?/payload(?:/|$)", re.MULTILINE)


def scan(home: Home) -> list[str]:
    """Adopt every running container of this `home` that has no record; return a sentence for each that was found."""
    said = []
    for name, pid in sorted(_inits(home).items()):
        with RunFolder(home, name).locked():
            if look_up(home, name).condition == "stopped":
                said.append(_adopt_or_explain(home, name, pid))
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


def _adopt_or_explain(home: Home, name: str, pid: int) -> str:
    try:
        _adopt(home, load_spec(home, name), pid)
    except (BerthError, OSError) as error:
        return f"container {name}: runs (init is {pid}), but {error}"
    return f"container {name}: found and adopted, init is {pid}"


def _adopt(home: Home, spec: Spec, pid: int) -> None:
    host = read_host(home, devices=spec.hw_access, resolvers=True)
    if spec.net == "nat":
        host = replace(host, lease=lease_of(home, spec.name))
    made = plan(spec, StartOptions(), host, read_folder(f"/proc/{pid}/root", spec.init))
    state = State(
        stage="running",
        name=spec.name,
        boot=boot_id(),
        init=(pid, start_time(pid) or 0),
        rootfs=spec.rootfs or "",
        image=spec.image or "",
        started_at=time.time(),
        plan=made,
    )
    journal = Journal.create(RunFolder(home, spec.name).journal)
    journal.save(state)
    _write_down_effects(journal, spec, made, home)
    os.close(journal.fd)
    attend(home, spec.name)


def _write_down_effects(journal: Journal, spec: Spec, made: Plan, home: Home) -> None:
    """Tell the record what was made on the host for a container that was started by this plan."""
    if spec.image is not None:
        for folder in (IMAGE_FOLDER, os.path.join(IMAGE_FOLDER, spec.name)):
            _write_down(journal, "folder", folder)
    for path in cgroups.paths(made.cgroups, spec.name):
        _write_down(journal, "cgroup", path)
    if made.selinux_permissive:
        selinux.make_permissive(home.run, spec.name, journal)
    if made.wakelock is not None:
        journal.intend(awake.EFFECT, made.wakelock.name)
    if spec.net in JOINED:
        journal.intend(EFFECT, spec.name)


def _write_down(journal: Journal, kind: str, path: str) -> None:
    if os.path.isdir(path):
        journal.done(journal.intend(kind, path), identity_of(os.stat(path)))
