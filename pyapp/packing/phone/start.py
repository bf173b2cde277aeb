"""Starts the `berth` command on a phone, as `python3 -IS start.pyc`: only what lies beside it can be imported."""

import _signal  # type: ignore[import-not-found]  # typeshed does not know what signal is made of
import sys

# Until a program inside has the keys, Ctrl-C ends the command at once, without a word from Python.
if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

_folder = __file__.rpartition("/")[0]
sys.path += [_folder, f"{_folder}/../runtime/lib/packages"]

from berth.cli.client import main  # noqa: E402  only now can it be found

sys.exit(main())
