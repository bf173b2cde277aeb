"""`python -m berth`: the same as the `berth` command."""

import sys

from berth.cli.client import main

if __name__ == "__main__":
    sys.exit(main())
