"""Containers at rest: one that somebody ended stays so when the service comes back, until the next boot or start."""

import contextlib
import os

from berth.home import Home
from berth.kernel.files import note_file
from berth.kernel.processes import boot_id


def note(home: Home, name: str) -> None:
    """Note that somebody ended container `name` in this boot; one that was never saved has no place for it."""
    with contextlib.suppress(OSError):
        note_file(_path(home, name), f"{boot_id()}\n".encode())


def forget(home: Home, name: str) -> None:
    """Note that container `name` is wanted again."""
    with contextlib.suppress(OSError):
        os.unlink(_path(home, name))


def is_noted(home: Home, name: str) -> bool:
    """Tell whether somebody ended container `name` in this boot, and nobody has started it since."""
    try:
        with open(_path(home, name), encoding="utf-8", errors="replace") as file:
            return file.read().strip() == boot_id()
    except OSError:
        return False


def _path(home: Home, name: str) -> str:
    return f"{home.container(name)}/stopped-in-boot"
