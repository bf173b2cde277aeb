"""What holds for all containers of a home, kept in settings.json."""

import contextlib
import os

import msgspec
from msgspec import Struct

from berth.errors import BerthError
from berth.home import Home


class GlobalSettings(Struct, frozen=True, kw_only=True):
    """In safe mode no container starts with the service."""

    safe_mode: bool = False


def load_settings(home: Home) -> GlobalSettings:
    """Return what is saved; what can't be read counts as not set."""
    with contextlib.suppress(OSError, msgspec.MsgspecError), open(_path(home), "rb") as file:
        return msgspec.json.decode(file.read(), type=GlobalSettings)
    return GlobalSettings()


def save_settings(home: Home, settings: GlobalSettings) -> None:
    """Save `settings` in one step; raises BerthError where the disk refuses."""
    path = _path(home)
    try:
        os.makedirs(home.state, mode=0o700, exist_ok=True)
        fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(fd, "wb") as file:
            file.write(msgspec.json.encode(settings))
            file.flush()
            os.fsync(fd)
        os.rename(f"{path}.new", path)
    except OSError as error:
        raise BerthError(f"{path}: settings can't be kept there: {error.strerror}") from error


def _path(home: Home) -> str:
    return f"{home.state}/settings.json"
