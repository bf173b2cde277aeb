"""The API's routes about containers."""

import socket

from berth import rules
from berth.engine import at_rest
from berth.engine.containers import all_names, look_up
from berth.engine.details import read_details
from berth.engine.log import LogReader
from berth.engine.narration import describe
from berth.engine.ports import change_ports
from berth.engine.preview import preview
from berth.errors import BerthError, MissingError, UsageError
from berth.home import Home
from berth.service.operations import Ask, Operation, ask
from berth.spec import Spec, StartOptions, checked
from berth.store import last_end, list_names, load_spec
from berth.web.consoles import open_console
from berth.web.encoding import from_base64
from berth.web.models import Container, Log, PlanAnswer, Removed, Summaries, Summary
from berth.web.routes import Call

_LOG_BYTES = 512 * 1024


def name_in(call: Call) -> str:
    """Return the container's name from the path; raises MissingError for what can't be one."""
    try:
        return rules.name("container", call.words["name"])
    except UsageError as error:
        raise MissingError(str(error)) from error


def list_all(call: Call) -> object:
    """Every container."""
    return Summaries(tuple(summary(call.home, name) for name in all_names(call.home)))


def summary(home: Home, name: str) -> Summary:
    """Return what a list tells of container `name`; one whose settings can't be read is told of, too."""
    container = look_up(home, name)
    record, spec, error = container.record, None, None
    if name in list_names(home):
        try:
            spec = load_spec(home, name)
        except BerthError as wrong:
            error = str(wrong)
    image = record.image if record else spec.image if spec else None
    made = record.plan if record else None
    return Summary(
        name=name,
        state=container.condition,
        pid=container.alive.pid if container.runs else None,
        root=image or (record.rootfs if record else spec.rootfs if spec else None),
        image=bool(image),
        network=made.network if made else spec.net if spec else None,
        address=made.lease.address if made and made.lease else None,
        started_at=record.started_at if record and record.started_at else None,
        autostart=spec.autostart if spec else False,
        last_end=last_end(home, name),
        error=error,
    )


def show(call: Call) -> object:
    """One container."""
    return container_of(call.home, name_in(call))


def container_of(home: Home, name: str) -> Container:
    """Return all that is told of container `name`; raises BerthError where there is none."""
    details = read_details(home, name)
    return Container(spec=load_spec(home, name) if details.saved else None, details=details)


def create(call: Call) -> object:
    """Save a new container."""
    spec = _spec(call)
    at_rest.create(call.home, spec)
    return container_of(call.home, spec.name)


def change(call: Call) -> object:
    """Save what is to hold from the next start on."""
    spec, name = _spec(call), name_in(call)
    if spec.name != name:
        raise UsageError(f"name: the request is for container {rules.quoted(name)}; a name is changed by renaming")
    at_rest.change(call.home, spec)
    return container_of(call.home, name)


def _spec(call: Call) -> Spec:
    spec: Spec = call.body.spec
    if spec.rootfs == "/":
        raise UsageError('rootfs "/": that is this device\'s own system, which runs already; give another directory')
    return checked(spec)


def remove(call: Call) -> object:
    """Forget a container; its root stays."""
    name = name_in(call)
    return Removed(name, at_rest.remove(call.home, name))


def rename(call: Call) -> object:
    """Give it another name."""
    at_rest.rename(call.home, name_in(call), call.body.name)
    return container_of(call.home, call.body.name)


def change_its_ports(call: Call) -> object:
    """Show and hide ports, while it runs and from its next start on."""
    name = name_in(call)
    change_ports(call.home, name, add=call.body.add, remove=call.body.remove)
    return container_of(call.home, name)


def start(call: Call) -> Operation:
    """Start it."""
    name = name_in(call)
    load_spec(call.home, name)
    argv = ["start", "--name", name]
    if call.body.volatile:
        argv.append("--volatile")
        if call.body.volatile_size is not None:
            argv.append(f"--volatile-size={call.body.volatile_size}")
    undo = ("stop", "--name", name, "--timeout", "0")
    return _begin(call, name, tuple(argv), undo)


def stop(call: Call) -> Operation:
    """Stop it."""
    return _in_time(call, "stop")


def restart(call: Call) -> Operation:
    """Stop it and start it again."""
    return _in_time(call, "restart")


def _in_time(call: Call, command: str) -> Operation:
    name = name_in(call)
    if look_up(call.home, name).condition == "stopped":
        load_spec(call.home, name)
    return _begin(call, name, (command, "--name", name, "--timeout", f"{call.body.timeout:g}"))


def _begin(call: Call, name: str, argv: tuple[str, ...], undo: tuple[str, ...] = ()) -> Operation:
    return ask(call.home, Ask(call="start", container=name, argv=argv, undo=undo))[0]


def plan(call: Call) -> PlanAnswer:
    """What its start would do."""
    return _planned(call, load_spec(call.home, name_in(call)))


def plan_unsaved(call: Call) -> PlanAnswer:
    """What the start of a container that is not saved would do."""
    return _planned(call, _spec(call))


def _planned(call: Call, spec: Spec) -> PlanAnswer:
    options = StartOptions(volatile=call.body.volatile, volatile_size=call.body.volatile_size)
    found = preview(call.home, spec, options)
    groups = {title: tuple(entries) for title, entries in describe(spec, found).items()}
    return PlanAnswer(name=spec.name, running=found.recorded, skipped=found.skipped, groups=groups)


def log(call: Call) -> Log:
    """The end of what its console said."""
    name = name_in(call)
    lines = int(call.query.get("lines", "500"))
    if look_up(call.home, name).condition == "stopped":
        load_spec(call.home, name)
    try:
        with LogReader(call.home.container(name)) as reader:
            data = reader.read()
            cursor = reader.cursor
    except FileNotFoundError:
        raise BerthError(f"container {name}: has no log, because it was never saved") from None
    kept = data[-_LOG_BYTES:].split(b"\n")[-lines - 1 :]
    return Log(b"\n".join(kept).decode(errors="replace"), cursor)


def type_at_console(call: Call) -> None:
    """Type at its console."""
    with open_console(call.home, name_in(call)) as conn:
        conn.sendall(from_base64(call.body.data))
        conn.shutdown(socket.SHUT_WR)
        while conn.recv(65536):  # the monitor closes when it has read what was typed
            pass
