"""A phone on which Berth was flashed and has come up by itself, with one container that starts by itself."""

import base64
import contextlib
import errno
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests import rootfs
from tests.device.phone.machine import BERTH, HOME, Body, Configuration, Phone, built
from tests.device.phone.module import CALLS, PROBE, module_zip, write_image, write_newer_zip
from tests.device.phone.probe import results

READY = "ready"
RELAY = Path(__file__).with_name("relay.py")
MODULE = "/data/adb/modules/berth"
REFUSED = {
    **dict.fromkeys(("keyctl", "add_key", "request_key", "clone3"), -errno.ENOSYS),
    "unshare": -errno.EPERM,
}
"""What the keyring filter and the deadlock shield answer."""

IMAGE = "/data/local/box.img"
CONTAINER = f"""\
version = 1
name = "box"
image = "{IMAGE}"
autostart = true
keyring_filter = true
block_nested_namespaces = true
"""


@contextlib.contextmanager
def flashed(configuration: Configuration, *files: Path) -> Iterator[Phone]:
    """Boot a phone, flash the module, reboot, and touch nothing; remember it as READY once its container runs.

    `files` are brought along at /mnt/parcel.
    """
    with body(configuration, *files) as switched_off, switched_off.powered() as phone:
        install(phone)
        phone.reboot()
        phone.wait_until(lambda: state(phone, "box") == "running", "the container has started by itself", 120.0)
        phone.save(READY)
        yield phone


@contextlib.contextmanager
def body(configuration: Configuration, *files: Path) -> Iterator[Body]:
    """Make a phone that is switched off, with the module, a newer one, a container's image and `files` at hand."""
    with tempfile.TemporaryDirectory(prefix="berth-parcel-") as name:
        folder = Path(name)
        parcel = folder / "parcel"
        parcel.mkdir()
        write_image(folder, parcel / "box.img")
        shutil.copy(module_zip(), parcel / "berth.zip")
        write_newer_zip(module_zip(), parcel / "newer.zip")
        (parcel / "container.toml").write_text(CONTAINER)
        for file in (RELAY, *files):
            rootfs.copy(file, parcel / file.name)
        with built(configuration, parcel) as switched_off:
            yield switched_off


def install(phone: Phone) -> None:
    """Save a container that starts by itself, and flash the module."""
    phone.output("cp", "/mnt/parcel/box.img", IMAGE)
    phone.output("sh", "-c", f"umask 077; mkdir -p {HOME}/containers/box")
    phone.output("cp", "/mnt/parcel/container.toml", f"{HOME}/containers/box")
    phone.flash("/mnt/parcel/berth.zip")


def info(phone: Phone, *words: str) -> dict[str, Any]:
    """Return what `berth info` says of the device or of a container."""
    found: dict[str, Any] = json.loads(phone.berth("info", *words, "--json"))
    return found


def state(phone: Phone, name: str) -> str:
    """Return the state of container `name`, "" while the command can't say."""
    done = phone.run(BERTH, "info", name, "--json")
    return str(json.loads(done.out)["state"]) if done.code == 0 else ""


def description(phone: Phone) -> str:
    """Return what the root manager shows of the module."""
    return phone.output("sed", "-n", "s/^description=//p", "/data/adb/modules/berth/module.prop")


def calls_inside(phone: Phone, name: str) -> dict[str, int]:
    """Return what the system calls of the probe return in container `name`."""
    printed = phone.inside(name, "sh", "-c", f"/{PROBE} | base64").out
    return dict(zip(CALLS, results(base64.b64decode(printed)), strict=True))


def label(phone: Phone, path: str) -> str:
    """Return the SELinux label of the file `path`."""
    return phone.output("ls", "-Zd", path).split()[0]


def service_pid(phone: Phone) -> int:
    """Return the pid of the service, 0 where there was none."""
    done = phone.run("cat", f"{HOME}/run/supervisor.lock")
    return int(done.out or 0)


def serves(phone: Phone) -> bool:
    """Tell whether the service answers, which it does when it has judged how the last boot ended.

    It is asked twice: one that begins to listen while the first command is under way has not answered that.
    """
    return _finds_service(phone) and _finds_service(phone)


def _finds_service(phone: Phone) -> bool:
    done = phone.run(BERTH, "info", "--json")
    return done.code == 0 and bool(json.loads(done.out)["service"])


def make_tree(phone: Phone) -> None:
    """Make the smallest root file system on the phone's /data."""
    phone.output("mkdir", "-p", "/data/local/tree/sbin")
    phone.output("cp", "/system/etc/bench/busybox", "/data/local/tree/sbin/init")


def crash(phone: Phone) -> None:
    """Have the kernel panic, as a bad driver does, and wait for the boot that follows by itself."""
    phone.start("sh", "-c", "echo c >/proc/sysrq-trigger")
    phone.wait_for_boot()
    phone.wait_until(lambda: serves(phone), "the service is up")
