"""What all containers share in one hierarchy: the folder `berth` and the controllers switched on for it.

`berth` is made by the first container and removed by the last, under a lock on the hierarchy's root.  An extended
attribute on it says which controllers Berth has switched on at the root, so that whoever is last switches them off.
"""

import errno
import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from berth.engine.cgroup_trees import identify, read, write
from berth.errors import BerthError
from berth.kernel.call import KernelError
from berth.plan.model import Cgroup

_SWITCHED_ON: Final = "trusted.berth.controllers"
_FLAGS: Final = {"memory": "--memory", "cpu": "--cpus", "pids": "--pids-limit"}


class Journal(Protocol):
    """Where effects are told before they are made, and again with their identity after."""

    def intend(self, kind: str, target: str) -> int:
        """Return the number of the entry."""
        ...

    def done(self, number: int, identity: str) -> None:
        """Complete entry `number`."""
        ...


@contextmanager
def locked(root: str) -> Iterator[None]:
    """Keep other starts and stops from making and removing `berth` meanwhile; the lock ends with its descriptor."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def switch_on(root: str, cgroup: Cgroup, name: str, journal: Journal) -> str:
    """Enable controllers at the root and in `berth`; return what to write further down, "" for nothing.

    The lock is held and `berth` made.  One that no limit needs is left out where the kernel refuses it.  Raises
    BerthError for one that a limit of container `name` needs.
    """
    if not cgroup.switch_on:
        return ""
    needed = {file.partition(".")[0] for file, _ in cgroup.limits}
    available = read(f"{root}/cgroup.controllers").split()
    control = f"{root}/cgroup.subtree_control"
    enabled = set(read(control).split())
    for controller in cgroup.switch_on:
        if controller in enabled:
            continue
        if controller not in available and controller in needed:
            raise BerthError(f"container {name}: {root} has no {controller} controller; {without(controller)}")
        if controller not in available:
            continue
        number = journal.intend("controller", f"{control} +{controller}")
        try:
            write(control, f"+{controller}")
        except KernelError as error:
            journal.done(number, "refused")  # no folder's identity: nothing to undo
            if controller in needed:
                why = f"the kernel does not enable {controller} in {control} ({error.strerror})"
                raise BerthError(f"container {name}: {why}; {without(controller)}") from error
            continue
        _mark(f"{root}/berth", {controller})
        journal.done(number, identify(root) or "")
        enabled.add(controller)
    passed_on = " ".join(f"+{controller}" for controller in cgroup.switch_on if controller in enabled)
    if passed_on:
        write(f"{root}/berth/cgroup.subtree_control", passed_on)
    return passed_on


def undo_controller(target: str, identity: str | None) -> None:
    """Switch a controller off again; while containers are left, leave that to the last of them.

    `target` is "SUBTREE_CONTROL +CONTROLLER", `identity` that of the hierarchy's root.  Raises KernelError.
    """
    path, _, controller = target.rpartition(" +")
    root = os.path.dirname(path)
    found = identify(root)
    if found is None or identity not in (None, found):
        return
    with locked(root):
        remove_shared(root)
        if os.path.isdir(f"{root}/berth"):
            _mark(f"{root}/berth", {controller})  # other containers use it: the last one switches it off
        else:
            _switch_off(root, {controller})


def without(controller: str) -> str:
    """Return the way out when the limit of `controller` can't be kept."""
    return f"start without {_FLAGS[controller]}"


def remove_shared(root: str) -> None:
    """Remove `berth` unless containers are in it, and switch off what was switched on for it.  The lock is held."""
    shared = f"{root}/berth"
    switched_on = _marked(shared)
    try:
        os.rmdir(shared)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EBUSY, errno.ENOTEMPTY):
            return
        raise KernelError("rmdir", error.errno or 0, shared) from None
    _switch_off(root, switched_on)


def _switch_off(root: str, controllers: Iterable[str]) -> None:
    control = f"{root}/cgroup.subtree_control"
    for controller in sorted(set(controllers) & set(read(control).split())):
        try:
            write(control, f"-{controller}")
        except KernelError as error:
            if error.errno != errno.EBUSY:  # a group of the host's has come to use it
                raise


def _marked(shared: str) -> set[str]:
    try:
        return set(os.getxattr(shared, _SWITCHED_ON).decode().split())
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODATA, errno.EOPNOTSUPP):
            return set()
        raise KernelError("getxattr", error.errno or 0, shared) from None


def _mark(shared: str, controllers: set[str]) -> None:
    value = " ".join(sorted(_marked(shared) | controllers))
    try:
        os.setxattr(shared, _SWITCHED_ON, value.encode())
    except OSError as error:
        raise KernelError("setxattr", error.errno or 0, shared) from None
