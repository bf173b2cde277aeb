"""Mounts of a process' own: what it mounts is gone with it and its children, however they end."""

from berth.kernel.mounts import MS_REC, MS_SLAVE, mount
from berth.kernel.namespaces import unshare


def take_own_mounts() -> None:
    """Give the calling process a mount namespace in which what the host mounts later still appears.

    Raises KernelError.
    """
    unshare("mount")
    mount(None, "/", None, MS_SLAVE | MS_REC)
