"""What is known of containers: which there are, which run, and how each one does."""

import os
from typing import Literal

from msgspec import Struct

from berth.engine.journal import RunFolder, State, look_at
from berth.errors import BerthError
from berth.kernel.processes import boot_id, start_time
from berth.plan.model import Plan
from berth.store import Home, list_names, load_spec

Condition = Literal["stopped", "starting", "running", "stuck", "unattended", "crashed"]


class Container(Struct, frozen=True, kw_only=True):
    """A container and its condition; `record` is None when it is stopped.

    "unattended": init runs, its monitor was killed; "crashed": both are gone and the record was left; "stuck": it
    ended, but something could not be undone.
    """

    name: str
    condition: Condition
    socket: str
    record: State | None = None

    @property
    def reboots(self) -> bool:
        """Whether its monitor makes it anew, after a reboot inside."""
        return self.condition == "starting" and self.record is not None and self.record.stage == "rebooting"

    @property
    def runs(self) -> bool:
        """Whether its init is alive."""
        known = self.record is not None and self.record.init is not None  # a one-off's program is only its caller's
        return known and self.condition in ("running", "unattended")

    @property
    def alive(self) -> "Alive":
        """What is known of it while it runs; raises BerthError when it doesn't."""
        record = self.record
        if not self.runs or record is None or record.init is None or record.plan is None:
            raise BerthError(f'container {self.name}: is {self.condition}; start it with "berth start {self.name}"')
        return Alive(name=self.name, pid=record.init[0], started=record.init[1], socket=self.socket, plan=record.plan)


class Alive(Struct, frozen=True, kw_only=True):
    """A running container: its init's pid on the host and start time (clock ticks), and the plan it was started by.

    `socket` is where its monitor listens, if it has one.
    """

    name: str
    pid: int
    started: int
    socket: str
    plan: Plan


def look_up(home: Home, name: str) -> Container:
    """Return what is known of the container `name`, which need not exist."""
    folder = RunFolder(home, name)
    try:
        record, watched = look_at(folder.journal)
    except FileNotFoundError:
        return Container(name=name, condition="stopped", socket=folder.socket)
    if record is None or (not watched and record.boot != boot_id()):
        return Container(name=name, condition="starting" if watched else "crashed", socket=folder.socket)
    watched = watched and _is_monitored(record)
    return Container(name=name, condition=_condition(record, watched), socket=folder.socket, record=record)


def _is_monitored(record: State) -> bool:
    """Whether the monitor that `record` names lives: else who holds the record is about to undo it, or to take over."""
    return record.monitor is None or start_time(record.monitor[0]) == record.monitor[1]


def _condition(record: State, watched: bool) -> Condition:
    if watched:
        return "running" if record.stage == "running" else "starting"
    if record.stage == "running" and init_of(record) is not None:
        return "unattended"
    return "stuck" if record.stage == "stuck" else "crashed"


def init_of(record: State) -> int | None:
    """Return the pid of the PID 1 that `record` names while that process lives."""
    if record.init is None or start_time(record.init[0]) != record.init[1]:
        return None
    return record.init[0]


def look_up_alive(home: Home, name: str) -> Alive:
    """Return what is known of the running container `name`; raises BerthError when it doesn't run, or isn't there."""
    found = look_up(home, name)
    if found.condition == "stopped":
        load_spec(home, name)  # says that there is no such container, where that is so
    return found.alive


def user_of_image(home: Home, image: str, but: str) -> str | None:
    """Return the name of the container that has `image` for its root now; None where none has but `but`."""
    for name in recorded_names(home):
        record = look_up(home, name).record
        if name != but and record is not None and record.image and _is_same_file(record.image, image):
            return name
    return None


def _is_same_file(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def recorded_names(home: Home) -> list[str]:
    """Return the names of containers that have a run record, sorted."""
    return [name for name in run_folder_names(home) if os.path.exists(RunFolder(home, name).journal)]


def run_folder_names(home: Home) -> list[str]:
    """Return the names of containers that have a folder below the run folder, with a record in it or not, sorted."""
    try:
        return sorted(os.listdir(os.path.join(home.run, "containers")))
    except FileNotFoundError:
        return []


def all_names(home: Home) -> list[str]:
    """Return the names of every container, saved or running, sorted."""
    return sorted({*list_names(home), *recorded_names(home)})
