"""Runs a program inside a running container: `enter`, `run`, and the shutdown command of an init.

The process is set up in full (cgroups, namespaces, capabilities, seccomp, user) while it is still in the host's
PID namespace, where nobody inside can see it; only its child, with nothing left to lose, is born in the container.
"""

import contextlib
import errno
import fcntl
import os
import signal
import socket
import sys
from typing import NamedTuple, NoReturn, Self

from msgspec import Struct

from berth.engine import cgroups
from berth.engine.apart import do_apart
from berth.engine.birth_place import BirthPlace
from berth.engine.cgroup_mounts import reach
from berth.engine.channel import Channel
from berth.engine.confine import confine
from berth.engine.containers import Alive
from berth.engine.execute import NOT_FOUND, ExecError, NotExecuted, execute
from berth.engine.own_null import take_own_null
from berth.engine.passwd import Account, look_up_user
from berth.engine.stages import reached
from berth.engine.surroundings import reset_limits
from berth.errors import BerthError
from berth.kernel import seccomp
from berth.kernel.namespaces import open_namespaces, setns
from berth.kernel.paths import open_in_root
from berth.kernel.processes import (
    Process,
    become_subreaper,
    close_all_but,
    end_with,
    forbid_inspection,
    fork,
    reset_signals,
    setsid,
)
from berth.kernel.sockets import connect
from berth.kernel.terminals import make_controlling, open_pty
from berth.plan.model import Plan


class Program(Struct, frozen=True, kw_only=True):
    """What to run inside: `argv` (empty: the user's login shell), as whom, with what other variables."""

    argv: tuple[str, ...] = ()
    user: str = "root"
    environment: dict[str, str] = {}


class OwnTerminal(NamedTuple):
    """A terminal for a program: its slave, and whether the program is to be in its foreground from the beginning."""

    slave: int
    foreground: bool


class Door:
    """An open way into one running container; close it when the process inside has been started."""

    def __init__(self, container: Alive) -> None:
        """Open namespaces and root of the container's init; raises BerthError when it has ended."""
        self.container = container
        try:
            self.namespaces = open_namespaces(container.pid)
            self.root = os.open(f"/proc/{container.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, ProcessLookupError) as error:
            raise BerthError(f"container {container.name}: ended just now") from error
        process = Process(container.pid, container.started)  # after opening: what was opened belongs to this process
        alive = process.alive
        process.close()
        if not alive:
            self.close()
            raise BerthError(f"container {container.name}: ended just now")

    def close(self) -> None:
        """Let go of namespaces and root."""
        for fd in (*self.namespaces.values(), self.root):
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open_terminal(self) -> tuple[int, int]:
        """Open a terminal of the container's own devpts; return (master, slave).

        Raises BerthError where root inside has put something else in its place.
        """
        with contextlib.ExitStack() as opened:
            try:
                ptmx = open_in_root(self.root, "/dev/pts/ptmx")
                opened.callback(os.close, ptmx)
                folder = open_in_root(self.root, "/dev/pts", os.O_RDONLY | os.O_DIRECTORY)
                opened.callback(os.close, folder)
                return open_pty(ptmx, folder)
            except OSError as error:
                raise BerthError(
                    f"container {self.container.name}: its /dev/pts/ptmx gives no terminal ({error.strerror}), because"
                    f' something inside has replaced it; "berth restart {self.container.name}" puts it right'
                ) from error

    def start(self, program: Program, stdio: tuple[int, int, int], terminal: OwnTerminal | None) -> int:
        """Start `program` on `stdio` and return its pid on the host; it is the caller's child.

        A `terminal` becomes the controlling one of the caller's session, and the program a process group there, so
        that stopping and resuming work.  Raises ExecError, and BerthError for an unknown user.
        """
        account = look_up_user(self.root, program.user)
        become_subreaper()
        if terminal is not None:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the hang-up of the terminal is for the program
            if os.getsid(0) != os.getpid():
                setsid()
            make_controlling(terminal.slave)
            os.fchown(terminal.slave, account.uid, -1)  # the program may open it by its name
        ours, theirs = Channel.pair()
        reach(self.container.plan.cgroups)
        place = BirthPlace(cgroups.current(self.container.pid))
        joiner = place.fork()
        if joiner == 0:
            end_with(
                lambda: self._join(program, account, stdio, place=place, terminal=terminal, channel=theirs),
                lambda error: theirs.send({"error": f"container {self.container.name}: {_why_not(error)}"}),
            )
        theirs.close()
        try:
            return self._await_start(program, ours, joiner)
        finally:
            ours.close()

    def _await_start(self, program: Program, channel: Channel, joiner: int) -> int:
        message, descriptors = channel.receive()
        if message is not None and "error" in message:
            raise BerthError(message["error"])
        for listener in descriptors:
            self._hand_over(listener)
        # From here on root inside may have the channel from the program's process, and speak in its place.
        pid, failed = 0, None
        while message is not None:
            message, descriptors = channel.receive()
            for fd in descriptors:
                os.close(fd)
            if message is None:
                break
            if "pid" in message and not pid:
                os.waitpid(joiner, 0)
                pid = _own_child(message["pid"])
            elif "exec" in message:
                failed = message["exec"]  # which may come before the pid: they are told by two processes
            elif "error" in message and not pid:
                raise BerthError(message["error"])
            if pid and failed is not None:
                os.waitpid(pid, 0)
                raise ExecError(program.argv[0] if program.argv else "the login shell", failed)
        if not pid:
            os.waitpid(joiner, 0)
            raise BerthError(
                f"container {self.container.name}: the process that enters it was killed; try again, "
                'and if its memory is full ("berth info"), with a higher --memory'
            )
        return pid

    def _hand_over(self, listener: int) -> None:
        """Give the monitor what hears the program's filter; without a monitor the kernel answers ENOSYS."""
        try:
            with connect(self.container.socket) as monitor:
                socket.send_fds(monitor, [b'{"call": "guard"}'], [listener])
        except OSError:
            pass
        finally:
            os.close(listener)

    def _join(
        self,
        program: Program,
        account: Account,
        stdio: tuple[int, int, int],
        *,
        place: BirthPlace,
        terminal: OwnTerminal | None,
        channel: Channel,
    ) -> NoReturn:
        """Become somebody inside the container in everything but the PID namespace, then fork into that."""
        forbid_inspection()
        rules = self.container.plan.syscall_rules
        seccomp_program = seccomp.assemble(rules, os.uname().machine) if rules else b""
        for number, fd in enumerate([fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in stdio]):
            os.dup2(fd, number)
        reset_limits(self.container.plan.oom_score_adj)
        sys.meta_path.clear()  # from here on an import would run the container's code
        place.enter()  # before the namespaces, or logind can't tell the session: `su` would hang
        for word, fd in self.namespaces.items():
            setns(fd, word)
        os.fchdir(self.root)  # where the host's root is a ramfs, a container without its root would show that one
        os.chroot(".")
        close_all_but(channel.fileno(), *(() if terminal is None else (terminal.slave,)))
        take_own_null()
        listener = confine(self.container.plan.capabilities, rules, seccomp_program)
        os.setgroups(account.groups)
        os.setgid(account.gid)
        os.setuid(account.uid)
        channel.send({"joined": True}, () if listener is None else (listener,))
        if listener is not None:
            os.close(listener)
        pid = fork()
        if pid:
            channel.send({"pid": pid})
            os._exit(0)
        environment = _environment(self.container.plan, account, program)
        _execute(program, account, environment, terminal=terminal, channel=channel)


def _why_not(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno == errno.EAGAIN:
        return "has as many processes as its limit allows; end some inside, or start it with a larger --pids-limit"
    return f"can't be entered: {error}"


def _environment(plan: Plan, account: Account, program: Program) -> dict[str, str]:
    """The container's variables, but for its console's TERM; over them the user's own, and what the caller asks for."""
    return {
        **{key: value for key, value in plan.environment.items() if key != "TERM"},
        "HOME": account.home,
        "SHELL": account.shell,
        "USER": account.name,
        "LOGNAME": account.name,
        **program.environment,
    }


def _own_child(pid: object) -> int:
    """Return `pid` if it is a child of the caller's; raises BerthError for what somebody has made up."""
    try:
        os.waitid(os.P_PID, int(str(pid)), os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except (ValueError, OverflowError, ChildProcessError):
        raise BerthError("something inside has interfered with the process that entered; try again") from None
    return int(str(pid))


def _execute(
    program: Program,
    account: Account,
    environment: dict[str, str],
    *,
    terminal: OwnTerminal | None,
    channel: Channel,
) -> NoReturn:
    reached("entered")
    if terminal is None:
        setsid()
    else:
        os.setpgid(0, 0)
        if terminal.foreground:
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTTOU,))
            os.tcsetpgrp(terminal.slave, os.getpgrp())
    reset_signals()
    argv = program.argv or (f"-{os.path.basename(account.shell)}",)
    try:
        os.chdir(account.home)
    except OSError:
        os.chdir("/")
    try:
        execute(argv, environment, None if program.argv else account.shell)
    except NotExecuted as error:
        channel.send({"exec": error.errno})
    os._exit(NOT_FOUND)


def run_quietly(container: Alive, argv: tuple[str, ...], seconds: float) -> int | None:
    """Run `argv` inside without input or output and return its exit code, 128+n for a signal.

    None when it could not be run, or takes longer than `seconds`, which root inside can bring about at every step; it
    is given up then, and goes with the container.
    """
    with contextlib.suppress(BerthError, OSError):
        return do_apart(lambda: _run_on_null(container, argv), int, seconds)
    return None


def _run_on_null(container: Alive, argv: tuple[str, ...]) -> int:
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    with Door(container) as door:
        pid = door.start(Program(argv=argv), (null, null, null), None)
    status = os.waitpid(pid, 0)[1]
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
