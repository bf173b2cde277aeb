"""Cgroups of a test's own in this machine's hierarchies, and processes to put into them."""

import contextlib
import os
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from berth.engine import cgroups
from berth.engine.journal import Effect, Journal, read_record
from berth.host import Host
from berth.plan.cgroups import own_path, plan_cgroups
from berth.plan.model import Cgroup, DevicePolicy
from berth.spec import Spec

MOUNTS = cgroups.read_cgroup_mounts()
HOST = Host(kernel=(6, 1), machine="x86_64", cgroups=MOUNTS, filesystems=frozenset({"cgroup", "cgroup2"}))
NOBODY_KEEPS = DevicePolicy("none")


class Made:
    """Cgroups of one test, with the record that says how to take them back."""

    def __init__(self, record: str) -> None:
        self.name = f"test-{uuid.uuid4().hex[:12]}"
        self.record = record
        self.journal = Journal.create(record)

    def create(self, plan: tuple[Cgroup, ...], policy: DevicePolicy = NOBODY_KEEPS) -> tuple[Cgroup, ...]:
        cgroups.create(plan, policy, self.name, self.journal)
        return plan

    def planned(self, **limits: Any) -> tuple[Cgroup, ...]:
        return plan_cgroups(Spec(name=self.name, **limits), HOST, systemd=None)

    def effects(self) -> list[Effect]:
        return read_record(self.record)[1]

    def undo(self) -> None:
        for effect in reversed(self.effects()):
            cgroups.undo(effect.kind, effect.target, effect.identity)
            self.journal.undone(effect.number)


@contextlib.contextmanager
def sleeper(work: Callable[[], object]) -> Iterator[int]:
    """A child that has done `work` and then waits to be killed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work()
            os.write(writer, b"1")
            while True:
                signal.pause()
        finally:
            os._exit(1)
    try:
        assert os.read(reader, 1)
        yield child
    finally:
        os.close(reader)
        os.close(writer)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)


def folder(plan: tuple[Cgroup, ...], name: str, controller: str) -> Path:
    """`berth/NAME` in the hierarchy of a v1 controller, or in cgroup2."""
    found = next(c for c in plan if controller in c.controllers or (controller == "cgroup2" and c.version == 2))
    return Path(own_path(found), "berth", name)
