"""The flashed module as the root manager shows it."""

import os
import re

_FOLDER = "BERTH_MODULE"  # service.sh says where it lies
_MARK = re.compile(r"^description=(?:\[[^\]]*\] )*", re.MULTILINE)


def describe(mark: str) -> None:
    """Show `mark` in brackets in front of the module's description, or nothing for "".

    Does nothing where the service was not started by a module.  Raises OSError.
    """
    folder = os.environ.get(_FOLDER)
    if folder is None:
        return
    path = f"{folder}/module.prop"
    with open(path, encoding="utf-8") as file:
        text = file.read()
    changed = marked(text, mark)
    if changed != text:
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            file.write(changed)
        os.replace(f"{path}.new", path)


def marked(text: str, mark: str) -> str:
    """Return the module.prop `text` with `mark` in front of its description, in place of any that is there."""
    safe = mark.replace("[", "(").replace("]", ")").replace("\n", " ")
    front = f"description=[{safe}] " if safe else "description="
    return _MARK.sub(lambda _: front, text, count=1)
