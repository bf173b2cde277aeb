"""Commands that get the name of one container: the others are none of their business, and a wrong name is told."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import faults, quick
from tests.program import Berth

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]


@pytest.mark.parametrize("command", ["console", "enter", "info", "logs", "plan", "recover", "restart", "start", "stop"])
def test_a_name_that_is_none_is_told(berth: Berth, command: str) -> None:
    result = berth(command, "nobody")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == 'berth: there is no container "nobody"; "berth list" shows those there are\n'


def test_recover_puts_right_the_container_that_was_named_and_no_other(berth: Berth, rootfs: Factory) -> None:
    names = ("first", "second")
    for name in names:
        quick.start(berth, rootfs("busybox"), name=name)
        faults.kill(quick.info(berth, name)["monitor_pid"])
    assert "container first: has a monitor again" in berth.succeed("recover", "first")
    assert [faults.condition(berth, name) for name in names] == ["running", "unattended"]
    assert "container second: has a monitor again" in berth.succeed("recover")
    berth.succeed("stop", "first,second")
