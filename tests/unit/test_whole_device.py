"""What a container asks of the whole device, decided for made-up phones."""

import pytest
from msgspec.structs import replace

from berth.engine.narration import describe
from berth.engine.preview import Preview
from berth.host import Host, Rootfs, SelinuxMode
from berth.plan import plan
from berth.plan.model import Plan
from berth.plan.one_off import plan_one_off
from berth.spec import Spec, StartOptions, WakelockPolicy

PHONE = Host(kernel=(6, 1), machine="aarch64", android=True, selinux="enforcing", memory=4 << 30, wakelocks=True)
MACHINE = Host(kernel=(6, 1), machine="x86_64", memory=4 << 30)
BOX = Spec(name="box", rootfs="/srv/box")


def planned(spec: Spec, host: Host) -> Plan:
    return plan(spec, StartOptions(), host, Rootfs(init="/sbin/init"))


@pytest.mark.parametrize(
    ("host", "asked", "score"), [(PHONE, None, 200), (MACHINE, None, 0), (PHONE, 0, 0), (MACHINE, -900, -900)]
)
def test_on_a_phone_containers_go_before_the_app_in_front(host: Host, asked: int | None, score: int) -> None:
    spec = replace(BOX, oom_score_adj=asked)

    assert planned(spec, host).oom_score_adj == score
    assert plan_one_off(spec, ("true",), {}, host, terminal=False).oom_score_adj == score


def test_a_wakelock_carries_the_containers_name() -> None:
    made = planned(replace(BOX, wakelock="charging"), PHONE).wakelock

    assert made is not None
    assert (made.name, made.policy) == ("berth-box", "charging")
    assert planned(BOX, PHONE).wakelock is None


@pytest.mark.parametrize("policy", ["running", "charging"])
def test_a_kernel_without_wakelocks_gets_a_warning_and_no_wakelock(policy: WakelockPolicy) -> None:
    made = planned(replace(BOX, wakelock=policy), replace(PHONE, wakelocks=False))

    assert made.wakelock is None
    assert [warning for warning in made.warnings if f"--wakelock={policy} has no effect" in warning]


@pytest.mark.parametrize(("mode", "changed"), [("enforcing", True), ("permissive", True), ("off", False)])
def test_selinux_is_made_permissive_only_where_there_is_one(mode: SelinuxMode, changed: bool) -> None:
    made = planned(replace(BOX, selinux_permissive=True), replace(PHONE, selinux=mode))

    assert made.selinux_permissive is changed
    assert bool([warning for warning in made.warnings if "has no SELinux" in warning]) is not changed


def test_the_plan_tells_of_all_of_it_with_reasons() -> None:
    spec = replace(BOX, wakelock="running", selinux_permissive=True)

    told = describe(spec, Preview(plan=planned(spec, PHONE)))["whole device"]

    assert [entry.what for entry in told] == [
        "oom_score_adj 200",
        "hold the wakelock berth-box",
        "make SELinux permissive until the last container that asked has ended",
    ]
    assert all(entry.why for entry in told)
