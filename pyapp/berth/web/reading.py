"""The API's routes that read files as `--conf` and `--env-file` do: by their path on the device, or as text.

Nothing is saved: the page fills in its form.
"""

import os

from berth import rules, values
from berth.droidspaces import understand
from berth.errors import UsageError
from berth.store import read_text
from berth.web.models import ReadConfiguration, ReadVariables
from berth.web.routes import Call


def configuration(call: Call) -> ReadConfiguration:
    """What a container.toml, or a container.config of Droidspaces, asks for."""
    text, path = _text(call)
    found = understand(text, path, net_chosen=call.body.net_chosen)
    return ReadConfiguration(found.spec, found.remarks(path))


def variables(call: Call) -> ReadVariables:
    """The variables of an env file."""
    text, path = _text(call)
    return ReadVariables(values.variables(path, text))


def _text(call: Call) -> tuple[str, str]:
    """The text and what it is called in a sentence; a text has no folder for its relative paths."""
    if call.body.text is not None:
        return call.body.text, call.body.path or "the text"
    path = rules.path("path", call.body.path)
    if not os.path.isfile(path):  # a device or a pipe might never end
        raise UsageError(f"{rules.quoted(path)} is no file of this device; check the path")
    return read_text(path), path
