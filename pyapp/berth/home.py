"""Where Berth keeps its things on this device.

Imports nothing but `os`: the cold command line asks for the socket before anything else.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_PHONE = "/data/adb"  # made by Magisk, KernelSU and APatch; nothing else is writable and private to root at boot
_LINUX = "/var/lib/berth"


class Home:
    """Paths below the state folder (kept) and the run folder (of this boot)."""

    __slots__ = ("run", "state")

    def __init__(self, state: str, run: str) -> None:
        self.state = state
        self.run = run

    @property
    def tag(self) -> str:
        """What tells its containers' cgroups from those of other homes: "" for a device's own home, else 8 digits."""
        if self.state in (f"{_PHONE}/berth", _LINUX):
            return ""
        from binascii import crc32

        return f"{crc32(os.fsencode(self.state)):08x}"

    @property
    def containers(self) -> str:
        """The folder with one folder for each container."""
        return f"{self.state}/containers"

    @property
    def socket(self) -> str:
        """The service's control socket."""
        return f"{self.run}/control.sock"

    def container(self, name: str) -> str:
        """All that is kept about container `name`."""
        return f"{self.containers}/{name}"

    def spec(self, name: str) -> str:
        """Its container.toml."""
        return f"{self.container(name)}/container.toml"

    def log(self, name: str) -> str:
        """What its console said."""
        return f"{self.container(name)}/log"


def find_home(environ: "Mapping[str, str]") -> Home:
    """The Home of this device, or the one that BERTH_HOME in `environ` names."""
    chosen = environ.get("BERTH_HOME")
    if chosen:
        state = os.path.abspath(chosen)
        return Home(state, f"{state}/run")
    if os.path.isdir(_PHONE):
        return Home(f"{_PHONE}/berth", f"{_PHONE}/berth/run")
    return Home(_LINUX, "/run/berth")
