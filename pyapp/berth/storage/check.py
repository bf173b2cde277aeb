"""e2fsck: run where the superblock asks for it, and its answer turned into warnings or a refusal."""

import subprocess
from typing import Final

from berth.errors import BerthError
from berth.spec import FsckPolicy
from berth.storage.ext4 import CheckDecision, Superblock, decide_check, judge_e2fsck

_TAIL: Final = 4096  # bytes of e2fsck's output that are kept; on a wrecked image it prints without end


def check_file_system(
    image: str,
    device: str,
    superblock: Superblock,
    *,
    policy: FsckPolicy,
    read_only: bool,
    e2fsck: str | None,
    now: int,
) -> tuple[str, ...]:
    """Check the file system on the block device `device` where it is due; return warnings, sentences each.

    Before a read-only mount nothing may be written, so the check only looks, and one that is merely stale is left
    out, because its date could not be stored.  `e2fsck` is its absolute path.  Raises BerthError where the file
    system must not be mounted.
    """
    decision = decide_check(superblock, policy, now)
    warnings = []
    if read_only and superblock.needs_recovery:
        warnings.append(
            f"image {image}: its journal was not replayed, files written last may be missing;"
            " start it once without --volatile"
        )
    if decision.damaged and not decision.run:
        warnings.append(f"image {image}: {decision.reason}; not checked because of --fsck=never")
    stale_only = policy == "auto" and not decision.damaged
    if not decision.run or (read_only and stale_only):
        return tuple(warnings)
    if e2fsck is None:
        if not stale_only:
            raise BerthError(_no_e2fsck(image, decision))
        return (*warnings, f"image {image}: {decision.reason}, and e2fsck was not found; install e2fsprogs")
    verdict = judge_e2fsck(*_run(e2fsck, device, read_only))
    if not verdict.mountable:
        way_out = "start it once without --volatile" if read_only else "restore it from a backup"
        raise BerthError(f"image {image}: {verdict.reason}; {way_out}, or mount it as it is with --fsck=never")
    if verdict.repaired:
        warnings.append(f"image {image}: {decision.reason}; {verdict.reason}")
    return tuple(warnings)


def _no_e2fsck(image: str, decision: CheckDecision) -> str:
    return f"image {image}: {decision.reason}, and e2fsck was not found; install e2fsprogs or pass --fsck=never"


def _run(e2fsck: str, device: str, read_only: bool) -> tuple[int, str]:
    """Exit status (negative: the signal) and the end of the output."""
    argv = [e2fsck, "-f", "-n" if read_only else "-y", device]
    tail = b""
    try:
        with subprocess.Popen(
            argv,
            bufsize=0,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"LC_ALL": "C"},  # not ours: our runtime's library path would mislead Android's e2fsck
        ) as process:
            assert process.stdout is not None
            while chunk := process.stdout.read(65536):
                tail = (tail + chunk)[-_TAIL:]
    except OSError as error:
        raise BerthError(f"{e2fsck}: it can't be run ({error.strerror}); install e2fsprogs") from error
    return process.returncode, tail.decode(errors="replace")
