"""The audit log: who changed what over the API, and who was refused."""

import contextlib
import os
import time

import msgspec

from berth.home import Home
from berth.web.models import AuditEntry
from berth.web.routes import Caller

_LOG_BYTES = 256 * 1024
_SHOWN = 200


def note(home: Home, caller: Caller, what: str, status: int) -> None:
    """Write down that `caller` asked for `what` and got `status`; a disk that refuses loses it."""
    entry = AuditEntry(time.time(), caller.name or caller.token, caller.uid, what[:200], status)
    path = _path(home)
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if os.fstat(fd).st_size > _LOG_BYTES:
                os.replace(path, f"{path}.1")
            os.write(fd, msgspec.json.encode(entry) + b"\n")
        finally:
            os.close(fd)


def latest(home: Home) -> tuple[AuditEntry, ...]:
    """Return the last entries, newest last."""
    entries = []
    for path in (f"{_path(home)}.1", _path(home)):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _SHOWN * 400))
            for line in file:
                with contextlib.suppress(msgspec.MsgspecError):  # the first may be cut
                    entries.append(msgspec.json.decode(line, type=AuditEntry))
    return tuple(entries[-_SHOWN:])


def _path(home: Home) -> str:
    return f"{home.state}/audit.log"
