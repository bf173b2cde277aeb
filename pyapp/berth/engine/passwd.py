"""Users and groups as a container's own files name them.

Never through libc's NSS, which would load code: the files are read by descriptor inside the container's root.
"""

from msgspec import Struct

from berth.errors import BerthError
from berth.kernel.paths import read_in_root

_NO_ID = 0xFFFFFFFF
_MOST_DIGITS = 10


class Account(Struct, frozen=True):
    """One user: numbers, supplementary groups, home folder and shell.  See passwd(5)."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str


def look_up_user(root: int, user: str) -> Account:
    """Return the account that `user` (a name or a number) is in the passwd file below descriptor `root`.

    A number without an entry is itself, with group 0 and home /.  Raises BerthError for an unknown name.
    """
    entries = _lines(root, "/etc/passwd", 7)
    for name, _, uid, gid, _, home, shell in entries:
        if user in (name, uid) and _is_id(uid) and _is_id(gid):
            return Account(name, int(uid), int(gid), _groups(root, name, int(gid)), home or "/", shell or "/bin/sh")
    if _is_id(user):
        return Account(user, int(user), 0, (), "/", "/bin/sh")
    if user == "root":
        return Account("root", 0, 0, (0,), "/root", "/bin/sh")
    known = ", ".join(sorted({entry[0] for entry in entries if entry[6].endswith("sh")})[:8])
    raise BerthError(f"user {user}: the container has no such user" + (f"; it has {known}" if known else ""))


def _is_id(text: str) -> bool:
    """Tell whether it is a number for the kernel, whose last one, -1, means none.  The files may hold anything."""
    return text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and int(text) < _NO_ID


def _groups(root: int, name: str, gid: int) -> tuple[int, ...]:
    found = {gid}
    for _, _, number, members in _lines(root, "/etc/group", 4):
        if name in members.split(",") and _is_id(number):
            found.add(int(number))
    return tuple(sorted(found))


def _lines(root: int, path: str, fields: int) -> list[list[str]]:
    text = (read_in_root(root, path, 1 << 20) or b"").decode(errors="replace")
    return [parts for line in text.splitlines() if len(parts := line.split(":")) == fields]
