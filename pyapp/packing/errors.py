"""The one failure of this package."""


class PackingError(Exception):
    """What stops a build; `str()` is the sentence to show."""
