"""A program that runs for a caller, as its worker treats it: how a signal reaches it, when it has the terminal."""

import contextlib
import os
import signal

from berth.kernel.processes import catches, ignores

_HARMLESS = (signal.SIGKILL, signal.SIGCONT, signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH)


class Running:
    """A program without a terminal: the leader of a session and process group."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def send(self, number: int) -> None:
        """Send a signal to the program's process group, as a terminal's keys do."""
        if number == signal.SIGTSTP:
            number = signal.SIGSTOP  # nothing else stops a group without a shell above it
        self._send_group(number)

    def send_typed(self, number: int) -> None:
        """Do what a key that means signal `number` should have done and the kernel did not."""

    def show_in_foreground(self, foreground: bool) -> None:
        """Let the program read its terminal and set its mode, or have the kernel stop it when it tries."""

    def exit_code(self, status: int) -> int:
        """Return what a shell says of the program that ended with this wait status: 128+n for a signal."""
        return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def _send_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)


class RunningInTerminal(Running):
    """A program in a process group of the worker's own session, whose controlling terminal is `slave`."""

    def __init__(self, pid: int, slave: int) -> None:
        super().__init__(pid)
        self._slave = slave
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # the worker is in the background of that terminal

    def send(self, number: int) -> None:
        self._send_group(number)

    def show_in_foreground(self, foreground: bool) -> None:
        with contextlib.suppress(OSError):  # the terminal is hung up, or the group has ended
            os.tcsetpgrp(self._slave, self.pid if foreground else os.getpgrp())


class RunningFirst(Running):
    """A program that is PID 1 of its container: the kernel drops signals that it would die of or be stopped by."""

    def __init__(self, pid: int) -> None:
        super().__init__(pid)
        self._killed_for: int | None = None

    def send(self, number: int) -> None:
        """Send a signal as if the program were no PID 1: one that it would die of kills it."""
        if number not in _HARMLESS and not catches(self.pid, number) and not ignores(self.pid, number):
            if number == signal.SIGTSTP:
                number = signal.SIGSTOP
            elif self._killed_for is None:
                self._killed_for, number = number, signal.SIGKILL
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def send_typed(self, number: int) -> None:
        if not catches(self.pid, number) and not ignores(self.pid, number):
            self.send(number)

    def exit_code(self, status: int) -> int:
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        return 128 + self._killed_for if killed and self._killed_for is not None else super().exit_code(status)
