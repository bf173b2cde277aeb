"""Root inside mounts a file system of its own (FUSE), and never answers what the kernel asks of it."""

import errno
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from berth.kernel.call import KernelError
from berth.kernel.paths import make_in_root, open_in_root
from tests import faults, quick
from tests.forked import in_child
from tests.program import Berth
from tests.refusing import refuse
from tests.silence import mounting, silent
from tests.uevents import a_device_came, await_listener, say

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]
NAME = "silent"


def test_a_container_that_lost_its_monitor_is_stopped_all_the_same(berth: Berth, rootfs: Factory) -> None:
    quick.start(berth, rootfs("busybox"), name=NAME)
    with silent(berth, NAME, "/dev/pts"):
        faults.kill(quick.info(berth, NAME)["monitor_pid"])
        assert berth.succeed("stop", NAME) == f"{NAME}: stopped\n"


def test_a_monitor_that_shows_devices_is_not_kept_waiting(berth: Berth, rootfs: Factory) -> None:
    device = next(name for name in ("cpu_dma_latency", "hwrng", "vga_arbiter") if os.path.exists(f"/dev/{name}"))
    quick.start(berth, rootfs("busybox"), "--hw-access", name=NAME)
    await_listener(quick.info(berth, NAME)["monitor_pid"])
    with silent(berth, NAME, f"/dev/{device}", mode="100644"):
        say(a_device_came(device))
        log = berth.home / "containers" / NAME / "log"
        said = f"/dev/{device} is not as on the host"
        faults.wait_until(lambda: log.exists() and said in log.read_text(), "the monitor goes on")
        berth.succeed("stop", NAME)


def test_an_init_that_replaced_its_dev_has_no_devices_followed(berth: Berth, rootfs: Factory) -> None:
    root = rootfs("busybox")
    script = f"#!/bin/sh\ntrap 'exit 0' TERM\n{mounting('/dev')}; sleep 3600 & wait $!\n"
    init = quick.write_init(root, "/sbin/silent-init", script)
    berth.succeed("start", NAME, "--rootfs", root, "--init", init, "--hw-access")
    say(a_device_came("hwrng"))
    berth.succeed("stop", NAME)


@pytest.mark.parametrize("old", [False, True], ids=["openat2", "before 5.6"])
def test_nothing_that_is_mounted_below_a_folder_is_entered(scratch: Path, berth: Berth, old: bool) -> None:
    folder = scratch / "folder"
    (folder / "plain").mkdir(parents=True)
    (folder / "mounted").mkdir()
    (folder / "link").symlink_to("mounted")
    subprocess.run(["mount", "-t", "tmpfs", "x", folder / "mounted"], check=True)

    def look() -> None:
        if old:
            refuse(errno.ENOSYS, ["openat2"])
        root = os.open(folder, os.O_PATH)
        for path in ("mounted", "mounted/below", "link", "/mounted"):
            with pytest.raises(KernelError, match="cross-device"):
                open_in_root(root, path, across_mounts=False)
        with pytest.raises(KernelError, match="cross-device"):
            make_in_root(root, "mounted/new", folder=True, across_mounts=False)
        assert stat.S_ISDIR(os.fstat(open_in_root(root, "plain", across_mounts=False)).st_mode)
        assert stat.S_ISDIR(os.fstat(open_in_root(root, "mounted")).st_mode)

    try:
        in_child(look)
    finally:
        subprocess.run(["umount", folder / "mounted"], check=True)
