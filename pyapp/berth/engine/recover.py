"""Puts right what a crash left: records without a monitor, containers without anybody who waits for them."""

from berth.engine.attendant import attend
from berth.engine.containers import look_up, recorded_names
from berth.engine.journal import Journal, RunFolder, boot_id, read_record
from berth.engine.undo import undo
from berth.home import Home


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
    troubles = undo(journal, state, effects, this_boot=state is None or state.boot == boot_id())
    if not troubles:
        journal.remove()
    return troubles


def recover(home: Home) -> list[str]:
    """Undo what crashes left; return what was done and what could not be, a sentence each."""
    said = []
    for name in recorded_names(home):
        with RunFolder(home, name).locked():
            container = look_up(home, name)
            if container.condition in ("crashed", "stuck"):
                said += clear_remains(home, name) or [f"container {name}: what its crash left is undone"]
            elif container.condition == "unattended":
                attend(home, name)
                said.append(f"container {name}: has a monitor again; its console's history is lost")
    return said
