"""What the net process keeps on disk: of this boot what it changed and for whom, for good who has which address."""

import contextlib
import os
from typing import TypeVar

import msgspec
from msgspec import Struct

from berth.home import Home
from berth.network.model import Changed, Member, Plug

_Kind = TypeVar("_Kind", bound=Struct)


class Abilities(Struct, frozen=True):
    """What was found out in boot `boot`: which firewall works, and whether there is NAT for IPv6."""

    boot: str
    firewall: str
    nat6: bool


class Book(Struct, frozen=True):
    """What is kept for good: the subnet, and the address of every container that ever had one in it."""

    subnet: str = ""
    addresses: dict[str, str] = {}
    abilities: Abilities | None = None


class NetFolder:
    """The paths of the net process below the run folder."""

    def __init__(self, run: str) -> None:
        self.path = os.path.join(run, "network")
        self.socket = os.path.join(self.path, "control.sock")
        self.lock = os.path.join(self.path, "lock")
        self.changed = os.path.join(self.path, "changed")
        self.members = os.path.join(self.path, "members")
        self.plugs = os.path.join(self.path, "plugs")

    def member(self, name: str) -> str:
        """Return where the record of container `name` is."""
        return os.path.join(self.members, f"{name}.json")

    def make(self) -> None:
        """Make the folders, all private to root; raises OSError."""
        run = os.path.dirname(self.path)
        for folder in (os.path.dirname(run), run, self.path, self.members, self.plugs):
            os.makedirs(folder, mode=0o700, exist_ok=True)

    def remains(self) -> bool:
        """Tell whether something was changed for containers and not taken back."""
        return os.path.exists(self.changed) or bool(_names(self.plugs))


class Records:
    """Reads and writes them.  Each file is replaced as a whole; what a crash tore is passed over."""

    def __init__(self, home: Home) -> None:
        self.folder = NetFolder(home.run)
        self._book = os.path.join(home.state, "network.json")

    def changed(self) -> Changed | None:
        """Return what was changed on the host, None for nothing."""
        return _read(self.folder.changed, Changed)

    def save_changed(self, changed: Changed) -> None:
        """Write down what is going to be changed."""
        _write(self.folder.changed, changed)

    def members(self) -> list[Member]:
        """Return the containers that have, or may have, a link."""
        return _read_all(self.folder.members, Member)

    def save_member(self, member: Member) -> None:
        """Write down a container that is going to get a link."""
        _write(self.folder.member(member.wish.name), member)

    def forget_member(self, name: str) -> None:
        """Remove the record of container `name`, of which nothing is left."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.folder.member(name))

    def forget_all(self) -> None:
        """Remove what is kept of this boot, but for socket and lock."""
        for member in self.members():
            self.forget_member(member.wish.name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.folder.changed)

    def book(self) -> Book:
        """Return what is kept for good."""
        return _read(self._book, Book) or Book()

    def save_book(self, book: Book) -> None:
        """Keep it; raises OSError."""
        if book != self.book():
            os.makedirs(os.path.dirname(self._book), mode=0o700, exist_ok=True)  # the first container of all
            _write(self._book, book)


class PlugRecords:
    """Reads and writes what is kept of containers that are plugged into a LAN, each by its own file."""

    def __init__(self, home: Home) -> None:
        self._folder = NetFolder(home.run).plugs

    def read(self) -> list[Plug]:
        """Return those that have, or may have, a link."""
        return _read_all(self._folder, Plug)

    def save(self, plug: Plug) -> None:
        """Write down a container that is going to be plugged in."""
        _write(self._path(plug.wish.name), plug)

    def forget(self, name: str) -> None:
        """Remove the record of container `name`, of which nothing is left."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(name))

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, f"{name}.json")


def _names(folder: str) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return sorted(name for name in os.listdir(folder) if name.endswith(".json"))
    return []


def _read_all(folder: str, kind: type[_Kind]) -> list[_Kind]:
    found = (_read(os.path.join(folder, name), kind) for name in _names(folder))
    return [record for record in found if record is not None]


def _read(path: str, kind: type[_Kind]) -> _Kind | None:
    try:
        with open(path, "rb") as file:
            return msgspec.json.decode(file.read(), type=kind)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _write(path: str, value: Struct) -> None:
    beside = f"{path}.new"
    with open(beside, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(msgspec.json.encode(value))
    os.rename(beside, path)
