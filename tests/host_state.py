"""What a container may never leave on the host: looked at before and after a test, and compared."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from berth.home import Home
from berth.network.addresses import LINK_PREFIX, SEGMENT_PREFIX

SETTLING_SECONDS = 30.0  # the kernel lets go of a loop device or a cgroup a little after its last user is gone
ROLE = os.environ.get("BERTH_TEST_ROLE")  # tests.side_by_side gives one to each of its processes
IN_CI = os.environ.get("CI") == "true"
ASIDE = ROLE == "aside"  # the other one makes loop devices, links and controllers come and go
ALONE = IN_CI and not ASIDE  # all on such a machine is ours, but what is another run's
ONLY_RUN = IN_CI and ROLE is None
RUNS = Path("/var/tmp")  # where each run has a folder; on disk, and short: a socket's path has 108 bytes at most
PREFIX = "berth-run-"


class HostState(NamedTuple):
    """The parts of the host that Berth changes while a container runs.

    `mounts` are lines of mountinfo, `loops` the devices in use with their files, `cgroups` the groups below any
    `berth`, `controllers` those a cgroup2 root hands down, `links` the network interfaces, `processes` Berth's own and
    its containers', as "pid start-time command".  What is another run's is left out.
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
    ours = _Ownership(home)
    return HostState(
        mounts=frozenset(filter(ours.has_mount, mounts)),
        loops=frozenset(filter(ours.has_loop, _loops())),
        cgroups=frozenset(_cgroups(mounts, ours)),
        controllers=frozenset() if ASIDE else frozenset(_controllers(mounts)),
        links=frozenset(filter(ours.has_link, os.listdir("/sys/class/net"))),
        processes=frozenset(map(_describe_role, _noticed(home, ours))) - {""},
    )


class _Ownership:
    """Tells what is of this run, whose BERTH_HOME is `home`.

    A cgroup carries the tag of the home that its container is of, and the file of a loop device lies in a run's folder.
    On a machine that is CI's alone every container is ours that is not of another run's home.
    """

    def __init__(self, home: Path) -> None:
        self._tag = _tag(home)
        runs = list(RUNS.glob(f"{PREFIX}*"))
        self._folders = tuple(f"{folder}/" for folder in runs if home.is_relative_to(folder))
        self._others = {_tag(home_of(folder)) for folder in runs if not home.is_relative_to(folder)}

    def has_container(self, cgroup: str) -> bool:
        """Whether a container's cgroup with that name, "NAME@TAG", is ours."""
        tag = cgroup.rpartition("@")[2]
        return tag not in self._others if ALONE else tag == self._tag

    def has_link(self, name: str) -> bool:
        """Whether a network interface may be ours."""
        return name.startswith((LINK_PREFIX, SEGMENT_PREFIX)) or not ASIDE

    def has_mount(self, mount: str) -> bool:
        """Whether a line of mountinfo may be ours: what is mounted in another run's folder is not."""
        target = f"{mount.split(' ')[4]}/"
        return target.startswith(self._folders) or not target.startswith(f"{RUNS}/{PREFIX}")

    def has_loop(self, loop: str) -> bool:
        """Whether a loop device is ours; `loop` is its name, a space, and the path of its file."""
        file = loop.partition(" ")[2]
        return file.startswith(self._folders) or not (ASIDE or file.startswith(f"{RUNS}/{PREFIX}"))


def home_of(run_folder: Path) -> Path:
    """Return the BERTH_HOME of a run."""
    return run_folder / "home"


def _tag(home: Path) -> str:
    return Home(str(home), f"{home}/run").tag


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
    return (pid for pid in _processes() if is_of(home, pid))


def is_of(home: Path, pid: int) -> bool:
    """Tell whether process `pid` is one of those, and nobody else's: only such a one may be killed."""
    mark, tag = b"BERTH_HOME=" + os.fsencode(home), f"@{_tag(home)}"
    return mark in _read(f"/proc/{pid}/environ").split(b"\0") or any(name.endswith(tag) for name in _containers_of(pid))


def _noticed(home: Path, ours: _Ownership) -> Iterator[int]:
    """Yield the processes of `home`; in CI what is in a container of no home at all as well: a test has left it."""
    return (pid for pid in _processes() if is_of(home, pid) or any(map(ours.has_container, _containers_of(pid))))


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


def _cgroups(mounts: list[str], ours: _Ownership) -> Iterator[str]:
    for mount in _cgroup_mounts(mounts):
        top = str(mount / "berth")
        for folder, below, _ in os.walk(top):
            if folder == top:
                below[:] = filter(ours.has_container, below)
            if folder != top or ONLY_RUN:  # that goes with the last who has something in it
                yield folder


def shared_cgroups() -> frozenset[str]:
    """Return the folders `berth` in all hierarchies, in which every run has its containers' cgroups."""
    mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    return frozenset(str(mount / "berth") for mount in _cgroup_mounts(mounts) if (mount / "berth").is_dir())


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


def _processes() -> Iterator[int]:
    """Yield the pids of all processes but this one."""
    return (int(name) for name in os.listdir("/proc") if name.isdigit() and name != str(os.getpid()))


def _containers_of(pid: int) -> set[str]:
    """Return the cgroup's name of the container in which process `pid` is, if any."""
    groups = _read(f"/proc/{pid}/cgroup")
    if b"/berth/" not in groups:
        return set()
    return {os.fsdecode(line.partition(b"/berth/")[2].split(b"/")[0]) for line in groups.splitlines()} - {""}


def _read(path: str) -> bytes:
    """Return what a file in /proc says, b"" when its process has ended meanwhile."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return b""
