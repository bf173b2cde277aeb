"""Runs one program as PID 1 of a fresh container that is gone with it: `run --rm`."""

import os
from collections.abc import Callable
from functools import partial

from msgspec.structs import replace

from berth.engine import cgroups
from berth.engine.boot import Boot, boot
from berth.engine.cgroup_mounts import mount_missing
from berth.engine.guard import stand_guard
from berth.engine.init import Birth
from berth.engine.inspect import read_host
from berth.engine.journal import Journal, RunFolder, State, read_record
from berth.engine.own_mounts import take_own_mounts
from berth.engine.stages import reached
from berth.engine.undo import undo
from berth.home import Home
from berth.kernel import seccomp
from berth.kernel.processes import Process, become_subreaper, boot_id, start_time
from berth.plan.model import Plan
from berth.plan.one_off import plan_one_off
from berth.spec import Spec


class OneOff:
    """A one-off container: its program runs after `start`, nothing of it is left after `finish`."""

    def __init__(
        self,
        home: Home,
        spec: Spec,
        argv: tuple[str, ...],
        environment: dict[str, str],
        *,
        terminal: bool,
        reaped: bool,
    ) -> None:
        host = read_host(home, resolvers=True)
        self._home = home
        self._machine = host.machine
        # With cgroups it leaves a trace on the host, so it gets a name and a record of its own.
        self._spec = replace(spec, name=f"{spec.name}-{os.urandom(4).hex()}")
        plan = plan_one_off(self._spec, argv, environment, host, terminal=terminal)
        self._plan: Plan = replace(plan, hostname=spec.hostname or spec.name)
        self._reaped = reaped
        self._journal: Journal | None = None
        self.master: int | None = None
        self.slave: int | None = None

    def start(self, prepare: Callable[[int], None]) -> Process:
        """Start the program and return PID 1, a child of the caller; raises BerthError (ExecError: 126, 127).

        Its terminal, if it gets one, is handed to `prepare` just before it is executed.
        """
        self._prepare = prepare
        become_subreaper()
        folder = RunFolder(self._home, self._spec.name)
        if self._plan.cgroups:
            self._record(folder)
        os.makedirs(folder.new_root, mode=0o700, exist_ok=True)
        rules = self._plan.syscall_rules
        birth = Birth(
            plan=self._plan,
            rootfs=self._spec.rootfs or "/",
            new_root=folder.new_root,
            resolv_conf="",
            program=seccomp.assemble(rules, self._machine) if rules else b"",
            journal=None,
            for_caller=True,
            reaped=self._reaped,
        )
        try:
            guard = partial(stand_guard, plan=self._plan)
            return boot(Boot(birth, (), reached, lambda _: None, self._take_console, take_listener=guard))
        except BaseException:
            self.finish()
            raise

    def _record(self, folder: RunFolder) -> None:
        folder.make()
        self._journal = Journal.create(folder.journal)
        own = (os.getpid(), start_time(os.getpid()) or 0)
        self._journal.save(State(stage="running", name=self._spec.name, boot=boot_id(), monitor=own, plan=self._plan))
        if any(cgroup.mount is None for cgroup in self._plan.cgroups):
            take_own_mounts()
            mount_missing(self._plan.cgroups)
        cgroups.create(self._plan.cgroups, self._plan.devices, self._plan.name, self._journal)
        cgroups.keep_sysctls(self._plan.cgroups, self._plan.sysctls, self._plan.name)

    def _take_console(self, master: int, slave: int) -> None:
        self.master, self.slave = master, slave
        self._prepare(master)

    def finish(self) -> None:
        """Undo what the container left on the host."""
        if self._journal is None:
            return
        folder = RunFolder(self._home, self._spec.name)
        state, effects = read_record(folder.journal)
        if not undo(self._journal, state, effects):
            folder.forget(self._journal)
