"""Superblocks read and judged; the images are made by mkfs.ext4 and changed by debugfs, without root."""

import shutil
import struct
import subprocess
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.storage.ext4 import (
    CHECK_INTERVAL,
    CHECK_MOUNTS,
    SUPERBLOCK_END,
    Superblock,
    decide_check,
    judge_e2fsck,
    read_superblock,
)

NOW = 1_700_000_000
DAY = 86400
CLEAN = Superblock(
    clean=True,
    errors=False,
    last_check=NOW - DAY,
    made=NOW - DAY,
    mounts=1,
    block_size=4096,
    block_count=2048,
    incompat=0,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ext4") / "made.img"
    subprocess.run(["/sbin/mkfs.ext4", "-q", "-F", "-b", "1024", path, "8M"], check=True)
    return path


def changed(made: Path, folder: Path, *requests: str) -> Superblock:
    """The superblock of a copy of `made` after debugfs's `requests`."""
    path = folder / "changed.img"
    shutil.copy(made, path)
    for request in requests:
        subprocess.run(["/sbin/debugfs", "-w", "-R", request, path], check=True, capture_output=True)
    return read_superblock(path.read_bytes()[:SUPERBLOCK_END])


def but(**fields: object) -> Superblock:
    return msgspec.structs.replace(CLEAN, **fields)


def test_a_new_file_system_is_clean_and_its_fields_are_read(made: Path) -> None:
    superblock = read_superblock(made.read_bytes()[:SUPERBLOCK_END])

    assert (superblock.clean, superblock.errors, superblock.needs_recovery) == (True, False, False)
    assert (superblock.block_size, superblock.size) == (1024, 8 << 20)
    assert superblock.last_check == superblock.made > NOW
    assert superblock.mounts == 0


def test_what_debugfs_sets_is_what_is_read(made: Path, tmp_path: Path) -> None:
    superblock = changed(
        made,
        tmp_path,
        "set_super_value state 2",
        "set_super_value lastcheck 20200102000000",
        "set_super_value mnt_count 17",
        "feature needs_recovery",
    )

    assert (superblock.clean, superblock.errors, superblock.needs_recovery) == (False, True, True)
    assert superblock.last_check == 1577923200
    assert superblock.mounts == 17


def test_times_after_2106_are_read(made: Path) -> None:
    block = bytearray(made.read_bytes()[:SUPERBLOCK_END])
    struct.pack_into("<I", block, 1024 + 0x40, 5)
    block[1024 + 0x277] = 1

    assert read_superblock(bytes(block)).last_check == (1 << 32) + 5


@given(st.binary(max_size=SUPERBLOCK_END))
def test_bytes_that_are_no_file_system_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no ext4 file system found"):
        read_superblock(data.replace(b"\x53", b"\x52"))


def test_an_impossible_block_size_is_refused(made: Path) -> None:
    block = bytearray(made.read_bytes()[:SUPERBLOCK_END])
    struct.pack_into("<I", block, 1024 + 0x18, 40)

    with pytest.raises(ValueError, match="damaged"):
        read_superblock(bytes(block))


@pytest.mark.parametrize(
    ("superblock", "run", "damaged", "reason"),
    [
        (CLEAN, False, False, "checked 1 days ago"),
        (but(errors=True), True, True, "errors were recorded"),
        (but(clean=False), True, True, "not unmounted cleanly"),
        (but(incompat=0x4), False, False, "clean"),
        (but(last_check=NOW - 29 * DAY, made=0), False, False, "29 days ago"),
        (but(last_check=NOW - 30 * DAY, made=0), True, False, "not checked for 30 days"),
        (but(last_check=0, made=NOW - DAY), False, False, "1 days ago"),
        (but(last_check=0, made=0), True, False, "never checked"),
    ],
)
def test_a_check_is_due_for_errors_uncleanness_or_age(
    superblock: Superblock, run: bool, damaged: bool, reason: str
) -> None:
    decision = decide_check(superblock, "auto", NOW)

    assert (decision.run, decision.damaged) == (run, damaged)
    assert reason in decision.reason


def test_always_and_never_override_everything_but_the_knowledge_of_damage() -> None:
    assert decide_check(CLEAN, "always", NOW).run
    assert not decide_check(but(last_check=0, made=0), "never", NOW).run
    never = decide_check(but(errors=True), "never", NOW)
    assert (never.run, never.damaged) == (False, True)


def start_every_day(superblock: Superblock, clock: list[int]) -> list[int]:
    """Which of the starts at the times of `clock` checked, when each check and mount leaves its mark."""
    checked = []
    for start, now in enumerate(clock):
        if decide_check(superblock, "auto", now).run:
            checked.append(start)
            superblock = msgspec.structs.replace(superblock, last_check=now, mounts=0)
        superblock = msgspec.structs.replace(superblock, mounts=superblock.mounts + 1)
    return checked


def test_a_clock_that_stands_in_1970_checks_now_and_then() -> None:
    assert start_every_day(but(mounts=0), [60] * 100) == [30, 60, 90]


def test_a_clock_that_alternates_between_1970_and_now_does_not_check_each_time() -> None:
    assert len(start_every_day(CLEAN, [60, NOW] * 50)) <= 1 + 100 // CHECK_MOUNTS * 2


def test_a_check_dated_in_the_far_future_does_not_end_all_checks() -> None:
    future = but(last_check=NOW + 100 * 365 * DAY, mounts=0)

    assert start_every_day(future, [NOW + day * DAY for day in range(80)]) == [CHECK_MOUNTS, CHECK_MOUNTS * 2]


@given(st.integers(0, 2**34), st.integers(0, 2**34), st.integers(0, 2**16 - 1))
def test_no_clock_checks_twice_in_a_row(now: int, last_check: int, mounts: int) -> None:
    superblock = but(last_check=last_check, made=0, mounts=mounts)

    assert len(start_every_day(superblock, [now, now, now + 1])) <= 1


@given(st.integers(0, 2**34), st.integers(0, 2**34))
def test_with_any_clock_a_check_comes_within_its_mounts_and_then_the_interval(now: int, last_check: int) -> None:
    starts = CHECK_MOUNTS + CHECK_INTERVAL // DAY + 1

    assert start_every_day(but(last_check=last_check, made=0, mounts=0), [now + day * DAY for day in range(starts)])


@pytest.mark.parametrize(
    ("status", "mountable", "repaired", "reason"),
    [
        (0, True, False, "no errors"),
        (1, True, True, "repaired"),
        (2, True, True, "repaired"),
        (3, True, True, "repaired"),
        (4, False, False, "could not repair"),
        (1 | 4, False, False, "could not repair"),
        (8, False, False, "can't work on"),
        (4 | 8, False, False, "can't work on"),
        (16, False, False, "options"),
        (32, False, False, "cancelled"),
        (1 | 32, False, False, "cancelled"),
        (64, False, False, "status 64"),
        (128, False, False, "library"),
        (-9, False, False, "signal 9"),
    ],
)
def test_the_bits_of_e2fscks_status_are_told_apart(status: int, mountable: bool, repaired: bool, reason: str) -> None:
    verdict = judge_e2fsck(status, "")

    assert (verdict.mountable, verdict.repaired) == (mountable, repaired)
    assert reason in verdict.reason


@pytest.mark.parametrize(
    ("output", "quoted"),
    [
        ("Pass 1\n/dev/loop0: still has errors\n\n", "(/dev/loop0: still has errors)"),
        (
            "e2fsck: Bad magic number\n\nTry another superblock:\n  e2fsck -b 32768 <device>\n",
            "(e2fsck: Bad magic number)",
        ),
        ("", "this file system"),
    ],
)
def test_a_refusal_quotes_what_e2fsck_said(output: str, quoted: str) -> None:
    assert judge_e2fsck(8, output).reason.endswith(quoted)
