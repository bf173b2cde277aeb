"""The last step of every process that Berth makes: becoming the program."""

import errno
import os
from typing import NoReturn

from berth.errors import BerthError

NOT_FOUND = 127
NOT_EXECUTABLE = 126
_ADVICE = {
    errno.ENOENT: "check the name, and that what runs it (its loader, or the program in its first line) is there too",
    errno.EACCES: "check its mode: it is no program, or not for this user",
    errno.ENOEXEC: "it is made for another kind of processor, or no program at all",
}


class ExecError(BerthError):
    """A program could not be executed; `exit_code` is 127 (not found) or 126 (not executable), as a shell has it."""

    def __init__(self, program: str, number: int) -> None:
        advice = _ADVICE.get(number, "check the name and its mode")
        super().__init__(f"{program}: {os.strerror(number)} in the container; {advice}")
        self.exit_code = NOT_FOUND if number == errno.ENOENT else NOT_EXECUTABLE


class NotExecuted(Exception):
    """execve(2) failed with `errno`; raised where the caller of Berth still has to be told."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.errno = number


def execute(argv: tuple[str, ...], environment: dict[str, str], path: str | None = None) -> NoReturn:
    """Replace the process by `path`, else by `argv[0]` looked up in PATH; raises NotExecuted."""
    try:
        if path is not None:
            os.execve(path, argv, environment)
        os.execvpe(argv[0], argv, environment)
    except OSError as error:
        raise NotExecuted(error.errno or errno.EIO) from error
