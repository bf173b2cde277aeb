"""Android's browser: which one opens links, under which uid it runs, and having it open one."""

import os
import subprocess
from collections.abc import Collection
from typing import NamedTuple

from berth.errors import BerthError

TOOLS = "/system/bin"
_SECONDS = 20.0
_VIEW = ("-a", "android.intent.action.VIEW")
_NOBODYS = ("android", "com.android.internal.app")  # asks which app to take: there is no default


class Browser(NamedTuple):
    """An app that opens links, and its uid."""

    package: str
    uid: int


def is_android() -> bool:
    """Whether this device has Android's tools to ask for a browser."""
    return os.path.exists(f"{TOOLS}/am") and os.path.exists(f"{TOOLS}/cmd")


def default_browser(tools: str = TOOLS) -> Browser:
    """Return the browser that opens links of the current user; raises BerthError where none was chosen."""
    # Without --brief the answer is pages long; with it the last line is PACKAGE/ACTIVITY (Android 7).
    asked = ("package", "resolve-activity", "--brief", "--user", "current", *_VIEW)
    category = ("-c", "android.intent.category.BROWSABLE")
    lines = _run(f"{tools}/cmd", *asked, *category, "-d", "http://127.0.0.1/").split("\n")
    package, slash, _ = lines[-1].partition("/")
    if not slash or package in _NOBODYS:
        raise BerthError("dashboard: no browser is the default one; choose it in Android's settings, or give its --uid")
    return Browser(package, _uid_of(package, tools))


def _uid_of(package: str, tools: str) -> int:
    for line in _run(f"{tools}/cmd", "package", "list", "packages", "-U", "--user", "current", package).split("\n"):
        name, _, uid = line.partition(" uid:")
        if name == f"package:{package}" and uid.isdecimal():  # others may only have this name in theirs
            return int(uid)
    raise BerthError(f"dashboard: Android does not tell the uid of {package}; give it by --uid")


def packages_of(uids: Collection[int], tools: str = TOOLS) -> dict[int, tuple[str, ...]]:
    """Return the packages of the current user that run under each of `uids`; raises BerthError."""
    found: dict[int, list[str]] = {}
    for line in _run(f"{tools}/cmd", "package", "list", "packages", "-U", "--user", "current").split("\n"):
        name, _, known = line.removeprefix("package:").partition(" uid:")
        for uid in known.split(","):  # of an app that several users have
            if uid.isdecimal() and int(uid) in uids:
                found.setdefault(int(uid), []).append(name)
    return {uid: tuple(sorted(names)) for uid, names in found.items()}


def open_link(browser: Browser, url: str, tools: str = TOOLS) -> None:
    """Have exactly this browser open `url`, so that no other app gets to see it; raises BerthError."""
    _run(f"{tools}/am", "start", "--user", "current", *_VIEW, "-p", browser.package, "-d", url)


def _run(*command: str) -> str:
    try:
        done = subprocess.run(
            command, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS
        )
    except (OSError, subprocess.SubprocessError) as error:
        # The command line is not told: it may hold the ticket.
        raise BerthError(f"dashboard: {command[0]} failed; give --uid and open the link by hand") from error
    return done.stdout.strip()
