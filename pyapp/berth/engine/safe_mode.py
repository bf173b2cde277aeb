"""Safe mode: a phone never loops because of what starts by itself.

Before a container is started by the service a marker on disk names it; the marker goes when the phone has lived with
it for two minutes, or when the container has ended.  One that is found in a later boot says that the phone died with
it: that container is kept back.  After two such boots in a row, or with the file `safe` in the state folder,
nothing starts by itself, until the user asks to try again.
"""

import contextlib
import os
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from berth.engine import launch, probation
from berth.engine.containers import look_up
from berth.errors import BerthError
from berth.home import Home
from berth.kernel.processes import boot_id
from berth.spec import StartOptions
from berth.store import list_names, load_spec, replace_file

MOST_DEATHS = 2

_WENT_DOWN = "the phone went down while it was starting"


class Verdict(Struct, frozen=True):
    """What earlier boots have shown: `deaths` boots in a row that ended with a marker, the containers `kept_back`.

    `boot` is the boot in which this was judged.
    """

    boot: str = ""
    deaths: int = 0
    kept_back: tuple[str, ...] = ()


def judge(before: Verdict, markers: dict[str, str], boot: str, *, asked_for: bool) -> Verdict:
    """Return the verdict in boot `boot`, given that of an earlier one and the markers (name to boot).

    `asked_for` says that the last boot's end was asked for: whoever turns the phone off has not been failed by it.
    """
    if before.boot == boot:
        return before
    died_with = {name for name, marked in markers.items() if marked != boot}
    if died_with and not asked_for:
        return Verdict(boot, before.deaths + 1, tuple(sorted({*before.kept_back, *died_with})))
    return Verdict(boot, before.deaths if before.deaths >= MOST_DEATHS else 0, before.kept_back)


def judge_this_boot(home: Home, *, asked_for: bool) -> None:
    """Read the markers of earlier boots, write the verdict and take them away.  Raises OSError."""
    boot, markers = boot_id(), probation.markers(home)
    before = read_verdict(home)
    verdict = judge(before, markers, boot, asked_for=asked_for)
    if verdict != before:
        _write(home, verdict)
    for name, marked in markers.items():
        if marked != boot:
            probation.unmark(home, name)


def read_verdict(home: Home) -> Verdict:
    """Return the last verdict; one that can't be read says nothing."""
    try:
        with open(_verdict_path(home), "rb") as file:
            return msgspec.json.decode(file.read(), type=Verdict)
    except (OSError, msgspec.DecodeError):
        return Verdict()


def kept_back(home: Home) -> dict[str, str]:
    """Return why containers do not start by themselves, by name; all that otherwise would where nothing does."""
    verdict = read_verdict(home)
    why = _why_nothing_starts(home, verdict)
    if why:
        return dict.fromkeys(_autostarted(home), why)
    return dict.fromkeys(verdict.kept_back, _WENT_DOWN)


def _autostarted(home: Home) -> Iterator[str]:
    for name in list_names(home):
        with contextlib.suppress(BerthError):  # the list of containers says what is wrong with it
            if load_spec(home, name).autostart:
                yield name


def is_on(home: Home) -> bool:
    """Tell whether nothing starts by itself."""
    return bool(_why_nothing_starts(home, read_verdict(home)))


def summary(home: Home) -> str:
    """Return in one sentence what does not start by itself, and why; "" where everything does."""
    verdict = read_verdict(home)
    why = _why_nothing_starts(home, verdict)
    if why:
        return f"Safe mode: nothing starts by itself, because {why}"
    if verdict.kept_back:
        return f"Safe mode: not started by itself, because {_WENT_DOWN}: {', '.join(verdict.kept_back)}"
    return ""


def _why_nothing_starts(home: Home, verdict: Verdict) -> str:
    if os.path.exists(_switch_path(home)):
        return f"{_switch_path(home)} is there"
    if verdict.deaths >= MOST_DEATHS:
        names = ", ".join(verdict.kept_back)
        return f"the phone went down {verdict.deaths} times in a row while containers were starting: {names}"
    return ""


def try_again(home: Home) -> None:
    """Forget the verdict, and the file that asks for safe mode.  Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_switch_path(home))
    _write(home, Verdict(boot=boot_id()))


def ask_for(home: Home) -> None:
    """Have nothing start by itself from the next boot on, until `try_again`.  Raises OSError."""
    os.makedirs(home.state, mode=0o700, exist_ok=True)
    with open(_switch_path(home), "w", encoding="utf-8"):
        pass


def start_on_probation(home: Home, name: str) -> None:
    """Start the saved container `name` with a marker, unless it runs.  Raises BerthError."""
    if not look_up(home, name).runs:
        launch.start(home, load_spec(home, name), StartOptions(), on_probation=True)


def _write(home: Home, verdict: Verdict) -> None:
    os.makedirs(home.state, mode=0o700, exist_ok=True)
    replace_file(_verdict_path(home), msgspec.json.encode(verdict))


def _verdict_path(home: Home) -> str:
    return f"{home.state}/safe-mode.json"


def _switch_path(home: Home) -> str:
    return f"{home.state}/safe"
