"""The second process of `tests.side_by_side`: makes what takes long and is needed later, then runs its tests."""

import os
import sys

import build
from tests import rootfs
from tests.flashing import product


def main(arguments: list[str]) -> None:
    """Make the root file systems and the zip, then become pytest with `arguments`."""
    rootfs.image("busybox")
    rootfs.directory("debian-systemd")
    product.zip_file("x86_64")
    for name in rootfs.NAMES:
        rootfs.directory(name)
    rootfs.image("debian-systemd")
    cache = build.CACHE / "pytest-aside"
    os.environ["PYTEST_DEBUG_TEMPROOT"] = str(build.CACHE)  # or who ends first takes the other's folders along
    os.execv(sys.executable, [sys.executable, "-m", "pytest", "-o", f"cache_dir={cache}", *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
