"""A small init for `run --rm --init`: runs one program, passes signals on, reaps what is left to it."""

import os
import signal
from typing import NoReturn

from berth.engine.channel import Channel
from berth.engine.execute import NotExecuted, execute
from berth.kernel.processes import fork, reset_signals, setsid
from berth.kernel.terminals import make_controlling

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def reap_around(argv: tuple[str, ...], environment: dict[str, str], channel: Channel, terminal: int | None) -> NoReturn:
    """Be PID 1 around `argv` and end with its exit code (128+n for a signal); the others are killed by that end.

    With `terminal` the program leads a session with that terminal, where Ctrl-Z does nothing: a program that stopped
    could be continued by nobody.  `channel` is told if it can't be executed.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD, *_PASSED_ON, signal.SIGTTOU))
    pid = fork()
    if pid == 0:
        setsid()
        if terminal is not None:
            make_controlling(terminal)
        reset_signals()
        try:
            execute(argv, environment)
        except NotExecuted as error:
            channel.send({"exec": error.errno})
            os._exit(1)
    channel.close()
    while True:
        number = signal.sigwait((signal.SIGCHLD, *_PASSED_ON))
        if number != signal.SIGCHLD:
            os.kill(pid, number)
            continue
        while True:
            try:
                found, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if found == 0:
                break
            if found == pid:
                os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
