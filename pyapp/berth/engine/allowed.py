"""What of a plan decides about new file systems, read without the rest of it: each mount waits for that."""

import msgspec
from msgspec import Struct

from berth.errors import BerthError
from berth.kernel.files import read_file
from berth.plan.model import DevicePolicy, MountPolicy


class Allowed(Struct, frozen=True):
    """Which file systems a container may mount, and which devices it may open."""

    mounts: MountPolicy
    devices: DevicePolicy


def read_allowed(path: str) -> Allowed:
    """Return what the plan in force allows, by the run record at `path`.

    Raises FileNotFoundError, and BerthError for a record without a plan.
    """
    for raw in reversed(read_file(path).split(b"\n")):
        try:
            state = _decode_line(raw).state
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue  # torn by a crash, or the nothing behind the last line
        if state is not None and state.plan is not None:
            return state.plan
    raise BerthError(f"{path}: has no plan")


class _State(Struct, frozen=True):
    plan: Allowed | None = None


class _Line(Struct, frozen=True):
    state: _State | None = None


_decode_line = msgspec.json.Decoder(_Line).decode
