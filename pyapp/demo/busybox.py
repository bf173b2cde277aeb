"""Make the smallest root file system that boots: Debian's static BusyBox and the files in `rootfs/` beside this.

What `build.py run` starts, and what most tests do; on a phone BusyBox lies beside Python.  Standard library only.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

FILES = Path(__file__).resolve().parent / "rootfs"
BUNDLED = Path(sys.executable).with_name("busybox")
BUSYBOX = BUNDLED if BUNDLED.exists() else Path("/bin/busybox")
FOLDERS = ("dev", "home/user", "mnt", "proc", "root", "run", "sys", "tmp", "usr/local/bin", "var/log", "var/tmp")
MODES = {"etc/shadow": 0o600, "root": 0o700, "tmp": 0o1777, "var/tmp": 0o1777}
USER = 1000  # as in etc/passwd


def make_rootfs(target: Path) -> None:
    """Make the root file system at `target`, which must not exist: all of it, or nothing under that name.

    Needs root, for the owners of the files, and on Debian the package busybox-static.
    """
    unfinished = target.with_name(f"{target.name}.unfinished")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    shutil.copytree(FILES, unfinished, copy_function=shutil.copyfile)
    for folder in FOLDERS:
        (unfinished / folder).mkdir(parents=True)
    (unfinished / "var/run").symlink_to("../run")
    install_applets(unfinished)
    set_modes(unfinished)
    os.chown(unfinished / "home/user", USER, USER)
    unfinished.rename(target)


def install_applets(root: Path) -> None:
    """Copy BusyBox into `root` and link its applets, each where it usually is."""
    applets = subprocess.run([BUSYBOX, "--list-full"], check=True, capture_output=True, text=True).stdout.split()
    for applet in map(root.joinpath, applets):
        applet.parent.mkdir(parents=True, exist_ok=True)
        if applet.name == "busybox":
            shutil.copyfile(BUSYBOX, applet)
        else:
            applet.symlink_to("/bin/busybox")


def set_modes(root: Path) -> None:
    """Give every file its mode: git keeps none but "executable", and the caller's umask could be anything."""
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            executable = path.is_dir() or path.parent.name in ("bin", "init.d")
            path.chmod(MODES.get(str(path.relative_to(root)), 0o755 if executable else 0o644))
