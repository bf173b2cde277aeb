"""Carries out the steps of a plan on a root file system that is open but not yet entered.

Every target is resolved by descriptor inside that root.  Where a mount point has to be made in the user's own
files, the run record is told first.
"""

import errno
import os
import stat
from typing import Any, Protocol

from berth.engine.group_files import merge_network_groups
from berth.engine.journal import Journal, identity_of
from berth.kernel.call import KernelError
from berth.kernel.mounts import (
    MOUNT_ATTR_RDONLY,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    fd_path,
    mount,
    mount_setattr,
    option_flags,
    remount_flags,
)
from berth.kernel.paths import make_in_root, open_in_root
from berth.kernel.terminals import open_pty
from berth.plan.model import (
    BindMount,
    Directory,
    File,
    GettyTerminal,
    Link,
    Mask,
    Mount,
    NetworkGroups,
    Node,
    ReadOnly,
    Resolvers,
    Step,
)

_NOT_IN_THIS_KERNEL = (errno.ENODEV, errno.EINVAL, errno.EPERM, errno.EBUSY)


class StepError(Exception):
    """A step failed: `str()` says which and why."""


class Workshop:
    """The root in which steps are carried out, and what is learned on the way.

    `journal` is None where nothing that is made outlives the container (a volatile root).  `skipped` collects
    the binds that could not be made, `terminals` the masters of those that were made.  Without `makes`, no mount point
    is made where one is missing.
    """

    def __init__(self, root: int, resolv_conf: str, journal: Journal | None, *, makes: bool = True) -> None:
        self.root = root
        self.resolv_conf = resolv_conf
        self.journal = journal
        self.makes = makes
        self.skipped: list[str] = []
        self.terminals: list[int] = []

    def perform(self, step: Step) -> None:
        """Carry out one step; raises StepError."""
        try:
            _ACTIONS[type(step)](self, step)
        except OSError as error:
            raise StepError(f"{step.describe()}: {error.strerror or error}") from error

    def target(self, path: str, *, folder: bool = True) -> int:
        """Open a mount point, making it and the folders above it where it is missing."""
        try:
            return open_in_root(self.root, path)
        except KernelError as error:
            if error.errno != errno.ENOENT or not self.makes:
                raise
        parent = path.rstrip("/").rpartition("/")[0]
        if parent:
            os.close(self.target(parent))
        number = self.journal.intend("mountpoint", path) if self.journal else 0
        try:
            made = make_in_root(self.root, path, folder=folder)
        except KernelError as error:
            if error.errno != errno.EEXIST:
                raise
            if self.journal:
                self.journal.undone(number)
            return open_in_root(self.root, path)  # another container on this rootfs was faster
        if self.journal:
            self.journal.done(number, identity_of(os.fstat(made)))
        return made


def make_terminal(root: int, target: str) -> tuple[int, int]:
    """Open a terminal of the container's own devpts and show its slave at `target`; return (master, slave).

    Raises KernelError.
    """
    ptmx, folder = open_in_root(root, "/dev/pts/ptmx"), open_in_root(root, "/dev/pts", os.O_RDONLY | os.O_DIRECTORY)
    master, slave = open_pty(ptmx, folder)
    place = make_in_root(root, target, folder=False)
    mount(slave, place, None, MS_BIND)
    for fd in (ptmx, folder, place):
        os.close(fd)
    return master, slave


class _Action(Protocol):
    def __call__(self, workshop: Workshop, step: Any) -> None: ...  # a step of the type it is listed under


def _mount(workshop: Workshop, step: Mount) -> None:
    target = workshop.target(step.target)
    try:
        mount(step.filesystem, target, step.filesystem, option_flags(step.options), step.data)
    except KernelError as error:
        if not (step.optional and error.errno in _NOT_IN_THIS_KERNEL):
            raise
    finally:
        os.close(target)


def _bind(workshop: Workshop, step: BindMount) -> None:
    try:
        source = os.open(step.source, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        workshop.skipped.append(f"{step.describe()}: {error.strerror}")
        return
    try:
        target = workshop.target(step.target, folder=stat.S_ISDIR(os.fstat(source).st_mode))
        try:
            mount(source, target, None, MS_BIND | MS_REC)
        finally:
            os.close(target)
        if step.read_only:
            _make_read_only(workshop.root, step.target)
    except OSError as error:
        workshop.skipped.append(f"{step.describe()}: {error.strerror}")
    finally:
        os.close(source)


def _terminal(workshop: Workshop, step: GettyTerminal) -> None:
    master, slave = make_terminal(workshop.root, step.target)
    os.close(slave)
    workshop.terminals.append(master)


def _make_read_only(root: int, path: str) -> None:
    """Make the mount at `path` read-only with all below it; before 5.12 only the topmost one can be."""
    fd = open_in_root(root, path)
    try:
        mount_setattr(fd, set_bits=MOUNT_ATTR_RDONLY, recursive=True)
    except KernelError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM, errno.EINVAL):
            raise
        mount(None, fd, None, MS_REMOUNT | MS_BIND | MS_RDONLY | remount_flags(fd))
    finally:
        os.close(fd)


def _directory(workshop: Workshop, step: Directory) -> None:
    os.close(make_in_root(workshop.root, step.target, folder=True, mode=step.mode))


def _parent(workshop: Workshop, path: str) -> tuple[int, str]:
    """Open the folder above `path`, inside one of our own file systems, making what is missing."""
    parent, _, name = path.rpartition("/")
    try:
        return open_in_root(workshop.root, parent or "/", os.O_PATH | os.O_DIRECTORY), name
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
    above, last = _parent(workshop, parent)
    os.mkdir(last, 0o755, dir_fd=above)
    os.close(above)
    return open_in_root(workshop.root, parent, os.O_PATH | os.O_DIRECTORY), name


def _node(workshop: Workshop, step: Node) -> None:
    above, name = _parent(workshop, step.target)
    try:
        os.mknod(name, step.mode, os.makedev(step.major, step.minor), dir_fd=above)
        if step.uid or step.gid:
            os.chown(name, step.uid, step.gid, dir_fd=above, follow_symlinks=False)
    except PermissionError:
        # No CAP_MKNOD out here (an unprivileged machine): the host's own node serves.
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o666, dir_fd=above))
        mount(f"/dev/{step.target.removeprefix('/dev/')}", f"{fd_path(above)}/{name}", None, MS_BIND)
    finally:
        os.close(above)


def _link(workshop: Workshop, step: Link) -> None:
    above, name = _parent(workshop, step.target)
    try:
        os.symlink(step.points_to, name, dir_fd=above)
    finally:
        os.close(above)


def _file(workshop: Workshop, step: File) -> None:
    above, name = _parent(workshop, step.target)
    try:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        fd = os.open(name, flags, step.mode, dir_fd=above)
        try:
            os.write(fd, step.content.encode())
        finally:
            os.close(fd)
    finally:
        os.close(above)


def _mask(workshop: Workshop, step: Mask) -> None:
    try:
        target = open_in_root(workshop.root, step.target)
    except KernelError:
        return
    try:
        if stat.S_ISDIR(os.fstat(target).st_mode):
            mount("tmpfs", target, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=0,nr_inodes=1,mode=555")
        else:
            _hide_file(workshop.root, target)
    finally:
        os.close(target)


def _hide_file(root: int, target: int) -> None:
    """Never by the host's /dev/null: what root inside does to a mask (chmod, chown) would happen to that."""
    null = open_in_root(root, "/dev/null", follow=False)
    try:
        mount(null, target, None, MS_BIND)
    finally:
        os.close(null)


def _read_only(workshop: Workshop, step: ReadOnly) -> None:
    try:
        target = open_in_root(workshop.root, step.target)
    except KernelError:
        return
    try:
        mount(target, target, None, MS_BIND | MS_REC)
    finally:
        os.close(target)
    bound = open_in_root(workshop.root, step.target)
    try:
        keep = remount_flags(bound) & ~MS_RDONLY
        mount(None, bound, None, MS_REMOUNT | MS_BIND | keep | (0 if step.writable else MS_RDONLY))
    finally:
        os.close(bound)


def _network_groups(workshop: Workshop, step: NetworkGroups) -> None:
    try:
        merge_network_groups(workshop.root)
    except OSError as error:
        workshop.skipped.append(f"{step.describe()}: {error.strerror or error}")


def _resolvers(workshop: Workshop, step: Resolvers) -> None:
    with open(workshop.resolv_conf, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o644)  # the umask is 0 here, and this file is seen inside
        file.writelines(f"nameserver {server}\n" for server in step.servers)
    target = workshop.target(step.target, folder=False)
    try:
        mount(workshop.resolv_conf, target, None, MS_BIND)
    finally:
        os.close(target)


_ACTIONS: dict[type, _Action] = {
    Mount: _mount,
    BindMount: _bind,
    Directory: _directory,
    Node: _node,
    GettyTerminal: _terminal,
    Link: _link,
    File: _file,
    Mask: _mask,
    ReadOnly: _read_only,
    NetworkGroups: _network_groups,
    Resolvers: _resolvers,
}
