"""The API's routes about paired apps: the uids that have tokens."""

import pwd
import re

from berth.errors import BerthError, MissingError
from berth.web import browser
from berth.web.access import Access
from berth.web.models import App, Apps
from berth.web.routes import Call
from berth.web.streams import end_streams

_UID = re.compile(r"[0-9]{1,10}")


def apps(call: Call) -> Apps:
    """All apps that are paired, by uid."""
    tokens = Access(call.home).tokens()
    uids = sorted({token.uid for token in tokens})
    names = _names(tuple(uids))
    return Apps(
        tuple(
            App(
                uid=uid,
                names=names.get(uid, ()),
                tokens=sum(token.uid == uid for token in tokens),
                used_at=max((token.used_at for token in tokens if token.uid == uid and token.used_at), default=None),
                current=any(token.uid == uid and token.id == call.caller.token for token in tokens),
            )
            for uid in uids
        )
    )


def _names(uids: tuple[int, ...]) -> dict[int, tuple[str, ...]]:
    """What runs under each uid: Android's packages, elsewhere the user."""
    if browser.is_android():
        try:
            return browser.packages_of(uids)
        except BerthError:
            return {}  # Android's package service may be down, and the list is no less true
    found: dict[int, tuple[str, ...]] = {}
    for uid in uids:
        try:
            found[uid] = (pwd.getpwuid(uid).pw_name,)
        except KeyError:
            continue
    return found


def unpair(call: Call) -> None:
    """Make all tokens of an app worthless, and end what it still streams."""
    word = call.words["uid"]
    gone = Access(call.home).revoke_all(int(word)) if _UID.fullmatch(word) else ()
    if not gone:
        raise MissingError("there is no such app; it may have been unpaired already")
    for identity in gone:
        end_streams(call.home, identity)
