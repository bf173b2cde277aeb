"""Whether there is a newer version, looked for only when the user wants to know: nothing calls home by itself.

Where to look stands in the module's module.prop, as root managers read it (updateJson).  What was published there when
somebody last looked is kept, so that the dashboard can tell of it without looking again.
"""

import os
from collections.abc import Mapping

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from berth import __version__
from berth.android.module import read_properties
from berth.errors import BerthError
from berth.home import Home
from berth.store import replace_file


class Announcement(Struct, frozen=True):
    """What is published for root managers."""

    version: str
    versionCode: int
    zipUrl: str
    changelog: str = ""


class Update(Struct, frozen=True, kw_only=True):
    """The own version and the latest one that is known, "" as long as nobody has looked.

    `zip` and `changelog` are addresses, "" where there is none; `looked_at` is when that was found, as Unix time.
    """

    version: str
    latest: str = ""
    newer: bool = False
    zip: str = ""
    changelog: str = ""
    looked_at: float | None = None


def look(home: Home) -> Update:
    """Look for a newer version, and keep what is found; raises BerthError."""
    properties = _properties()
    address = properties.get("updateJson")
    if not address:
        raise BerthError("updates: this build does not say where newer ones are published; look where you got it")
    from berth.android.download import fetch, trusted  # megabytes of TLS that nobody else needs

    data = fetch(address, trusted())
    judge(properties, data)  # what tells of no version is not worth keeping
    try:
        replace_file(_kept(home), data)
    except OSError as error:
        raise BerthError(f"updates: what was found can't be kept in {home.state}: {error.strerror}") from error
    return known(home)


def known(home: Home) -> Update:
    """Return what was found when somebody last looked; raises BerthError."""
    try:
        with open(_kept(home), "rb") as file:
            data, looked_at = file.read(), os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return Update(version=__version__)
    except OSError as error:
        raise BerthError(f"updates: {_kept(home)} can't be read: {error.strerror}") from error
    # Judged anew, because this version may be the one that was new then.
    return replace(judge(_properties(), data), looked_at=looked_at)


def judge(properties: Mapping[str, str], data: bytes) -> Update:
    """Return what the announcement `data` says to a module with these properties; raises BerthError."""
    try:
        found = msgspec.json.decode(data, type=Announcement)
    except msgspec.MsgspecError as error:
        raise BerthError("updates: what is published there tells of no version; try again later") from error
    own = properties.get("versionCode", "")
    newer = own.isdecimal() and found.versionCode > int(own)
    links = [link if link.startswith("https://") else "" for link in (found.zipUrl, found.changelog)]
    return Update(version=__version__, latest=found.version[:64], newer=newer, zip=links[0], changelog=links[1])


def _kept(home: Home) -> str:
    return f"{home.state}/updates.json"


def _properties() -> Mapping[str, str]:
    try:
        return read_properties()
    except OSError as error:
        raise BerthError(f"updates: {error.filename} can't be read: {error.strerror}") from error
