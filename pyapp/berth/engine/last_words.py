"""Lines of our own in a container's log: whoever is with a container has no other place to say something."""

import contextlib
import traceback
from collections.abc import Iterable

from berth.home import Home
from berth.kernel.call import explain


def complain(home: Home, name: str, sentence: object) -> None:
    """Say one sentence."""
    _write(home, name, [f"{sentence}\n"])


def leave_last_words(home: Home, name: str, error: BaseException) -> str:
    """Write down what nobody expected to fail, and return it in short."""
    _write(home, name, traceback.format_exception(error))
    return explain(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


def _write(home: Home, name: str, lines: Iterable[str]) -> None:
    with contextlib.suppress(OSError), open(home.log(name), "a", encoding="utf-8") as file:
        file.writelines(f"[berth] {line}" for line in lines)
