"""Whether this is Android."""

import os


def is_android() -> bool:
    """Tell whether the system is Android, as the caller's mounts show it."""
    return os.path.exists("/system/build.prop")
