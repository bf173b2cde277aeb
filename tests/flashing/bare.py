"""A phone's file system without a phone: /system/bin with BusyBox, a root manager's folder, an empty /data.

Programs run in it by `pivot_root`, with mounts and processes of their own: nothing of this machine is in sight but its
devices and cgroups, and nothing is left when the command has ended.
"""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

MODULE: Final = "/data/adb/modules/berth"
UPDATE: Final = "/data/adb/modules_update/berth"
STEPS: Final = Path(__file__).with_name("manager.sh")
_SECONDS: Final = 120.0
_ENTER: Final = """
set -e
mount --bind "$0" "$0"
cd "$0"
mount -t proc proc proc
mount --rbind /dev dev
mount --rbind /sys sys
pivot_root . old
exec /system/bin/busybox chroot . /system/bin/busybox sh -c 'umount -l /old && exec "$@"' sh "$@"
"""


class Manager(NamedTuple):
    """A root manager as its installer's environment shows it; `folder` is where it keeps its programs."""

    name: str
    folder: str
    environment: Mapping[str, str]


# Each is the oldest that the installer takes.
MAGISK: Final = Manager("Magisk", "/data/adb/magisk", {"MAGISK_VER": "27.0", "MAGISK_VER_CODE": "27000"})
KERNELSU: Final = Manager(
    "KernelSU",
    "/data/adb/ksu/bin",
    {"KSU": "true", "KSU_VER_CODE": "11551", "MAGISK_VER": "25.2", "MAGISK_VER_CODE": "25200"},
)
APATCH: Final = Manager(
    "APatch",
    "/data/adb/ap/bin",
    {"APATCH": "true", "APATCH_VER_CODE": "10568", "MAGISK_VER": "27.0", "MAGISK_VER_CODE": "27000"},
)
MANAGERS: Final = (MAGISK, KERNELSU, APATCH)


class Bare:
    """The file system at `root`, made when this is made; the command `outside`, if any, starts what runs in it."""

    def __init__(self, root: Path, manager: Manager = MAGISK, outside: Sequence[str] = ()) -> None:
        self.root = root
        self.manager = manager
        self.outside = outside
        for folder in ("system/bin", "proc", "dev", "sys", "old", "mnt", f".{manager.folder}"):
            (root / folder).mkdir(parents=True)
        shutil.copy2("/bin/busybox", root / "system/bin/busybox")
        shutil.copy2("/bin/busybox", root / f".{manager.folder}/busybox")
        applets = subprocess.run(["/bin/busybox", "--list"], check=True, capture_output=True, text=True).stdout.split()
        for applet in set(applets) - {"busybox"}:
            (root / "system/bin" / applet).symlink_to("busybox")
        shutil.copy2("/bin/mksh-static", root / "system/bin/mksh")

    def run(
        self, *command: str, environment: Mapping[str, str] | None = None, seconds: float = _SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run `command` inside with nothing in the environment but PATH and `environment`."""
        enter = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
        return subprocess.run(
            [*self.outside, *enter, "/bin/sh", "-c", _ENTER, self.root, *command],
            check=False,
            capture_output=True,
            text=True,
            timeout=seconds,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin:/system/bin", **(environment or {})},
        )

    def flash(
        self,
        zip_file: Path,
        *before: str,
        instead: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Do what the manager does with `zip_file`.

        `environment` overrides what it tells the installer; the words `before` stand before its command, and the shell
        `instead` in the place of its BusyBox's.
        """
        shutil.copyfile(zip_file, self.root / "data/berth.zip")
        shutil.copyfile(STEPS, self.root / "data/manager.sh")
        given = {
            "ASH_STANDALONE": "1",
            "API": "34",
            "ARCH": "x64",
            "IS64BIT": "true",
            "BOOTMODE": "true",
            "ZIPFILE": "/data/berth.zip",
            "MODPATH": UPDATE,
            "TMPDIR": "/data",
            **self.manager.environment,
        }
        steps = instead or (f"{self.manager.folder}/busybox", "sh")
        return self.run(*before, *steps, "/data/manager.sh", environment=given | dict(environment or {}))

    def reboot(self) -> None:
        """Put the update in the place of the module, as the manager does at boot."""
        module = self.root / f".{MODULE}"
        shutil.rmtree(module, ignore_errors=True)
        module.parent.mkdir(exist_ok=True)
        (self.root / f".{UPDATE}").rename(module)
