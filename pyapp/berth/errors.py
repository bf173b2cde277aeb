"""The errors that reach a person.

Each carries one sentence: what failed, on which object, and what to do about it.  Anything else that
escapes (a `KernelError`, say) is turned into such a sentence where it leaves the engine.
"""


class BerthError(Exception):
    """A request that can't be carried out; `str()` is the sentence to show."""

    exit_code = 1


class UsageError(BerthError):
    """The request itself is wrong: an unknown flag, a malformed value, a missing argument."""

    exit_code = 2


class MissingError(BerthError):
    """What the request is about does not exist."""
