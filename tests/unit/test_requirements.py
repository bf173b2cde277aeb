"""What `berth check` says of made-up devices."""

import msgspec
import pytest

from berth.engine.requirements import FREE_LEAST, Finding, Probes, Requirement, fulfilled, requirements
from berth.host import CgroupMount, Host

YES, NO = Finding(True), Finding(False, "Invalid argument")
WORDS = ("mount", "pid", "uts", "ipc", "cgroup", "network")
MODERN = Host(
    kernel=(6, 6),
    machine="aarch64",
    cgroups=(CgroupMount("/sys/fs/cgroup", 2, ("cpu", "memory", "pids")),),
    tools={"e2fsck": "/system/bin/e2fsck"},
)
ALL_THERE = Probes(
    root=YES,
    namespaces=dict.fromkeys(WORDS, YES),
    pivot_root=YES,
    devpts=YES,
    seccomp=YES,
    overlay=YES,
    loop=YES,
    ext4=YES,
    cgroup2=YES,
    cgroup2_controllers=("cpu", "memory", "pids"),
    pidfd=YES,
    clone_into_cgroup=YES,
    openat2=YES,
    close_range=YES,
    narrow=YES,
    tun=YES,
    fuse=YES,
    free=FREE_LEAST,
)
NEEDED = {"root", "ns-mount", "ns-pid", "ns-uts", "ns-ipc", "devpts", "seccomp"}


def missing(host: Host, probes: Probes) -> dict[str, Requirement]:
    return {one.key: one for one in requirements(host, probes) if one.state == "missing"}


def test_a_device_with_everything_lacks_nothing() -> None:
    assert missing(MODERN, ALL_THERE) == {}
    assert fulfilled(requirements(MODERN, ALL_THERE))


def test_each_thing_is_judged_by_itself_and_only_what_is_needed_bars_a_start() -> None:
    fields = {field for field in Probes.__struct_fields__ if isinstance(getattr(ALL_THERE, field), Finding)}
    for field in fields - {"cgroup2"}:  # mounted there, so it is not asked whether it could be
        probes = msgspec.structs.replace(ALL_THERE, **{field: NO})
        lacking = missing(MODERN, probes)
        assert len(lacking) == 1, field
        (key,) = lacking
        assert lacking[key].found == "Invalid argument"
        assert fulfilled(requirements(MODERN, probes)) == (key not in NEEDED)


def test_what_only_root_may_try_is_unknown_to_others_and_not_missing() -> None:
    denied = Finding(False, "Operation not permitted")
    probes = msgspec.structs.replace(ALL_THERE, root=Finding(False, "user 1000"), loop=denied, tun=NO)

    judged = {one.key: one for one in requirements(MODERN, probes)}

    assert {key for key, one in judged.items() if one.state == "missing"} == {"root", "tun"}
    for key in ("loop", "devices"):
        assert (judged[key].state, judged[key].found) == ("unknown", "only root can tell")
    assert not fulfilled(tuple(judged.values()))


@pytest.mark.parametrize("word", WORDS)
def test_each_namespace_is_judged(word: str) -> None:
    probes = msgspec.structs.replace(ALL_THERE, namespaces={**ALL_THERE.namespaces, word: NO})
    assert list(missing(MODERN, probes)) == [f"ns-{word}"]
    assert fulfilled(requirements(MODERN, probes)) == (word in ("cgroup", "network"))


def test_everything_says_what_it_costs_to_lack_it_and_how_to_get_it() -> None:
    judged = requirements(MODERN, ALL_THERE)
    assert all(one.cost and one.remedy for one in judged)
    assert len({one.key for one in judged}) == len(judged)
    assert {one.key for one in judged if one.required} == NEEDED
    assert not any(one.cost.endswith(".") or one.remedy.endswith(".") for one in judged)


def test_what_is_needed_comes_first() -> None:
    order = [one.required for one in requirements(MODERN, ALL_THERE)]
    assert order == sorted(order, reverse=True)


def test_android_9_holds_memory_but_neither_pids_nor_devices() -> None:
    host = msgspec.structs.replace(
        MODERN,
        kernel=(4, 9),
        android=True,
        device_bpf=False,
        cgroups=(
            CgroupMount("/acct", 1, ("cpuacct",)),
            CgroupMount("/dev/cpuctl", 1, ("cpu",)),
            CgroupMount("/dev/cpuset", 1, ("cpuset",), noprefix=True),
            CgroupMount("/dev/memcg", 1, ("memory",)),
        ),
    )
    probes = msgspec.structs.replace(ALL_THERE, cgroup2_controllers=())
    judged = {one.key: one for one in requirements(host, probes)}
    assert judged["controller-memory"].found == "v1 at /dev/memcg"
    assert set(missing(host, probes)) == {"controller-pids", "devices"}
    assert "no v1 devices hierarchy is mounted" in judged["devices"].found


def test_a_controller_that_the_engines_own_cgroup2_would_have_is_there() -> None:
    host = msgspec.structs.replace(MODERN, cgroups=())
    probes = msgspec.structs.replace(ALL_THERE, cgroup2_controllers=("pids",))
    judged = {one.key: one for one in requirements(host, probes)}
    assert judged["controller-pids"].state == "ok"
    assert judged["controller-cpu"].state == "missing"


def test_a_full_disk_and_a_missing_e2fsck_are_told() -> None:
    lacking = missing(
        msgspec.structs.replace(MODERN, tools={}), msgspec.structs.replace(ALL_THERE, free=FREE_LEAST - (1 << 20))
    )
    assert set(lacking) == {"e2fsck", "space"}
    assert lacking["space"].found == "63M"
