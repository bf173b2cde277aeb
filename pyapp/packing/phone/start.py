"""Starts the `berth` command on a phone, as `python3 -IS start.pyc`: only what lies beside it can be imported."""

import sys

_folder = __file__.rpartition("/")[0]
sys.path += [_folder, f"{_folder}/../runtime/lib/packages"]

from berth.cli.client import main  # noqa: E402  only now can it be found

sys.exit(main())
