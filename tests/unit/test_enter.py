"""What is told of a program that enters a container, whoever of the two that tell is first."""

import errno
import os
from typing import Any

import pytest

from berth.engine.channel import Channel
from berth.engine.enter import Door, Program
from berth.engine.execute import ExecError


def ended() -> int:
    """Return the pid of a child that has ended and waits to be collected."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


@pytest.mark.parametrize("order", [("pid", "exec"), ("exec", "pid")])
def test_that_a_program_could_not_be_executed_is_told_in_any_order(order: tuple[str, str]) -> None:
    joiner, program = ended(), ended()
    words: dict[str, Any] = {"pid": program, "exec": errno.EACCES}
    ours, theirs = Channel.pair()
    theirs.send({"joined": True})
    for word in order:
        theirs.send({word: words[word]})
    theirs.close()

    with pytest.raises(ExecError) as told:
        Door.__new__(Door)._await_start(Program(argv=("/etc",)), ours, joiner)  # no way in is needed to hear of it
    ours.close()

    assert told.value.exit_code == 126
