"""Who keeps a container from writing the settings of the host's kernel."""

from typing import Any

import pytest

from berth.host import CgroupMount, Host
from berth.plan.model import SysctlPolicy
from berth.plan.sysctls import plan_sysctls
from berth.spec import Spec

CGROUP2 = (CgroupMount("/sys/fs/cgroup", 2),)


def policy(
    kernel: tuple[int, int] = (6, 1), capabilities: tuple[str, ...] = (), *, device_bpf: bool = True, **wanted: Any
) -> SysctlPolicy:
    host = Host(kernel=kernel, machine="aarch64", cgroups=CGROUP2, device_bpf=device_bpf)
    return plan_sysctls(Spec(name="web", **wanted), host, capabilities)


def test_from_5_2_a_program_keeps_every_setting() -> None:
    made = policy((5, 2))
    assert (made.kept, made.net) == (True, False)


def test_those_of_the_network_go_with_its_administration() -> None:
    assert policy(net="none").net
    assert policy(capabilities=("NET_ADMIN",)).net


def test_without_such_programs_the_plan_says_what_that_means() -> None:
    for made in (policy((4, 19)), policy((5, 1)), policy(device_bpf=False)):
        assert not made.kept
        assert "core_pattern" in made.reason


@pytest.mark.parametrize("word", ["nomask", "nocaps"])
def test_only_nomask_lifts_it(word: str) -> None:
    assert policy(privileged=(word,)).kept is (word != "nomask")
