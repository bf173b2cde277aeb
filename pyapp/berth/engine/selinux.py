"""SELinux permissive on the whole device, for as long as any container runs that asked for it.

RUN/selinux holds a file for each of those, with the boot it ran in, and `.enforcing` when SELinux has to be put back:
it is not there where SELinux was permissive before.  Container names never begin with a dot.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator

from berth.android.selinux import is_enforcing, set_enforcing
from berth.engine.journal import Journal
from berth.errors import BerthError
from berth.kernel.files import read_file
from berth.kernel.processes import boot_id

EFFECT = "selinux"
"""The kind of the journal's entry."""

_ENFORCING = ".enforcing"


def make_permissive(run: str, name: str, journal: Journal) -> None:
    """Have SELinux permissive for container `name`; raises BerthError where that can't be, OSError on a full disk."""
    os.makedirs(_folder(run), mode=0o700, exist_ok=True)
    with _locked(run) as folder:
        number = journal.intend(EFFECT, name)
        _write(f"{folder}/{name}", boot_id())
        try:
            if is_enforcing():
                _write(f"{folder}/{_ENFORCING}", boot_id())
                set_enforcing(on=False)
        except OSError as error:
            raise BerthError(
                f"container {name}: SELinux can't be made permissive ({error.strerror}); start it without"
                " --selinux-permissive"
            ) from error
        journal.done(number, boot_id())


def give_back(run: str, name: str) -> None:
    """Have container `name` ask for it no longer; SELinux is enforcing again if it was the last.  Raises OSError."""
    with _locked(run) as folder:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{folder}/{name}")
        _settle(run, folder)


def settle(run: str) -> None:
    """Put SELinux back if nobody asks any longer, whatever a crash left.  Raises OSError."""
    with _locked(run) as folder:
        _settle(run, folder)


def askers(run: str) -> tuple[str, ...]:
    """Return the containers for which SELinux is to be permissive now, sorted."""
    folder, boot = _folder(run), boot_id()
    known = (name for name in sorted(_names(folder)) if name != _ENFORCING)
    return tuple(name for name in known if _read(f"{folder}/{name}") == boot and _has_record(run, name))


def _settle(run: str, folder: str) -> None:
    if askers(run):
        return
    if _read(f"{folder}/{_ENFORCING}") == boot_id():
        set_enforcing(on=True)
    for name in _names(folder):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{folder}/{name}")


def _has_record(run: str, name: str) -> bool:
    return os.path.exists(f"{run}/containers/{name}/journal")


def _folder(run: str) -> str:
    return f"{run}/selinux"


@contextlib.contextmanager
def _locked(run: str) -> Iterator[str]:
    """Hold the lock of the folder and yield its path; where there is none, nobody has asked."""
    folder = _folder(run)
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield folder
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(fd)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _read(path: str) -> str:
    try:
        return read_file(path).decode(errors="replace")
    except FileNotFoundError:
        return ""


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
