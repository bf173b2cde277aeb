"""Operations: commands that take long, carried out for whoever asked and has perhaps gone since.

The supervisor owns them, so that they outlive a page and the web process.  Each is a worker that runs an ordinary
command; what it prints is the operation's log.
"""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from berth.engine.events import Event
from berth.errors import BerthError, MissingError
from berth.home import Home
from berth.kernel.processes import Process, start_time
from berth.kernel.sockets import accept, connect, listen
from berth.service.progress import log_line, part_done
from berth.service.protocol import Connection, peer_of

OPERATIONS_SOCKET = "operations.sock"
_LOG_BYTES = 32 * 1024  # with every byte written as \\u0000 still less than a packet
_SENTENCE_BYTES = 4096
_PACKET_BYTES = 256 * 1024
_KEPT = 50
_END_SECONDS = 20.0  # the service waits half as long for its web process

OperationState = Literal["running", "done", "failed", "cancelled"]


class Operation(Struct, frozen=True, kw_only=True):
    """One operation; times are Unix times.

    `container` is "" where it is about none; `sentence` is what to show of it: the last line it printed, or why it
    failed.  `progress` is from 0 to 1, None where nobody can know; `step` is the last one of `service/progress.py` that
    it came to; `log` is empty where operations are listed.
    """

    id: str
    kind: str
    container: str
    state: OperationState = "running"
    progress: float | None = None
    step: str = ""
    sentence: str = ""
    started_at: float
    ended_at: float | None = None
    log: str = ""


class Ask(Struct, frozen=True, kw_only=True):
    """What the supervisor is asked: to start `argv` as an operation, to tell of one or all, to cancel one, or to end.

    Or to start what safe mode has kept back, which is over now.
    `undo` is the command that takes back what a cancelled one may have done.
    """

    call: Literal["start", "list", "show", "cancel", "try-again", "end"]
    id: str = ""
    container: str = ""
    argv: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()


class Told(Struct, frozen=True):
    """The answer: `operations`, or why there is none; of a supervisor that ends itself its pid and start time."""

    operations: tuple[Operation, ...] = ()
    error: str = ""
    missing: bool = False
    ending: tuple[int, int] | None = None


def ask(home: Home, question: Ask) -> tuple[Operation, ...]:
    """Ask the supervisor of `home`; raises BerthError when none runs, MissingError for no such one."""
    try:
        told = _exchange(home, question)
    except OSError as error:
        raise BerthError('the service does not run; start it with "berth serve --background"') from error
    if told is None:
        raise BerthError("the service ended while it was asked; ask again")
    if told.error:
        raise MissingError(told.error) if told.missing else BerthError(told.error)
    return told.operations


def end_service(home: Home) -> None:
    """Have the supervisor of `home` end, and return when it has; raises BerthError when none runs, or it stays.

    It is asked itself, by its socket: the pid in its lock file is somebody else's some time after it was killed.
    """
    try:
        told = _exchange(home, Ask(call="end"), _END_SECONDS)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise BerthError("the service does not run, so there is nothing to end") from error
    except TimeoutError as error:
        raise BerthError(f"the service does not answer within {_END_SECONDS:.0f} s, so it was not ended") from error
    except OSError as error:
        raise BerthError(f"the service can't be asked to end: {error.strerror}") from error
    if told is None or told.ending is None:
        return  # it was about to end already
    supervisor = Process(*told.ending)
    ended = supervisor.wait(_END_SECONDS)
    supervisor.close()
    if not ended:
        raise BerthError(f"the service was asked to end and still runs after {_END_SECONDS:.0f} s; ask again later")


def _exchange(home: Home, question: Ask, seconds: float | None = None) -> Told | None:
    with connect(f"{home.run}/{OPERATIONS_SOCKET}", socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(seconds)
        sock.send(msgspec.json.encode(question))
        data = sock.recv(_PACKET_BYTES)
    return msgspec.json.decode(data, type=Told) if data else None


class _Run:
    """An operation that is under way: its worker's pid, the connection to that, and the reading end of its output."""

    def __init__(self, operation: Operation, ask: Ask) -> None:
        self.operation = operation
        self.undo = ask.undo
        self.output = bytearray()
        self.said = b""  # the last of what it printed itself, without the steps between
        self.cancelled = False
        self.pid = 0
        self.connection: Connection | None = None
        self.reader = -1


class Operations:
    """The supervisor's operations.

    `watch(fd, action)` has `action` called when `fd` is readable, `watch(fd, None)` ends that; `fork` forks a worker on
    a socket and returns its pid; `tell` is called with every operation that has changed, `try_again` when what was kept
    back is wanted.  `end_asked_for` becomes true when somebody wants the supervisor to end.
    """

    def __init__(
        self,
        home: Home,
        watch: Callable[[int, Callable[[], None] | None], None],
        fork: Callable[[socket.socket], int],
        tell: Callable[[Operation], None],
        try_again: Callable[[], None],
    ) -> None:
        self._watch = watch
        self._fork = fork
        self._tell = tell
        self._try_again = try_again
        self.end_asked_for = False
        self._ended: dict[str, Operation] = {}
        self._runs: dict[str, _Run] = {}
        self.path = f"{home.run}/{OPERATIONS_SOCKET}"
        self._listener = listen(self.path, socket.SOCK_SEQPACKET)
        watch(self._listener.fileno(), self._accept)

    def fileno(self) -> int:
        """Return the listener's descriptor, which must stay open where a process takes over."""
        return self._listener.fileno()

    def _accept(self) -> None:
        caller = accept(self._listener)
        if caller is None:
            return
        if peer_of(caller)[1] != 0:
            caller.close()
            return
        caller.setblocking(False)
        self._watch(caller.fileno(), lambda: self._answer(caller))

    def _answer(self, caller: socket.socket) -> None:
        self._watch(caller.fileno(), None)
        with caller, contextlib.suppress(OSError, msgspec.MsgspecError):
            data = caller.recv(_PACKET_BYTES)
            if data:
                caller.send(msgspec.json.encode(self._told(msgspec.json.decode(data, type=Ask))))

    def take_note(self, event: Event) -> bool:
        """Take the step that a container has come to; False for an event of another kind."""
        if event.event != "progress":
            return False
        for run in self._runs.values():
            before = run.operation
            part = part_done(before.kind, event.detail, before.progress)
            if before.container == event.name and not run.cancelled and part != before.progress:
                run.operation = replace(before, progress=part, step=event.detail)
                run.output += log_line(event.detail, event.at - before.started_at).encode()
                self._tell(run.operation)
        return True

    def _told(self, question: Ask) -> Told:
        if question.call == "end":
            self.end_asked_for = True
            return Told(ending=(os.getpid(), start_time(os.getpid()) or 0))
        if question.call == "try-again":
            self._try_again()
            return Told()
        if question.call == "list":
            running = [run.operation for run in self._runs.values()]
            return Told((*(replace(ended, log="") for ended in self._ended.values()), *running))
        if question.call == "start":
            try:
                return Told((self._start(question),))
            except OSError as error:
                return Told(error=f"{_title(question.argv[0], question.container)}: can't be begun: {error.strerror}")
        run = self._runs.get(question.id)
        if run is not None:
            if question.call == "cancel":
                self._cancel(run)
            return Told((replace(run.operation, log=_text(run.output)),))
        if question.id in self._ended:
            return Told((self._ended[question.id],))
        return Told(error="there is no such operation any more", missing=True)

    def _start(self, question: Ask) -> Operation:
        kind = question.argv[0]
        begun = Operation(
            id=os.urandom(8).hex(),
            kind=kind,
            container=question.container,
            sentence=_title(kind, question.container),
            started_at=time.time(),
        )
        run = _Run(begun, question)
        self._carry_out(run, question.argv)
        self._runs[begun.id] = run
        self._tell(begun)
        return begun

    def _carry_out(self, run: _Run, argv: tuple[str, ...]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            run.pid = self._fork(theirs)
        run.connection = Connection(ours)
        run.reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(writer, True)
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        try:
            run.connection.send({"call": "command", "argv": argv, "cwd": "/", "env": {}}, (null, writer, writer))
        finally:
            os.close(null)
            os.close(writer)
        self._watch(run.reader, lambda: self._read(run))
        self._watch(run.connection.fileno(), lambda: self._hear(run))

    def _read(self, run: _Run) -> None:
        """Take what was printed; at its end wait for the exit code only."""
        try:
            data = os.read(run.reader, 65536)
        except BlockingIOError:
            return
        if not data:
            self._watch(run.reader, None)
            return
        run.said = (run.said + data)[-_SENTENCE_BYTES:]
        run.output += data
        del run.output[:-_LOG_BYTES]

    def _hear(self, run: _Run) -> None:
        """Take what the worker tells; nobody hears from one that was killed."""
        assert run.connection is not None
        try:
            message, descriptors = run.connection.receive()
        except (OSError, ValueError):
            message, descriptors = None, []
        for fd in descriptors:
            os.close(fd)
        if message is not None and "exit" not in message:
            return
        self._read(run)
        self._let_go(run)
        if run.cancelled and run.undo:
            undo, run.undo = run.undo, ()
            with contextlib.suppress(OSError):
                self._carry_out(run, undo)
                return
        self._end(run, None if message is None else message["exit"])

    def _let_go(self, run: _Run) -> None:
        assert run.connection is not None
        self._watch(run.reader, None)
        self._watch(run.connection.fileno(), None)
        os.close(run.reader)
        run.connection.close()

    def _end(self, run: _Run, code: int | None) -> None:
        before, log = run.operation, _text(run.output)
        last = run.said.decode(errors="replace").rstrip("\n").rpartition("\n")[2].removeprefix("berth: ")
        state: OperationState = "cancelled" if run.cancelled else "done" if code == 0 else "failed"
        sentence = last or before.sentence
        if run.cancelled:
            sentence = f"{_title(before.kind, before.container)}: was cancelled"
        elif code is None:
            remedy = 'run "berth recover"' if before.container else "try again"
            sentence = f"{_title(before.kind, before.container)}: its process was killed; {remedy}"
        ended = replace(before, state=state, sentence=sentence, progress=1.0, ended_at=time.time(), log=log)
        del self._runs[before.id]
        self._ended[before.id] = ended
        while len(self._ended) > _KEPT:
            del self._ended[next(iter(self._ended))]
        self._tell(replace(ended, log=""))

    def _cancel(self, run: _Run) -> None:
        """Kill the worker, which leads a session of its own; a crash of it at any point can be undone."""
        if not run.cancelled:
            run.cancelled = True
            with contextlib.suppress(ProcessLookupError):
                os.kill(run.pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):  # with what it forked, such as a checker of images
                os.killpg(run.pid, signal.SIGKILL)

    def close(self) -> None:
        """Stop listening; what is under way goes on without an owner."""
        self._listener.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)


def _title(kind: str, container: str) -> str:
    return f"{kind} {container}" if container else kind


def _text(data: bytearray) -> str:
    return bytes(data).decode(errors="replace")
