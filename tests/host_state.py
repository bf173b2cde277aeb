"""What a container may never leave on the host: looked at before and after a test, and compared."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from berth.home import Home

SETTLING_SECONDS = 5.0  # the kernel lets go of a loop device or a cgroup a little after its last user is gone
ALONE = os.environ.get("CI") == "true"  # nobody else runs containers on such a machine, so all of them are ours


class HostState(NamedTuple):
    """The parts of the host that Berth changes while a container runs.

    `mounts` are lines of mountinfo, `loops` the devices in use with their files, `cgroups` the groups below any
    `berth`, `controllers` those a cgroup2 root hands down, `links` the network interfaces, `processes` Berth's own and
    its containers', as "pid start-time command".  Containers that somebody else is running are left out.
    """

    mounts: frozenset[str]
    loops: frozenset[str]
    cgroups: frozenset[str]
    controllers: frozenset[str]
    links: frozenset[str]
    processes: frozenset[str]


def look(home: Path) -> HostState:
    """Return the state of the host now; Berth's processes are those that were started with `home` as BERTH_HOME."""
    mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    return HostState(
        mounts=frozenset(mounts),
        loops=frozenset(_loops()),
        cgroups=frozenset(_cgroups(mounts, _others_containers(home))),
        controllers=frozenset(_controllers(mounts)),
        links=frozenset(os.listdir("/sys/class/net")),
        processes=frozenset(_describe_role(pid) for pid in _processes_in(home, _own_containers(home))) - {""},
    )


def difference(before: HostState, home: Path) -> list[str]:
    """Return in words how the host differs from `before`, after giving it a moment to settle; [] when it does not."""
    until = time.monotonic() + SETTLING_SECONDS
    while (now := look(home)) != before and time.monotonic() < until:
        time.sleep(0.02)
    words: list[str] = []
    for part in HostState._fields:
        was, is_now = getattr(before, part), getattr(now, part)
        words += [f"{part}: left behind: {entry}" for entry in sorted(is_now - was)]
        words += [f"{part}: gone: {entry}" for entry in sorted(was - is_now)]
    return words


def processes_of(home: Path) -> Iterator[int]:
    """Yield the pids of what was started with BERTH_HOME=`home`, and of what is in the cgroups of its containers."""
    return _processes_in(home, _named_containers(home))


def _processes_in(home: Path, containers: set[str]) -> Iterator[int]:
    mark = b"BERTH_HOME=" + os.fsencode(home)
    for process in _processes():
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it ended meanwhile
        if mark in variables or containers & _containers_of(process):
            yield int(process.name)


def describe(pid: int) -> str:
    """Return "pid start-time command", which no other process ever has; "" when it is gone or a zombie."""
    try:
        before, _, after = Path("/proc", str(pid), "stat").read_text().rpartition(")")
    except OSError:
        return ""
    fields = after.split()
    return "" if fields[0] == "Z" else f"{pid} {fields[19]} {before.partition('(')[2]}"


def _describe_role(pid: int) -> str:
    """Describe process `pid`; the spare worker of a service, which is another one after each call, as just that."""
    described = describe(pid)
    if described.endswith((" berth: spare", " berth: service")):
        with contextlib.suppress(OSError, StopIteration):
            status = Path("/proc", str(pid), "status").read_text().splitlines()
            parent = int(next(line.split()[1] for line in status if line.startswith("PPid:")))
            if describe(parent).endswith(" berth: service"):
                return f"spare worker of {parent}"
    return described


def _loops() -> Iterator[str]:
    for file in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            yield f"{file.parent.parent.name} {file.read_text().strip()}"
        except OSError:
            continue  # detached meanwhile


def _cgroups(mounts: list[str], others: set[str]) -> Iterator[str]:
    for mount in _cgroup_mounts(mounts):
        for folder, below, _ in os.walk(mount / "berth"):
            if folder == str(mount / "berth") and others:
                below[:] = set(below) - others  # and the folder above them is theirs as well
            else:
                yield folder


def _controllers(mounts: list[str]) -> Iterator[str]:
    for mount in _cgroup_mounts(mounts):
        switched_on = mount / "cgroup.subtree_control"
        if switched_on.exists():
            yield f"{mount} {switched_on.read_text().strip()}"


def _cgroup_mounts(mounts: list[str]) -> Iterator[Path]:
    for line in mounts:
        about_mount, _, about_filesystem = line.partition(" - ")
        if about_filesystem.startswith("cgroup"):
            yield Path(about_mount.split(" ")[4])


def _own_containers(home: Path) -> set[str]:
    """Return the cgroups' names of the containers that the state in `home` knows; in CI, of all that run as well."""
    known = _named_containers(home)
    return known | _running_containers() if ALONE else known


def _named_containers(home: Path) -> set[str]:
    """Return the cgroups' names of the containers that the state in `home` knows: only these may be killed for it."""
    names = {entry.name for folder in ("containers", "run/containers") for entry in (home / folder).glob("*")}
    tag = Home(str(home), f"{home}/run").tag
    return names | {f"{name}@{tag}" for name in names}


def _others_containers(home: Path) -> set[str]:
    return _running_containers() - _own_containers(home)


def _running_containers() -> set[str]:
    return {name for process in _processes() for name in _containers_of(process)}


def _processes() -> Iterator[Path]:
    """Yield the folders in /proc of all processes but this one."""
    return (Path("/proc", name) for name in os.listdir("/proc") if name.isdigit() and name != str(os.getpid()))


def _containers_of(process: Path) -> set[str]:
    """Return the cgroup's name of the container in which `process` is, if any."""
    try:
        groups = (process / "cgroup").read_text().splitlines()
    except OSError:
        return set()  # it ended meanwhile
    return {group.partition("/berth/")[2].split("/")[0] for group in groups} - {""}
