"""What an ext4 superblock says, and what follows from it: is a check due, and what did e2fsck answer?

Pure: bytes and numbers in, decisions out.  ext2 and ext3 have the same superblock, and the kernel's ext4 mounts them.
Source of the layout: Documentation/filesystems/ext4/super.rst.
"""

import struct
from typing import Final

from msgspec import Struct

from berth.spec import FsckPolicy

SUPERBLOCK_END: Final = 2048  # bytes from the start of the image that read_superblock() wants
CHECK_INTERVAL: Final = 30 * 24 * 3600  # seconds
CHECK_MOUNTS: Final = 30  # stands in for the interval while the clock is of no use

_CLOCK_WAS_SET: Final = 1_577_836_800  # 2020: a clock before it still counts from where the phone's hardware starts
_MAGIC: Final = 0xEF53
_STATE_CLEAN: Final = 1
_STATE_ERRORS: Final = 2
_INCOMPAT_RECOVER: Final = 0x4
_INCOMPAT_64BIT: Final = 0x80
_MAX_LOG_BLOCK_SIZE: Final = 6  # 64 KiB

_E2FSCK_REPAIRED: Final = 1 | 2  # 2 asks for a reboot, which only concerns a file system that is mounted meanwhile
_E2FSCK_FAILURES: Final = (
    (128, "a library that e2fsck needs is missing"),
    (32, "the check was cancelled"),
    (16, 'this e2fsck does not know the options "-f -y"'),
    (8, "e2fsck can't work on this file system"),
    (4, "errors are left that e2fsck could not repair"),
)


class Superblock(Struct, frozen=True, kw_only=True):
    """The fields of a superblock that Berth decides by; times are seconds since 1970, 0 where never written.

    `mounts` counts the writable mounts since the last check; `incompat` is a mask of features.
    """

    clean: bool
    errors: bool
    last_check: int
    made: int
    mounts: int
    block_size: int
    block_count: int
    incompat: int

    @property
    def needs_recovery(self) -> bool:
        """The journal holds changes that the next writable mount will carry out."""
        return bool(self.incompat & _INCOMPAT_RECOVER)

    @property
    def size(self) -> int:
        """Bytes that the file system takes from the start of its image."""
        return self.block_size * self.block_count


class CheckDecision(Struct, frozen=True):
    """Whether to run e2fsck, and why; `damaged` where the file system itself asks for it, whatever was decided."""

    run: bool
    damaged: bool
    reason: str


class CheckVerdict(Struct, frozen=True):
    """What e2fsck's exit status means; `reason` is part of a sentence."""

    mountable: bool
    repaired: bool
    reason: str


def read_superblock(data: bytes) -> Superblock:
    """Return the superblock in the first SUPERBLOCK_END bytes of an image, `data`.

    Raises ValueError, its text part of a sentence, where there is none.
    """
    block = data[1024:SUPERBLOCK_END]
    if len(block) < SUPERBLOCK_END - 1024 or _u16(block, 0x38) != _MAGIC:
        raise ValueError("no ext4 file system found")
    log_block_size = _u32(block, 0x18)
    if log_block_size > _MAX_LOG_BLOCK_SIZE:
        raise ValueError("the superblock of its ext4 file system is damaged")
    state, incompat = _u16(block, 0x3A), _u32(block, 0x60)
    blocks_high = _u32(block, 0x150) if incompat & _INCOMPAT_64BIT else 0
    return Superblock(
        clean=bool(state & _STATE_CLEAN),
        errors=bool(state & _STATE_ERRORS),
        last_check=_time(block, 0x40, 0x277),
        made=_time(block, 0x108, 0x276),
        mounts=_u16(block, 0x34),
        block_size=1024 << log_block_size,
        block_count=_u32(block, 0x04) | blocks_high << 32,
        incompat=incompat,
    )


def decide_check(superblock: Superblock, policy: FsckPolicy, now: int) -> CheckDecision:
    """Decide whether e2fsck has to run before a mount at `now`, in seconds since 1970.

    With "auto": recorded errors, not clean, or not checked for 30 days.  A journal to replay is no reason, the mount
    does that.  A clock that was never set (a phone without a clock battery starts in 1970) or stands before the last
    check (somebody once set the year 2099) says nothing about the age, so 30 mounts since the last check take its
    place: such a clock neither causes a check at every start nor prevents it forever, and a check puts the date right.
    """
    damage = _damage(superblock)
    if policy == "always":
        return CheckDecision(True, bool(damage), damage or "a check was asked for")
    if policy == "never":
        return CheckDecision(False, bool(damage), damage or "no check was asked for")
    if damage:
        return CheckDecision(True, True, damage)
    checked = max(superblock.last_check, superblock.made)
    if now < max(checked, _CLOCK_WAS_SET):
        return CheckDecision(
            superblock.mounts >= CHECK_MOUNTS,
            False,
            f"the clock is not set, and it was mounted {superblock.mounts} times since the last check",
        )
    age = now - checked
    if age < CHECK_INTERVAL:
        return CheckDecision(False, False, f"clean and checked {age // 86400} days ago")
    return CheckDecision(True, False, f"not checked for {age // 86400} days" if checked else "never checked")


def judge_e2fsck(status: int, output: str) -> CheckVerdict:
    """Return what e2fsck's exit `status` means, e2fsck(8); negative: the signal that ended it.

    The status is a mask.  1 and 2 mean that all errors were repaired; from 4 up the file system must not be mounted.
    `output` is the end of what it printed, and lends its last error message or else its last line to a refusal.
    """
    if status < 0:
        return CheckVerdict(False, False, f"e2fsck was ended by signal {-status}")
    if status <= _E2FSCK_REPAIRED:
        return CheckVerdict(True, bool(status), "e2fsck repaired its errors" if status else "e2fsck found no errors")
    reason = next((text for bit, text in _E2FSCK_FAILURES if status & bit), f"e2fsck ended with status {status}")
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    said = ([line for line in lines if "e2fsck: " in line] or lines)[-1:]
    return CheckVerdict(False, False, f"{reason} ({said[0]})" if said else reason)


def _damage(superblock: Superblock) -> str:
    if superblock.errors:
        return "errors were recorded in its file system"
    return "" if superblock.clean else "its file system was not unmounted cleanly"


def _u16(block: bytes, offset: int) -> int:
    value: int = struct.unpack_from("<H", block, offset)[0]
    return value


def _u32(block: bytes, offset: int) -> int:
    value: int = struct.unpack_from("<I", block, offset)[0]
    return value


def _time(block: bytes, offset: int, high_offset: int) -> int:
    """A time and the eight bits that put off the year 2106; older writers leave them 0."""
    return _u32(block, offset) | block[high_offset] << 32
