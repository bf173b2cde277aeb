"""What a monitor does last: nothing that was made for its container stays on the host."""

import contextlib
import os
import time

from msgspec.structs import replace

from berth.engine.journal import Journal, RunFolder, read_record
from berth.engine.order import IMAGE_FOLDER
from berth.engine.stages import reached
from berth.engine.undo import kill_init, undo
from berth.kernel.call import KernelError
from berth.kernel.mounts import umount


def break_off(folder: RunFolder) -> None:
    """Kill the init of a start whose builder has ended, and wait for all that set it up: those end by themselves.

    They are children of the caller, a subreaper.  Nobody may be left who still makes something that has to be undone.
    """
    state, _ = read_record(folder.journal)
    if state is not None and not kill_init(state):
        return  # stuck in the kernel
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def clean_up(journal: Journal, folder: RunFolder, loop: int | None) -> bool:
    """Undo everything that the record lists and remove it; True when something could not be, which keeps the record.

    `loop` is the number of the image's loop device.
    """
    state, effects = read_record(folder.journal)
    if state is not None and state.image:
        with contextlib.suppress(KernelError):
            umount(os.path.join(IMAGE_FOLDER, state.name))
            _await_release(loop)
    troubles = undo(journal, state, effects)
    if troubles and state is not None:
        journal.save(replace(state, stage="stuck", warnings=(*state.warnings, *troubles)))
        return True
    reached("undone")
    folder.forget(journal)
    return False


def _await_release(loop: int | None) -> None:
    """Wait until the loop device has let go of the image: the last of its mounts may go a moment after PID 1.

    The kernel tells nobody when that is, so this looks, for a second at most.
    """
    backing = f"/sys/block/loop{loop}/loop/backing_file"
    pause = 0.0005
    while loop is not None and os.path.exists(backing) and pause < 0.5:
        time.sleep(pause)
        pause *= 2
