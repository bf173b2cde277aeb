"""System calls that a seccomp filter asks about, and their answers.  See seccomp_unotify(2); Linux 5.0, parts 5.14."""

import contextlib
import errno
import fcntl
import os
import struct
from typing import Final, NamedTuple

from berth.kernel.call import KernelError

_NOTIF_RECV: Final = 0xC0502100
_NOTIF_SEND: Final = 0xC0182101
_NOTIF_ID_VALID: Final = 0x40082102
_NOTIF_ADDFD: Final = 0xC0182103  # 5.9
_FLAG_CONTINUE: Final = 1  # 5.5
_ADDFD_FLAG_SEND: Final = 2  # 5.14
_NOTIFICATION: Final = "=QII iIQ 6Q"


class Question(NamedTuple):
    """A system call that waits for its answer: of thread `thread`, by the table `audit` (AUDIT_ARCH_)."""

    id: int
    thread: int
    number: int
    audit: int
    arguments: tuple[int, ...]


def receive(listener: int) -> Question | None:
    """Return the next question, None when the caller has died meanwhile; call it when `listener` is readable."""
    buffer = bytearray(struct.calcsize(_NOTIFICATION))
    try:
        fcntl.ioctl(listener, _NOTIF_RECV, buffer)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINTR):
            return None
        raise KernelError("SECCOMP_IOCTL_NOTIF_RECV", error.errno or 0) from None
    number, thread, _, call, audit, _, *arguments = struct.unpack(_NOTIFICATION, buffer)
    return Question(number, thread, call, audit, tuple(arguments))


def waits(listener: int, question: Question) -> bool:
    """Tell whether the caller still waits; then what was opened under its number before belongs to it."""
    try:
        fcntl.ioctl(listener, _NOTIF_ID_VALID, struct.pack("=Q", question.id))
    except OSError:
        return False
    return True


def answer(listener: int, question: Question, number: int) -> None:
    """Have the call fail with errno `number`, or succeed for 0; nothing happens when it was answered or died."""
    _send(listener, struct.pack("=QqiI", question.id, 0, -number, 0))


def let_pass(listener: int, question: Question) -> None:
    """Have the kernel carry the call out as if nobody had been asked; its memory may have changed since."""
    _send(listener, struct.pack("=QqiI", question.id, 0, 0, _FLAG_CONTINUE))


def answer_with_descriptor(listener: int, question: Question, fd: int, *, close_on_exec: bool) -> None:
    """Give the caller a copy of `fd`, whose number there is what the call returns."""
    flags = os.O_CLOEXEC if close_on_exec else 0
    with contextlib.suppress(OSError):
        fcntl.ioctl(listener, _NOTIF_ADDFD, struct.pack("=QIIII", question.id, _ADDFD_FLAG_SEND, fd, 0, flags))


def _send(listener: int, response: bytes) -> None:
    with contextlib.suppress(OSError):
        fcntl.ioctl(listener, _NOTIF_SEND, response)
