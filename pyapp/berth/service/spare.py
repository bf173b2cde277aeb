"""The spare worker: forked and warmed up before anybody asks, so that no caller waits for that.

A forked Python takes 2 ms until it runs, and twice that to touch its memory for the first time, which the kernel copies
page by page.  The supervisor hands a caller to the spare that it has, and forks the next one as soon as nobody waits.
"""

import socket
from collections.abc import Callable

from berth.engine.channel import Channel
from berth.kernel.processes import end_with, fork, name_process
from berth.service.worker import Run, leave_parent, serve


class Spare:
    """A worker that waits for its caller, without waking up; it ends with the process that made it."""

    def __init__(self, run: Run, rehearse: Callable[[], None]) -> None:
        """Fork it; raises OSError where there is no room for one more process."""
        self._channel, theirs = Channel.pair()
        try:
            if fork() == 0:
                end_with(lambda: _wait(theirs, run, rehearse), lambda _: None)
        finally:
            theirs.close()

    def take(self, caller: socket.socket) -> bool:
        """Give it its one `caller`; False when it has been killed."""
        try:
            self._channel.send({}, (caller.fileno(),))
        except OSError:
            return False
        finally:
            self._channel.close()
        return True


def _wait(channel: Channel, run: Run, rehearse: Callable[[], None]) -> None:
    leave_parent(channel.fileno())
    name_process("berth: spare")
    rehearse()
    _, descriptors = channel.receive()
    if not descriptors:
        return  # the service has ended
    channel.close()
    serve(socket.socket(fileno=descriptors[0]), run)
