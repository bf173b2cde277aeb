"""Takes back what a run record lists, newest first, and never a stranger's object.

Each kind of effect checks the identity that was written down after it was made; an effect without one may not have
happened, and is taken back only where what is found can be nobody else's.
"""

import contextlib
import errno
import os
import signal
import stat

from berth.android import wakelocks
from berth.engine import awake, cgroups, selinux
from berth.engine.containers import init_of
from berth.engine.dying import await_end
from berth.engine.journal import Effect, Journal, State, identity_of
from berth.engine.network import EFFECT, leave
from berth.kernel.call import KernelError
from berth.kernel.paths import open_in_root
from berth.kernel.processes import Process


def undo(journal: Journal, state: State | None, effects: list[Effect], *, this_boot: bool = True) -> list[str]:
    """Take back `effects`, newest first; return a sentence for each that could not be.

    Of another boot's record only what lies on disk is taken back: the kernel forgot the rest.
    """
    troubles = []
    for effect in reversed(effects):
        try:
            if effect.kind == "mountpoint":
                _remove_mountpoint(state, effect)
            elif effect.kind == "folder":
                _remove_folder(effect)
            elif effect.kind == EFFECT:
                _leave_network(journal, effect, this_boot=this_boot)
            elif effect.kind == selinux.EFFECT:
                selinux.give_back(_run_folder(journal), effect.target)
            elif effect.kind == awake.EFFECT:
                if this_boot:
                    wakelocks.let_go(effect.target)
            elif this_boot:
                cgroups.undo(effect.kind, effect.target, effect.identity)
        except OSError as error:
            troubles.append(f"{effect.kind} {effect.target}: could not be taken back: {error}")
        else:
            with contextlib.suppress(OSError):  # a full disk: whoever finds the entry again finds nothing there
                journal.undone(effect.number)
    return troubles


def kill_init(record: State) -> bool:
    """Kill a PID 1 whose start was never reported as done; False when it does not go."""
    pid = init_of(record)
    if pid is None or record.init is None:
        return True
    process = Process(*record.init)
    process.send(signal.SIGKILL)
    try:
        return await_end(process) == "ended"
    finally:
        process.close()


def _leave_network(journal: Journal, effect: Effect, *, this_boot: bool) -> None:
    if this_boot:
        leave(_run_folder(journal), effect.target)


def _run_folder(journal: Journal) -> str:
    return os.path.dirname(os.path.dirname(os.path.dirname(journal.path)))


def _remove_mountpoint(state: State | None, effect: Effect) -> None:
    """Remove an empty file or folder that was made in the user's rootfs to mount over.

    There was none when this was intended, so one without identity is from whoever was killed before writing that down.
    """
    if state is None or not state.rootfs:
        return  # inside an image that is no longer mounted: an empty mount point stays there
    try:
        root = os.open(state.rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # the user has removed it all
    try:
        parent, _, name = effect.target.rpartition("/")
        above = open_in_root(root, parent or "/", os.O_PATH | os.O_DIRECTORY)
        try:
            found = os.stat(name, dir_fd=above, follow_symlinks=False)
            if effect.identity not in (None, identity_of(found)):
                return
            if stat.S_ISREG(found.st_mode) and found.st_size == 0:
                os.unlink(name, dir_fd=above)
            else:
                with contextlib.suppress(OSError):  # a folder that the container has filled stays, and what is none
                    os.rmdir(name, dir_fd=above)
        finally:
            os.close(above)
    except KernelError:
        return  # the container removed the folders above it
    except FileNotFoundError:
        return
    finally:
        os.close(root)


def _remove_folder(effect: Effect) -> None:
    try:
        if effect.identity is None or identity_of(os.lstat(effect.target)) == effect.identity:
            os.rmdir(effect.target)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:  # another container has its image below it by now, and it stays for that
            raise
