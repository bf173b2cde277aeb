"""The virtual terminals on which an init keeps a getty, as its own files say."""

import contextlib
import os
import re
from collections.abc import Iterable

from berth.host import InitKind
from berth.kernel.call import KernelError
from berth.kernel.paths import open_in_root, read_in_root

_MOST = 12  # as many as anybody has, and as descriptors go in one message
_MOST_BYTES = 1 << 16
_AGAIN = ("respawn", "askfirst")
_TERMINAL = re.compile(r"(?<![^\s:/])tty[1-9]\d?(?![^\s:])")
_SERVICE = re.compile(r"a?getty-(tty[1-9]\d?)")
# Where runit finds its services: Debian's, Void's.
_RUNIT_FOLDERS = ("/etc/runit/runsvdir/current", "/etc/runit/runsvdir/default")


def read_getties(root: int, kind: InitKind) -> tuple[str, ...]:
    """Return the names (tty1, ...) for the init of `kind` in the root file system open at `root`; () for most inits."""
    if kind in ("sysvinit", "busybox"):
        text = (read_in_root(root, "/etc/inittab", _MOST_BYTES) or b"").decode(errors="replace")
        return named_in_inittab(text)
    return named_by_services(_services(root)) if kind == "runit" else ()


def named_in_inittab(text: str) -> tuple[str, ...]:
    """Return the terminals that lines of an inittab keep a program on.  See inittab(5), and BusyBox's own example."""
    found: dict[str, None] = {}
    for line in text.splitlines():
        fields = line.split(":", 3)
        if len(fields) == 4 and not line.startswith("#") and fields[2] in _AGAIN:
            found |= dict.fromkeys(_TERMINAL.findall(f"{fields[0]} {fields[3]}"))
    return tuple(found)[:_MOST]


def named_by_services(names: Iterable[str]) -> tuple[str, ...]:
    """Return the terminals of runit's services with these `names`."""
    return tuple(match[1] for name in sorted(names) if (match := _SERVICE.fullmatch(name)))[:_MOST]


def _services(root: int) -> list[str]:
    for folder in _RUNIT_FOLDERS:
        with contextlib.suppress(KernelError):
            fd = open_in_root(root, folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                return os.listdir(fd)
            finally:
                os.close(fd)
    return []
