"""A container's run record: what is true of it, and how to take back what was done for it.

`RUN/containers/NAME/journal` is a file of JSON lines.  Every effect on the host is written there as intent before it is
made and again with its identity after, so that whoever finds the file after a crash knows what may exist and
can tell it from somebody else's.  Nothing is fsynced: kernel state dies with the boot, and the record carries
the boot id.  The monitor holds a lock on the file for as long as it lives.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from typing import Any, Self

import msgspec
from msgspec import Struct

from berth.home import Home
from berth.kernel.files import read_descriptor, read_file
from berth.kernel.locks import is_locked, lock, try_to_lock
from berth.plan.model import Plan
from berth.spec import StartOptions

LONGEST = 256 * 1024  # bytes: some ten times what the record of a start has


class Effect(Struct, frozen=True):
    """One entry: `kind` of effect on `target`; `identity` is None when it may not have happened."""

    number: int
    kind: str
    target: str
    identity: str | None = None


class State(Struct, frozen=True, kw_only=True):
    """What is true of a container of this boot; pids come with their start time in clock ticks.

    `started_at` is in seconds since the epoch, and only for showing.  A plan is never taken back, only replaced.
    """

    stage: str
    name: str
    boot: str
    monitor: tuple[int, int] | None = None
    init: tuple[int, int] | None = None
    rootfs: str = ""
    image: str = ""
    started_at: float = 0.0
    skipped: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    plan: Plan | None = None
    options: StartOptions = StartOptions()


class Journal:
    """The open record of one container; `intend` and `done` frame every effect on the host."""

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self.fd = fd
        self._next = 1
        self._plan: Plan | None = None

    @classmethod
    def create(cls, path: str) -> Self:
        """Start a new record, which is locked from the moment it is there, while the container's lock is held.

        Raises OSError when the run folder can't be written.
        """
        fd, beside = _open_beside(path)
        try:
            lock(fd)
            os.rename(beside, path)
        except OSError:
            os.close(fd)
            os.unlink(beside)
            raise
        return cls(path, fd)

    @classmethod
    def take_over(cls, path: str) -> Self | None:
        """Lock an existing record whose monitor is gone; None while one lives or when there is no record."""
        while True:
            try:
                fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
            locked = try_to_lock(fd)
            if locked and _is_there(fd, path):
                break
            os.close(fd)
            if not locked:
                return None
        journal = cls(path, fd)
        journal.number_on()
        if not _ends_with_newline(fd):
            os.write(fd, b"\n")  # what is written from now on must not be glued to a torn line
        return journal

    def intend(self, kind: str, target: str) -> int:
        """Write down that an effect is about to be made; return its number."""
        number = self._next
        self._next += 1
        self._write({"effect": {"number": number, "kind": kind, "target": target}})
        return number

    def done(self, number: int, identity: str) -> None:
        """Write down what the effect made, in words that tell it from a stranger's object."""
        self._write({"done": number, "identity": identity})

    def undone(self, number: int) -> None:
        """Write down that the effect is taken back."""
        self._write({"undone": number})

    def save(self, state: State) -> None:
        """Write down what is true now; the plan, which is nearly all of it, only when it is another one."""
        known, self._plan = self._plan, state.plan
        self._write({"state": state if state.plan is not known else msgspec.structs.replace(state, plan=None)})

    def _write(self, line: dict[str, Any]) -> None:
        _write_lines(self.fd, [line])

    def shorten(self, longest: int = LONGEST) -> None:
        """Write the record anew, as one state and what is to be undone, where it has grown beyond `longest` bytes.

        Reboots and devices that come and go make it grow for as long as the container runs.  Nobody else may be writing
        (a PID 1 that is setting up).  Where the disk refuses, the old one stays: a long record is a good one.
        """
        if os.fstat(self.fd).st_size <= longest:
            return
        state, effects = read_record(self.path)
        try:
            fd, beside = _open_beside(self.path)
        except OSError:
            return
        try:
            _write_lines(fd, [{"state": state}, *({"effect": effect} for effect in effects)])
            os.fsync(fd)
            lock(fd)
            os.rename(beside, self.path)
            os.dup2(fd, self.fd, inheritable=False)
        except OSError:
            os.unlink(beside)
        finally:
            os.close(fd)

    def number_on(self) -> None:
        """Go on with the numbers where the record is now: another process (PID 1) has written to it, too."""
        self._next = max((effect.number for effect in read_record(self.path)[1]), default=0) + 1

    def remove(self) -> None:
        """Forget the container: remove the record and let go of its lock."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self.close()

    def close(self) -> None:
        """Let go of the record and its lock."""
        os.close(self.fd)


def _open_beside(path: str) -> tuple[int, str]:
    beside = f"{path}.new"
    return os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600), beside


def read_record(path: str) -> tuple[State | None, list[Effect]]:
    """Return what a record says: the last state, and the effects that were not taken back, oldest first.

    A torn last line, left by a crash, is passed over.  Raises FileNotFoundError.
    """
    return _understand(read_file(path))


def look_at(path: str) -> tuple[State | None, bool]:
    """Return the last state in the record at `path`, and whether a living monitor holds it, both of one moment.

    So a record that is removed meanwhile is not taken for what a crash left.  Raises FileNotFoundError.
    """
    while True:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            watched = is_locked(fd)
            state, _ = _understand(read_descriptor(fd))
            if watched == is_locked(fd) and (watched or _is_there(fd, path)):
                return state, watched
        finally:
            os.close(fd)


def _understand(data: bytes) -> tuple[State | None, list[Effect]]:
    state: State | None = None
    effects: dict[int, Effect] = {}
    for line in _lines(data):
        if line.state is not None:
            known = state.plan if state else None
            state = line.state if line.state.plan else msgspec.structs.replace(line.state, plan=known)
        if line.effect is not None:
            effects[line.effect.number] = line.effect
        if line.done in effects:
            effects[line.done] = msgspec.structs.replace(effects[line.done], identity=line.identity)
        effects.pop(line.undone, None)
    return state, [effects[number] for number in sorted(effects)]


def _write_lines(fd: int, lines: Iterable[dict[str, Any]]) -> None:
    data = b"".join(_encode_line(line) + b"\n" for line in lines)
    while data:  # the first write takes less than all where the disk is nearly full, the next one fails
        data = data[os.write(fd, data) :]


class _Line(Struct, frozen=True):
    effect: Effect | None = None
    done: int = 0
    identity: str | None = None
    undone: int = 0
    state: State | None = None


_decode_line = msgspec.json.Decoder(_Line).decode
_encode_line = msgspec.json.Encoder().encode


def _lines(data: bytes) -> Iterator[_Line]:
    for raw in data.split(b"\n"):
        try:
            yield _decode_line(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue  # torn by a crash, or the nothing behind the last line


def _ends_with_newline(fd: int) -> bool:
    size = os.fstat(fd).st_size
    return size == 0 or os.pread(fd, 1, size - 1) == b"\n"


def is_watched(path: str) -> bool:
    """Tell whether a living monitor holds the record at `path`."""
    while True:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            if is_locked(fd):
                return True
            if _is_there(fd, path):
                return False
        finally:
            os.close(fd)


def _is_there(fd: int, path: str) -> bool:
    """Whether `path` leads to the file behind `fd`: one that was removed or written anew says nothing any more."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


class RunFolder:
    """The paths of one container below the run folder, which lives as long as the boot."""

    def __init__(self, home: Home, name: str) -> None:
        self.path = f"{home.run}/containers/{name}"
        self.journal = f"{self.path}/journal"
        self.lock = f"{self.path}/lock"
        self.socket = f"{self.path}/monitor.sock"
        self.resolv_conf = f"{self.path}/resolv.conf"
        self.new_root = f"{home.run}/root"

    def make(self) -> None:
        """Make the folders, all private to root; raises OSError (read-only or full file system)."""
        containers = os.path.dirname(self.path)
        run = os.path.dirname(containers)
        for folder in (os.path.dirname(run), run, containers, self.path, self.new_root):  # makedirs' mode is the last's
            os.makedirs(folder, mode=0o700, exist_ok=True)

    def remove(self) -> None:
        """Remove what a stopped container leaves there, while its lock is held."""
        with contextlib.suppress(OSError):
            for path in {os.path.join(self.path, name) for name in os.listdir(self.path)} - {self.lock}:
                os.unlink(path)  # socket, what a killed start had under way
            os.unlink(self.lock)  # last: from here on another start may make its own things here
            os.rmdir(self.path)

    @contextlib.contextmanager
    def locked(self, *, wait: bool = True) -> Iterator[int]:
        """Hold the container's lock: one operation at a time; a second one waits, or gets BlockingIOError.

        Yields the descriptor that holds it, for a child that goes on after the death of its parent.  Whoever leaves
        last removes the folder of a container that does not run.
        """
        fd = self._lock(fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield fd
        finally:
            if not os.path.exists(self.journal):
                self.remove()
            os.close(fd)

    def forget(self, journal: Journal) -> None:
        """Remove the record of a container that has ended, and the folder unless an operation holds its lock."""
        try:
            with self.locked(wait=False):
                journal.remove()
        except BlockingIOError:
            journal.remove()  # whoever holds the lock removes the folder

    def _lock(self, operation: int) -> int:
        while True:
            try:
                fd = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:
                self.make()  # and again: the folder may go between making and opening
                continue
            try:
                fcntl.flock(fd, operation)
                if os.fstat(fd).st_ino == os.stat(self.lock).st_ino:
                    return fd
            except FileNotFoundError:
                pass  # the one before us removed the file: lock the new one
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)


def identity_of(found: os.stat_result) -> str:
    """Return the identity of a file or folder: "device:inode"."""
    return f"{found.st_dev}:{found.st_ino}"
