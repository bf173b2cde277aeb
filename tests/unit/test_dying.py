"""A process that was killed is waited for while anything of it moves, and no longer.

Here nobody kills it: what SIGKILL does not end at once is in the kernel, where a test can't have it whenever it wants.
"""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from berth.engine.dying import await_end, disk_below
from berth.kernel.processes import Process

STILL_LOOKS = 8  # two seconds
LIFE = 3.5  # longer than that
LONG_LIFE = 60.0  # longer than eight looks take on a machine that stands still itself
NOBODY = 1 << 22
"""No process has this pid, or a higher one (proc_sys_kernel(5), pid_max)."""


@pytest.fixture
def idle() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def fate_while(
    process: subprocess.Popen[bytes],
    step: Callable[[int], object],
    groups: Sequence[str] = (),
    disk: str = "",
    life: float = LIFE,
) -> str:
    """Return the fate of a process that ends after `life`, in which `step` is done again and again."""
    told = threading.Event()

    def live() -> None:
        until, count = time.monotonic() + life, 0
        while time.monotonic() < until and not told.wait(0.02):
            step(count)
            count += 1
        process.kill()

    living = threading.Thread(target=live)
    living.start()
    fate = await_end(Process(process.pid), groups, disk, STILL_LOOKS)
    told.set()
    living.join()
    return fate


def test_a_process_that_goes_on_is_waited_for() -> None:
    with subprocess.Popen(["python3", "-c", "import time\nwhile True: time.sleep(0.01)"]) as busy:
        assert fate_while(busy, lambda _: None) == "ended"


def test_a_process_is_waited_for_while_others_leave_its_cgroup(idle: subprocess.Popen[bytes], tmp_path: Path) -> None:
    listed = tmp_path / "cgroup.procs"

    def leave(count: int) -> None:
        text = "".join(f"{NOBODY + number}\n" for number in range(count, 1000))
        listed.with_name("next").write_text(text)
        listed.with_name("next").replace(listed)

    leave(0)
    assert fate_while(idle, leave, groups=[str(tmp_path)]) == "ended"


def test_a_process_is_waited_for_while_its_disk_is_written_to(idle: subprocess.Popen[bytes], tmp_path: Path) -> None:
    disk = tmp_path / "stat"
    assert fate_while(idle, lambda count: tell(disk, done=count, time=0), disk=str(disk)) == "ended"


def test_the_time_that_a_write_has_been_under_way_is_no_movement(idle: subprocess.Popen[bytes], tmp_path: Path) -> None:
    disk = tmp_path / "stat"
    fate = fate_while(idle, lambda count: tell(disk, done=7, time=count), disk=str(disk), life=LONG_LIFE)
    assert fate == "stuck"


def tell(disk: Path, *, done: int, time: int) -> None:
    """Count on `disk` as the kernel does: the writes that are done, and for how long there has been any."""
    disk.with_name("next").write_text(f"0 0 0 0 {done} 0 0 0 1 {time} 0\n")
    disk.with_name("next").replace(disk)


def test_nobody_has_no_disk() -> None:
    assert disk_below(NOBODY, "/dev/null") == ""


def test_a_disk_is_only_that_of_the_image(tmp_path: Path) -> None:
    """Root inside may have changed to another root, on a disk of the phone's that others write to all the time."""
    image = tmp_path / "image"
    image.touch()
    assert disk_below(os.getpid(), str(image)) == ""
