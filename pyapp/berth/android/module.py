"""The flashed module: its module.prop, by which the root manager shows it and knows where newer ones are."""

import os
import re
from collections.abc import Mapping

_FOLDER = "BERTH_MODULE"  # service.sh says where it lies
_MARK = re.compile(r"^description=(?:\[[^\]]*\] )*", re.MULTILINE)


def describe(mark: str) -> None:
    """Show `mark` in brackets in front of the module's description, or nothing for "".

    Does nothing where the service was not started by a module.  Raises OSError.
    """
    path = _path()
    if path is None:
        return
    with open(path, encoding="utf-8") as file:
        text = file.read()
    changed = marked(text, mark)
    if changed != text:
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            file.write(changed)
        os.replace(f"{path}.new", path)


def read_properties() -> Mapping[str, str]:
    """Return the entries of its module.prop; none where the service was not started by a module.  Raises OSError."""
    path = _path()
    if path is None:
        return {}
    with open(path, encoding="utf-8") as file:
        return dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)


def marked(text: str, mark: str) -> str:
    """Return the module.prop `text` with `mark` in front of its description, in place of any that is there."""
    safe = mark.replace("[", "(").replace("]", ")").replace("\n", " ")
    front = f"description=[{safe}] " if safe else "description="
    return _MARK.sub(lambda _: front, text, count=1)


def _path() -> str | None:
    folder = os.environ.get(_FOLDER)
    return None if folder is None else f"{folder}/module.prop"
