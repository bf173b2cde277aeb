"""The API's routes about the device and the service."""

import contextlib

from berth import __version__
from berth.android.module import describe
from berth.android.updates import Update, known
from berth.engine import at_rest, safe_mode
from berth.engine.device import read_device
from berth.engine.inspect import read_host
from berth.engine.probes import read_probes
from berth.engine.requirements import fulfilled, requirements
from berth.errors import BerthError
from berth.service import published
from berth.service.autostart import in_order, queued
from berth.service.operations import Ask, Operation, ask
from berth.spec import Spec
from berth.store import Home, list_names, load_spec
from berth.web import history
from berth.web.models import AutostartEntry, Check, OperationList, Service, Settings, WakelockEntry
from berth.web.routes import Call


def service(call: Call) -> Service:
    """The service itself, and where it listens."""
    found = published.read(call.home)
    return Service(
        version=__version__,
        pid=found.pid if found else None,
        port=found.port if found else None,
        running=_runs(call.home),
    )


def _runs(home: Home) -> bool:
    try:
        ask(home, Ask(call="list"))
    except BerthError:
        return False
    return True


def host(call: Call) -> object:
    """The device."""
    return read_device(call.home)


def check(call: Call) -> Check:
    """What the device has of what containers need."""
    found = read_host()
    judged = requirements(found, read_probes(call.home, found))
    return Check(fulfilled(judged), judged)


def settings(call: Call) -> Settings:
    """What holds for all containers."""
    specs = {spec.name: spec for spec in _specs(call.home)}
    order = in_order(specs.values())
    return Settings(
        safe_mode=safe_mode.is_on(call.home),
        history=history.is_on(call.home),
        kept_back=safe_mode.kept_back(call.home),
        autostart=tuple(
            AutostartEntry(name, tuple(other for other in specs[name].start_after if other in order)) for name in order
        ),
        wakelock=tuple(WakelockEntry(spec.name, spec.wakelock) for spec in specs.values() if spec.wakelock != "never"),
    )


def _specs(home: Home) -> list[Spec]:
    specs = []
    for name in list_names(home):
        try:
            specs.append(load_spec(home, name))
        except BerthError:
            continue  # the list of containers says what is wrong with it
    return specs


def change_settings(call: Call) -> Settings:
    """Change what holds for all containers; without safe mode, those that were kept back are tried again."""
    if call.body.autostart is not None:
        for spec in queued(_specs(call.home), call.body.autostart):
            at_rest.change(call.home, spec)
    if call.body.safe_mode is not None:
        change = safe_mode.ask_for if call.body.safe_mode else safe_mode.try_again
        try:
            change(call.home)
        except OSError as error:
            raise BerthError(f"safe mode: can't be changed in {call.home.state}: {error.strerror}") from error
        with contextlib.suppress(OSError):  # a module that was removed
            describe(safe_mode.summary(call.home))
        with contextlib.suppress(BerthError):  # no service: the next one starts what is no longer kept back
            ask(call.home, Ask(call="try-again"))
    if call.body.history is not None:
        try:
            history.switch(call.home, on=call.body.history)
        except OSError as error:
            raise BerthError(f"history: can't be switched in {call.home.state}: {error.strerror}") from error
    return settings(call)


def updates(call: Call) -> Update:
    """The latest version, as it was when somebody last looked."""
    return known(call.home)


def look_for_updates(call: Call) -> Operation:
    """Look for a newer version."""
    return ask(call.home, Ask(call="start", argv=("updates",)))[0]


def operations(call: Call) -> OperationList:
    """What is under way, and what ended lately."""
    return OperationList(ask(call.home, Ask(call="list")))


def operation(call: Call) -> object:
    """One operation with its log."""
    return ask(call.home, Ask(call="show", id=call.words["id"]))[0]


def cancel(call: Call) -> object:
    """End an operation, and take back what it has done."""
    return ask(call.home, Ask(call="cancel", id=call.words["id"]))[0]
