"""Hooks: when they run, what they are told, and that a start whose hook fails is undone."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import quick
from tests.program import Berth

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]


@pytest.fixture
def root(rootfs: Factory) -> Path:
    root = rootfs("busybox")
    quick.write_init(root)
    return root


@pytest.fixture
def diary(scratch: Path) -> Path:
    return scratch / "diary"


def hook(scratch: Path, name: str, script: str) -> Path:
    path = scratch / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_hooks_run_in_the_order_of_a_containers_life(berth: Berth, root: Path, scratch: Path, diary: Path) -> None:
    stages = ("poststop", "prechroot", "prestart")  # whatever the order they are given in
    hooks = [f"{stage}={hook(scratch, stage, f'echo {stage} >> {diary}')}" for stage in stages]
    second = hook(scratch, "second", f"echo second >> {diary}")

    quick.start(berth, root, *(f"--hook={words}" for words in hooks), f"--hook=prestart={second}")
    assert diary.read_text().split() == ["prestart", "second", "prechroot"]
    berth.succeed("stop", "quay")

    quick.wait_for(lambda: diary.read_text().split()[3:] == ["poststop"] or None)


def test_one_that_is_stopped_during_a_reboot_has_its_hooks_too(
    berth: Berth, rootfs: Factory, scratch: Path, diary: Path
) -> None:
    again, slow = (
        scratch / "again",
        f"[ -e {scratch}/once ] || exec touch {scratch}/once; touch {scratch}/again; sleep 1",
    )
    hooks = (
        f"--hook=prestart={hook(scratch, 'prestart', slow)}",
        f"--hook=poststop={hook(scratch, 'poststop', f'echo end >> {diary}')}",
    )
    quick.start(berth, rootfs("busybox"), *hooks)
    berth("run", "quay", "--", "reboot", "-f")
    quick.wait_for(lambda: again.exists() or None)

    berth.succeed("stop", "quay", "--timeout", "1")

    assert diary.read_text() == "end\n"
    assert quick.info(berth)["state"] == "stopped"


@pytest.mark.parametrize(("net", "network"), [("host", ""), ("none", "1")])
def test_prestart_gets_the_pid_and_what_is_new_for_it(
    berth: Berth, root: Path, scratch: Path, diary: Path, *, net: str, network: str
) -> None:
    told = 'echo "$#:$1:$CLONE_NEWNET:$CLONE_NEWUSER:$(readlink /proc/$1/ns/uts):$(readlink /proc/self/ns/mnt)"'
    prestart = hook(scratch, "prestart", f"{told} > {diary}")

    quick.start(berth, root, "--net", net, f"--hook=prestart={prestart}")

    pid = quick.info(berth)["pid"]
    count, argument, new_net, new_user, *links = diary.read_text().strip().split(":", 4)
    assert (count, argument, new_net, new_user) == ("1", str(pid), network, "")
    assert os.readlink(f"/proc/{pid}/ns/uts") in links[0]  # its namespaces are there already
    berth.succeed("stop", "quay")


def test_prechroot_sees_the_mounts_and_the_host(berth: Berth, root: Path, scratch: Path, diary: Path) -> None:
    (scratch / "shown").mkdir()
    prechroot = hook(scratch, "prechroot", f"grep -c -e ' - proc ' -e '/mnt/shown ' /proc/self/mountinfo > {diary}")

    quick.start(berth, root, "-B", f"{scratch}/shown:/mnt/shown", f"--hook=prechroot={prechroot}")

    assert int(diary.read_text()) >= 2
    berth.succeed("stop", "quay")


def test_a_hook_is_told_whom_it_runs_for_and_nothing_of_the_callers(
    berth: Berth, root: Path, scratch: Path, diary: Path
) -> None:
    berth.environment["OF_THE_CALLER"] = "yes"
    berth.environment["LD_PRELOAD"] = ""
    hooks = [f"{stage}={hook(scratch, stage, f'env >> {diary}')}" for stage in ("prestart", "prechroot", "poststop")]

    quick.start(berth, root, *(f"--hook={words}" for words in hooks))
    berth.succeed("stop", "quay")

    quick.wait_for(lambda: "poststop" in diary.read_text() or None)
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/system/bin"
    new_root = f"{berth.home}/run/root"
    every = [path, "BERTH_CONTAINER=quay"]
    own: dict[str, list[str]] = {"prestart": [], "prechroot": [f"BERTH_ROOT={new_root}"], "poststop": []}
    told = [line for line in diary.read_text().splitlines() if line.partition("=")[0] not in ("PWD", "SHLVL", "_")]
    expected = [line for stage, more in own.items() for line in (*every, f"BERTH_STAGE={stage}", *more)]
    assert sorted(told) == sorted(expected)


@pytest.mark.parametrize("stage", ["prestart", "prechroot"])
def test_a_failing_hook_fails_the_start_and_everything_is_undone(
    berth: Berth, root: Path, scratch: Path, stage: str
) -> None:
    (scratch / "shown").mkdir()
    failing = hook(scratch, "failing", "echo first line; echo the tide is out >&2; exit 7")

    failed = berth(
        "start",
        "quay",
        "--rootfs",
        root,
        "--init",
        quick.INIT,
        f"--hook={stage}={failing}",
        "-B",
        f"{scratch}/shown:/opt/x",
    )

    assert failed.returncode == 1
    assert f"hook {stage} {failing}: ended with 7: the tide is out" in failed.stderr
    assert berth("list", "--json").stdout == "[]\n"
    assert not (root / "opt").exists()


@pytest.mark.parametrize("stage", ["prestart", "prechroot"])
def test_a_hook_that_can_not_be_executed_fails_the_start(berth: Berth, root: Path, scratch: Path, stage: str) -> None:
    plain = scratch / "plain"
    plain.write_text("no program\n")

    failed = berth("start", "quay", "--rootfs", root, "--init", quick.INIT, f"--hook={stage}={plain}")

    assert failed.returncode == 1
    assert f"hook {stage} {plain}: Permission denied" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1


def test_a_hooks_words_are_its_own_and_no_shells(berth: Berth, root: Path, scratch: Path, diary: Path) -> None:
    odd = hook(scratch, "with space; touch oops", f"echo ran > {diary}")

    quick.start(berth, root, f"--hook=prestart={odd}")

    assert diary.read_text() == "ran\n"
    berth.succeed("stop", "quay")


def test_poststop_runs_when_the_container_powers_itself_off_and_its_failure_is_logged(
    berth: Berth, root: Path, scratch: Path, diary: Path
) -> None:
    poststop = hook(scratch, "poststop", f"echo after > {diary}; echo sinking; exit 3")
    quick.start(berth, root, f"--hook=poststop={poststop}")

    berth("run", "quay", "--", "poweroff", "-f")
    quick.wait_for(lambda: quick.info(berth)["state"] == "stopped" or None)

    assert diary.read_text() == "after\n"
    assert "ended with 3: sinking" in berth.succeed("logs", "quay")


@pytest.mark.parametrize("hook_words", ["prestart=relative", "sometime=/bin/true", "prestart"])
def test_a_hook_that_makes_no_sense_is_refused(berth: Berth, root: Path, hook_words: str) -> None:
    refused = berth("start", "quay", "--rootfs", root, f"--hook={hook_words}")

    assert refused.returncode == 2
    assert "--hook" in refused.stderr


def test_a_hook_has_thirty_seconds(berth: Berth, root: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the clock of the limit turned faster, in a start that is done by this very process."""
    from berth.engine import hooks
    from berth.errors import BerthError
    from berth.spec import Hook

    assert hooks._SECONDS == 30
    monkeypatch.setattr(hooks, "_SECONDS", 0.3)
    slow = hook(scratch, "slow", "sleep 60")
    began = time.monotonic()

    with pytest.raises(BerthError, match="still running after"):
        hooks.run_hook(Hook("prestart", str(slow)), "quay")

    assert time.monotonic() - began < 30
