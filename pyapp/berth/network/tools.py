"""Where the system's own programs are, on a phone and elsewhere; a caller's PATH has no say in it."""

from typing import Final

FOLDERS: Final = "/system/bin:/usr/sbin:/sbin:/usr/bin"
