"""Which capabilities a plan leaves a container."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.errors import UsageError
from berth.kernel.capabilities import NUMBERS
from berth.plan.capabilities import ONE_OFF_CAPABILITIES, plan_capabilities, withheld
from berth.rules import CAPABILITIES
from berth.spec import Spec

NAMED_IN_THE_ISSUE = (
    *("SYS_MODULE", "SYS_RAWIO", "SYS_TIME", "MAC_ADMIN", "MAC_OVERRIDE", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND"),
    *("AUDIT_READ", "DAC_READ_SEARCH"),
)
BOOTING_NEEDS = (
    "SYS_ADMIN",
    "SETUID",
    "SETPCAP",
    "MKNOD",
    "SYS_BOOT",
    "SYS_RESOURCE",
    "SYS_TTY_CONFIG",
    "AUDIT_CONTROL",
)


def kept(**wanted: Any) -> tuple[str, ...]:
    return plan_capabilities(Spec(name="web", **wanted))


def test_what_a_phone_needs_kept_from_a_container_is_not_in_the_default_set() -> None:
    assert not set(NAMED_IN_THE_ISSUE) & set(kept())


def test_the_default_set_boots_a_full_system() -> None:
    assert set(BOOTING_NEEDS) <= set(kept())


def test_the_new_capabilities_are_withheld_because_sys_admin_covers_them() -> None:
    assert not {"BPF", "PERFMON", "CHECKPOINT_RESTORE"} & set(kept())


@pytest.mark.parametrize(
    ("wanted", "there"),
    [({}, False), ({"net": "none"}, True), ({"hw_access": True}, True), ({"cap_add": ("NET_ADMIN",)}, True)],
)
def test_net_admin_needs_an_own_network_or_hardware_or_a_word_from_the_user(
    wanted: dict[str, Any], there: bool
) -> None:
    assert ("NET_ADMIN" in kept(**wanted)) is there


@pytest.mark.parametrize("word", ["sys_time", "SYS_TIME", "CAP_SYS_TIME", "cap_sys_time"])
def test_a_capability_is_known_by_each_of_its_spellings(word: str) -> None:
    assert "SYS_TIME" in kept(cap_add=(word,))
    assert "SYS_TIME" not in kept(privileged=("nocaps",), cap_drop=(word,))


def test_nocaps_keeps_everything_but_what_is_dropped_by_name() -> None:
    assert kept(privileged=("nocaps",)) == CAPABILITIES
    assert set(kept(privileged=("nocaps",), cap_drop=("net_raw",))) == set(CAPABILITIES) - {"NET_RAW"}


def test_all_means_every_capability() -> None:
    assert kept(cap_add=("all",)) == CAPABILITIES
    assert set(kept(cap_add=("all",), cap_drop=("kill",))) == set(CAPABILITIES) - {"KILL"}
    assert kept(cap_drop=("ALL",)) == ()
    assert kept(cap_drop=("all",), cap_add=("chown", "kill")) == ("CHOWN", "KILL")


@pytest.mark.parametrize("flag", ["cap_add", "cap_drop"])
def test_an_unknown_name_is_refused_with_the_nearest_one(flag: str) -> None:
    with pytest.raises(UsageError, match=r'--cap-(add|drop) "sys_tyme": .*did you mean CAP_SYS_TIME\?'):
        kept(**{flag: ("sys_tyme",)})


def test_a_name_like_no_other_is_refused_with_where_to_look() -> None:
    with pytest.raises(UsageError, match="named as in CAP_NET_ADMIN"):
        kept(cap_add=("xyzzy",))


def test_adding_and_dropping_the_same_capability_is_refused() -> None:
    with pytest.raises(UsageError, match="both name NET_RAW"):
        kept(cap_add=("net_raw",), cap_drop=("CAP_NET_RAW",))


@given(st.sets(st.sampled_from(CAPABILITIES)), st.sets(st.sampled_from(CAPABILITIES)))
def test_what_is_added_is_there_and_what_is_dropped_is_not(add: set[str], drop: set[str]) -> None:
    drop -= add
    result = set(kept(cap_add=tuple(add), cap_drop=tuple(drop)))
    assert add <= result
    assert not drop & result
    assert result - add == set(kept()) - add - drop


def test_every_withheld_capability_has_its_reason() -> None:
    left_out = withheld(Spec(name="web"))
    assert set(left_out) == set(CAPABILITIES) - set(kept())
    assert all(left_out.values())


def test_a_one_off_has_nothing_that_reaches_a_device_or_mounts() -> None:
    assert not {"SYS_ADMIN", "MKNOD", "NET_RAW", "NET_ADMIN", "SYS_PTRACE"} & set(ONE_OFF_CAPABILITIES)
    assert set(ONE_OFF_CAPABILITIES) <= set(CAPABILITIES)


def test_rules_and_kernel_know_the_same_capabilities_in_the_same_order() -> None:
    assert tuple(NUMBERS) == CAPABILITIES
    assert list(NUMBERS.values()) == list(range(len(CAPABILITIES)))
