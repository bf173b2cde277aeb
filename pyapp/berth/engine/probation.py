"""Containers on probation: a marker on disk names each that the service has started lately (see `safe_mode`).

It goes with the container's end, whether there is a service then or not: whoever notes that end takes it away.
"""

import contextlib
import os

from berth.home import Home
from berth.kernel.processes import boot_id
from berth.store import sync_folder

SECONDS = 120.0


def mark(home: Home, name: str) -> None:
    """Note on the disk itself that container `name` is being started by the service.  Raises OSError."""
    os.makedirs(_folder(home), mode=0o700, exist_ok=True)
    with open(_marker(home, name), "w", encoding="utf-8") as file:
        file.write(f"{boot_id()}\n")
        file.flush()
        os.fsync(file.fileno())
    sync_folder(_folder(home))


def unmark(home: Home, name: str) -> None:
    """Note that the phone survived container `name`.  Raises OSError."""
    try:
        os.unlink(_marker(home, name))
    except FileNotFoundError:
        return
    sync_folder(_folder(home))


def end(home: Home, name: str) -> None:
    """Take container `name` off probation, which has ended; a marker of an earlier boot has yet to be judged."""
    with contextlib.suppress(OSError):
        if _boot_of(home, name) == boot_id():
            unmark(home, name)


def is_marked(home: Home, name: str) -> bool:
    """Tell whether container `name` has a marker."""
    return os.path.exists(_marker(home, name))


def markers(home: Home) -> dict[str, str]:
    """Return in which boot each container was marked; one that is empty was cut short, and so is of an earlier boot."""
    found = {}
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(_folder(home)):
            with contextlib.suppress(OSError):
                found[name] = _boot_of(home, name)
    return found


def _boot_of(home: Home, name: str) -> str:
    with open(_marker(home, name), encoding="utf-8", errors="replace") as file:
        return file.read().strip()


def _folder(home: Home) -> str:
    return f"{home.state}/starting"


def _marker(home: Home, name: str) -> str:
    return f"{_folder(home)}/{name}"
