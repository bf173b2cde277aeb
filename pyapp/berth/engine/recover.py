"""Puts right what a crash left: records without a monitor, containers without anybody who waits for them."""

from berth.engine import probation, selinux
from berth.engine.apart import do_apart
from berth.engine.attendant import attend
from berth.engine.cgroup_mounts import mount_missing
from berth.engine.containers import look_up, run_folder_names
from berth.engine.journal import Effect, Journal, RunFolder, State, read_record
from berth.engine.network import settle
from berth.engine.own_mounts import take_own_mounts
from berth.engine.undo import kill_init, undo
from berth.errors import BerthError
from berth.home import Home
from berth.kernel.processes import boot_id


def clear_remains(home: Home, name: str) -> list[str]:
    """Undo what the record of a container that no longer runs lists, and remove the record.

    The caller holds the container's lock.  Returns a sentence for each effect that could not be taken back; then
    the record stays.  Does nothing for a container that runs.
    """
    if look_up(home, name).runs:
        return []
    folder = RunFolder(home, name)
    journal = Journal.take_over(folder.journal)
    if journal is None:
        return []
    state, effects = read_record(folder.journal)
    troubles = _take_back(journal, state, effects)
    if troubles:
        journal.close()
    else:
        journal.remove()
    return troubles


def _take_back(journal: Journal, state: State | None, effects: list[Effect]) -> list[str]:
    this_boot = state is None or state.boot == boot_id()
    if state is None or state.plan is None or not this_boot:
        return undo(journal, state, effects, this_boot=this_boot)
    if not kill_init(state):
        return [f"container {state.name}: its PID 1 is stuck in the kernel and can't be killed"]
    cgroups = state.plan.cgroups
    if all(cgroup.mount is not None for cgroup in cgroups):
        return undo(journal, state, effects)

    def undo_apart() -> list[str]:
        take_own_mounts()
        mount_missing(cgroups)
        return undo(journal, state, effects)

    return do_apart(undo_apart, list[str])


def recover(home: Home, only: tuple[str, ...] = ()) -> list[str]:
    """Undo what crashes left; return what was done and what could not be, a sentence each.

    Of all containers, or of those in `only`.  One that another command is at work on is left to that.
    """
    said = []
    for name in run_folder_names(home):
        if only and name not in only:
            continue
        try:
            with RunFolder(home, name).locked(wait=False):
                said += _put_right(home, name)
        except BlockingIOError:
            continue
        except (BerthError, OSError) as error:
            said.append(f"container {name}: could not be recovered: {error}")
    try:
        settle(home)
    except (BerthError, OSError) as error:
        said.append(f"the network could not be put right: {error}")
    try:
        selinux.settle(home.run)
    except OSError as error:
        said.append(f"SELinux could not be made enforcing again: {error}")
    return said


def _put_right(home: Home, name: str) -> list[str]:
    container = look_up(home, name)
    if container.condition in ("crashed", "stuck"):
        probation.end(home, name)
        return clear_remains(home, name) or [f"container {name}: what its crash left is undone"]
    if container.condition == "unattended":
        attend(home, name)
        return [f"container {name}: has a monitor again; its console's history is lost"]
    return []
