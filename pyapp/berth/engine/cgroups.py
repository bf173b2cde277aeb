"""Makes a container's cgroups as planned, moves processes in and out, and takes the cgroups away again.

In every hierarchy a container has `berth/NAME`, which carries limits and device rules, and `berth/NAME/payload`, which
holds its processes and is the root of its cgroup namespace.
"""

import contextlib
import errno
import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from berth.engine.cgroup_mounts import mount_missing, places, read_cgroup_mounts
from berth.engine.cgroup_shared import Journal, locked, remove_shared, switch_on, undo_controller, without
from berth.engine.cgroup_trees import identify, kill, make, processes, read, remove, remove_if_empty, write
from berth.errors import BerthError
from berth.host import CgroupMount
from berth.kernel import bpf
from berth.kernel.call import KernelError
from berth.plan.cgroups import OPTIONAL_LIMITS, group_path, own_path
from berth.plan.model import Cgroup, DevicePolicy, DeviceRule, SysctlPolicy

__all__ = [
    "create",
    "current",
    "empty",
    "enter",
    "enter_like",
    "join",
    "keep_sysctls",
    "kill",
    "leave_to_root",
    "mount_missing",
    "paths",
    "read_cgroup_mounts",
    "redefine_devices",
    "undo",
]

_MOVED_MEANWHILE: Final = (errno.ENOENT, errno.ENODEV, errno.EBUSY)


def create(cgroups: tuple[Cgroup, ...], policy: DevicePolicy, name: str, journal: Journal) -> None:
    """Make `berth/NAME` with limits and devices confined, and `berth/NAME/payload`, in every hierarchy.

    Empty groups left by an earlier container of that name are replaced.  Raises BerthError when processes
    are still in one, and when the kernel refuses a limit; KernelError otherwise.  What was made until then is in
    the journal, as kinds "cgroup" and "controller", for `undo`.
    """
    for cgroup, group in zip(cgroups, paths(cgroups, name), strict=True):
        root = own_path(cgroup)
        with locked(root):
            _clear_leftover(group, name)
            number = journal.intend("cgroup", group)
            make(f"{root}/berth")
            _inherit(root, f"{root}/berth", cgroup.inherit)
            passed_on = switch_on(root, cgroup, name, journal)
            make(group)
            journal.done(number, identify(group) or "")
        _inherit(f"{root}/berth", group, cgroup.inherit)
        _set_limits(group, cgroup, name)
        _confine(group, cgroup, policy)
        if passed_on:
            write(f"{group}/cgroup.subtree_control", passed_on)
        _make_payload(group, cgroup)


def keep_sysctls(cgroups: tuple[Cgroup, ...], policy: SysctlPolicy, name: str) -> None:
    """Have the container confined to the sysctls of `policy`, before a process is in it, where the kernel can do that.

    Raises KernelError.
    """
    for cgroup, group in zip(cgroups, paths(cgroups, name), strict=True):
        if policy.kept and cgroup.version == 2:
            try:
                program = bpf.load(bpf.assemble_sysctl_program(net=policy.net), bpf.SYSCTLS)
            except bpf.ProgramRefused:
                return
            _put_program(group, program, partial(bpf.attach, kind=bpf.SYSCTLS))


def redefine_devices(cgroups: tuple[Cgroup, ...], policy: DevicePolicy, name: str) -> None:
    """Have the devices of a container that runs confined by `policy` from now on; what stays allowed never stops.

    Raises KernelError.
    """
    for cgroup, group in zip(cgroups, paths(cgroups, name), strict=True):
        if policy.keeper == "bpf" and cgroup.version == 2:
            _set_program(group, policy.rules, bpf.replace)
        elif policy.keeper == "v1" and "devices" in cgroup.controllers:
            _rewrite_rules(group, policy.rules)


def empty(cgroups: tuple[Cgroup, ...], name: str) -> None:
    """Make the payloads anew between two lives of a container: what its init left in them would bar the next one.

    Kills whoever is still there.  Raises KernelError: EBUSY when a process stays.
    """
    folders = tuple(zip(cgroups, paths(cgroups, name), strict=True))
    for cgroup, group in reversed(folders):
        kill(f"{group}/payload")
        remove(f"{group}/payload")
        _make_payload(group, cgroup)


def paths(cgroups: tuple[Cgroup, ...], name: str) -> list[str]:
    """Return the container's folder in each hierarchy."""
    return [group_path(cgroup, name) for cgroup in cgroups]


def join(cgroups: tuple[Cgroup, ...], name: str, pid: int = 0) -> None:
    """Move process `pid` into the container's payload in every hierarchy; 0 moves the caller, if single-threaded.

    Raises KernelError.
    """
    enter((f"{group}/payload" for group in paths(cgroups, name)), pid)


def enter(directories: Iterable[str], pid: int = 0) -> None:
    """Move process `pid` into each of these cgroups; 0 moves the caller, if single-threaded.  Raises KernelError."""
    for directory in directories:
        _enter(directory, pid)


def enter_like(pid: int, mounts: tuple[CgroupMount, ...] | None = None) -> None:
    """Move the caller, if single-threaded, to where process `pid` is now in every hierarchy.

    systemd moves on and removes what it leaves, so a group that vanishes is looked up again.  Raises KernelError.
    """
    for attempt in range(4):
        try:
            enter(current(pid, mounts))
        except KernelError as error:
            if error.errno not in _MOVED_MEANWHILE or attempt == 3:
                raise
        else:
            return


def current(pid: int, mounts: tuple[CgroupMount, ...] | None = None) -> list[str]:
    """Return the folder of process `pid` in each hierarchy that is mounted, none when the process is gone."""
    return [directory for directory, _ in places(pid, read_cgroup_mounts() if mounts is None else mounts)]


def leave_to_root(mounts: tuple[CgroupMount, ...] | None = None) -> None:
    """Move the caller, if single-threaded, to the root of every hierarchy where it is further down.

    Android's ActivityManager kills and freezes the groups of an app, with all that the app's `su` started.
    Raises KernelError.
    """
    enter(root for place, root in places("self", read_cgroup_mounts() if mounts is None else mounts) if place != root)


def undo(kind: str, target: str, identity: str | None) -> None:
    """Take back what `create` told its journal; a stranger's cgroup is left alone.

    Kills what is in a cgroup.  One whose identity was never written down can't have been joined by anybody, so if there
    are processes in it, it is not ours.  Raises KernelError: EBUSY when processes stay in spite of a kill.
    """
    if kind == "cgroup":
        _undo_cgroup(target, identity)
    elif kind == "controller":
        undo_controller(target, identity)
    else:
        raise ValueError(f"cgroups have no effects of kind {kind!r}")


def _undo_cgroup(group: str, identity: str | None) -> None:
    found = identify(group)
    if found is not None and found == identity:
        if not (_remove_as_made(group) or remove_if_empty(group)):
            if stuck := kill(group):
                raise KernelError("kill", errno.EBUSY, f"{group} (pid {', '.join(map(str, stuck))})")
            remove(group)
    elif found is not None and identity is None and not processes(group):
        remove(group)
    root = os.path.dirname(os.path.dirname(group))
    if os.path.isdir(root):
        with locked(root):
            remove_shared(root)


def _remove_as_made(group: str) -> bool:
    """Remove a group in which no process is and nothing but its payload was made; False for another one.

    That is what nearly every container leaves, and takes a tenth of the system calls of a walk.
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(f"{group}/payload")
        os.rmdir(group)
    except OSError:
        return False
    return True


def _clear_leftover(group: str, name: str) -> None:
    if identify(group) is None:
        return
    if found := processes(group):
        pids = ", ".join(map(str, sorted(found)[:5]))
        raise BerthError(f"container {name}: {group} still holds processes (pid {pids}); run `berth recover`")
    remove(group)


def _make_payload(group: str, cgroup: Cgroup) -> None:
    make(f"{group}/payload")
    _inherit(group, f"{group}/payload", cgroup.inherit)


def _inherit(parent: str, child: str, files: tuple[str, ...]) -> None:
    for file in files:
        wanted, have = read(f"{parent}/{file}"), read(f"{child}/{file}")
        if wanted == have:
            continue
        try:
            write(f"{child}/{file}", wanted)
        except KernelError as error:
            # A CPU is offline now that a running container still lists: `berth` keeps the larger set.
            if error.errno != errno.EBUSY or not have:
                raise


def _set_limits(group: str, cgroup: Cgroup, name: str) -> None:
    for file, value in cgroup.limits:
        try:
            write(f"{group}/{file}", value)
        except KernelError as error:
            if error.errno == errno.ENOENT and file in OPTIONAL_LIMITS:
                continue
            advice = without(file.partition(".")[0])
            why = "this kernel has no such limit" if error.errno == errno.ENOENT else error.strerror
            raise BerthError(f"container {name}: {file} can't be set to {value} in {group}: {why}; {advice}") from error


def _confine(group: str, cgroup: Cgroup, policy: DevicePolicy) -> None:
    if policy.keeper == "bpf" and cgroup.version == 2:
        _set_program(group, policy.rules, bpf.attach)
    elif policy.keeper == "v1" and "devices" in cgroup.controllers:
        write(f"{group}/devices.deny", "a")  # refused once there are groups below
        for rule in policy.rules:
            for line in _rule_lines(rule):
                write(f"{group}/devices.allow", line)


def _set_program(group: str, rules: tuple[DeviceRule, ...], put: Callable[[int, int], None]) -> None:
    program = bpf.load(
        bpf.assemble_device_program(bpf.Rule(rule.kind, rule.major, rule.minor, rule.access) for rule in rules)
    )
    _put_program(group, program, put)


def _put_program(group: str, program: int, put: Callable[[int, int], None]) -> None:
    try:
        directory = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            put(directory, program)
        finally:
            os.close(directory)
    finally:
        os.close(program)


def _rewrite_rules(group: str, rules: tuple[DeviceRule, ...]) -> None:
    """The kernel hands down what is taken from a group, not what is added: that is for those that never gave up any."""
    before = read(f"{group}/devices.list")
    wanted = {line for rule in rules for line in _rule_lines(rule)}
    alike = [group]
    while alike:
        folder = alike.pop()
        for line in sorted(wanted - set(before.splitlines())):
            write(f"{folder}/devices.allow", line)
        below = [entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
        alike += [path for path in below if read(f"{path}/devices.list") == before]
    for line in sorted(set(before.splitlines()) - wanted):
        write(f"{group}/devices.deny", line)


def _rule_lines(rule: DeviceRule) -> list[str]:
    """As devices.allow reads them, where "a" would allow everything whatever the rest of the line says."""
    major, minor = ("*" if number is None else str(number) for number in (rule.major, rule.minor))
    kinds = ("b", "c") if rule.kind == "a" else (rule.kind,)
    return [f"{kind} {major}:{minor} {rule.access}" for kind in kinds]


def _enter(directory: str, pid: int) -> None:
    if pid == 0:
        # A thread that moves itself by v1's `tasks` waits for nobody; a move by cgroup.procs waits for an RCU grace
        # period, 5 to 16 ms (Linux 5.4: "cgroup: Optimize single thread migration").
        try:
            return write(f"{directory}/tasks", "0")
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise
    return write(f"{directory}/cgroup.procs", str(pid))
