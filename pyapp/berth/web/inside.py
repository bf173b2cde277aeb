"""The API's routes about what goes on inside containers: processes, statistics, terminals."""

import time

from berth.errors import BerthError
from berth.service.terminal import Request, Terminal
from berth.service.terminals import all_terminals, ask_terminal, open_terminal
from berth.web import history, samples
from berth.web.containers import name_in
from berth.web.encoding import from_base64
from berth.web.models import HistoryAnswer, Processes, Taken, Terminals
from berth.web.routes import Call, HttpError
from berth.web.streams import change_stream


def processes(call: Call) -> Processes:
    """The processes in a running container."""
    return samples.processes(call.home, name_in(call))


def statistics(call: Call) -> samples.Sample:
    """What a running container uses."""
    return samples.sample(call.home, name_in(call))


def host_statistics(call: Call) -> samples.HostSample:
    """What the device uses."""
    return samples.sample_host(call.home)


def container_history(call: Call) -> HistoryAnswer:
    """What a container has used."""
    return history.read(call.home, name_in(call), _hours(call), time.time())


def host_history(call: Call) -> HistoryAnswer:
    """What the device has used."""
    return history.read(call.home, "", _hours(call), time.time())


def _hours(call: Call) -> int:
    return int(call.query.get("hours", "24"))


def terminals(call: Call) -> Terminals:
    """The terminals that are open, or ended lately."""
    return Terminals(tuple(all_terminals(call.home)))


def open_one(call: Call) -> Terminal:
    """Run a program in a container, in a terminal of its own."""
    body = call.body
    wanted = Terminal(
        id="",
        container=body.container,
        user=body.user,
        argv=body.argv,
        rows=body.rows,
        columns=body.columns,
        started_at=0.0,
    )
    return open_terminal(call.home, wanted)


def type_in(call: Call) -> Taken:
    """Type in a terminal."""
    request = Request(call="type", writer=call.body.writer, number=call.body.number)
    reply = ask_terminal(call.home, call.words["id"], request, from_base64(call.body.data))
    if reply.busy and reply.terminal.ended is not None:
        raise BerthError("the program in this terminal has ended; open a new one")
    if reply.busy:
        raise HttpError(503, "the program in this terminal reads nothing now; try again")
    return Taken(reply.number)


def resize(call: Call) -> None:
    """Tell a terminal its size."""
    ask_terminal(call.home, call.words["id"], Request(call="size", rows=call.body.rows, columns=call.body.columns))


def close(call: Call) -> None:
    """Close a terminal; its program is hung up, and killed when it does not end."""
    ask_terminal(call.home, call.words["id"], Request(call="close"))


def change(call: Call) -> None:
    """Change what a stream tells of."""
    change_stream(call.home, call.words["id"], call.body)
