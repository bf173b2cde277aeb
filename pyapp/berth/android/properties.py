"""Android's system properties, by the programs that read them: their area in memory has no format to rely on."""

import os
import shutil
import subprocess
import time

_LOOK_SECONDS = 2.0
_ASKED_FOR = ("shutdown", "reboot")
_NOT_ASKED_FOR = ("rescueparty", "userspace_failed", "bootloader", "watchdog", "kernel_panic", "")


def wait_until_booted() -> None:
    """Return when Android has booted; at once where this is no Android."""
    _wait_for("sys.boot_completed", "1")


def wait_until_unlocked() -> None:
    """Return when the storage of the phone's owner is decrypted, which it is from the first unlock on."""
    _wait_for("sys.user.0.ce_available", "true")


def file_encrypted() -> bool:
    """Tell whether a part of the storage can't be read before the first unlock."""
    return read_property("ro.crypto.type") == "file"


def end_was_asked_for() -> bool:
    """Tell whether the last boot was ended by someone, and not by a crash.

    Android's bootstat writes "shutdown,userrequested", "reboot,ota", "kernel_panic,sysrq", "watchdog", "cold", ...;
    a bare "reboot" may be anything.  See system/core/bootstat.
    """
    what, _, why = read_property("sys.boot.reason").partition(",")
    return what in _ASKED_FOR and why.partition(",")[0] not in _NOT_ASKED_FOR


def read_property(name: str) -> str:
    """Return the value of property `name`, "" where it is not set or this is no Android."""
    program = _find("getprop")
    if program is None:
        return ""
    done = subprocess.run([program, name], check=False, stdin=subprocess.DEVNULL, capture_output=True)
    return done.stdout.decode(errors="replace").strip()


def _wait_for(name: str, value: str) -> None:
    """Return when property `name` is `value`.

    Magisk (27.0) and KernelSU have a program that sleeps until a property changes; without one, or when it fails,
    this looks every two seconds.
    """
    if _find("getprop") is None:
        return
    while (present := read_property(name)) != value:
        if not _changes(name, present):
            time.sleep(_LOOK_SECONDS)


def _changes(name: str, present: str) -> bool:
    """Sleep until property `name` is no longer `present`; False where nothing can tell."""
    program = _find("resetprop")
    if program is None:
        return False
    words = [program, "-w", name, *([present] if present else [])]
    return subprocess.run(words, check=False, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


def _find(program: str) -> str | None:
    """Return the path of `program`: root managers put theirs on PATH, an empty environment knows Android's alone."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/system/bin")
