"""The `berth` command: reading its line, doing what it says, printing what came of it."""
