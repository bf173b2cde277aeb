"""Runs the user's hooks: an executable, a bounded time, no shell."""

import subprocess
from collections.abc import Sequence

from berth.errors import BerthError
from berth.kernel.processes import die_with_parent
from berth.spec import Hook

_SECONDS = 30
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/system/bin"


def run_hook(hook: Hook, container: str, arguments: Sequence[str] = (), **told: str) -> None:
    """Run one hook of `container` and wait for it, 30 s at most; raises BerthError when it fails, in one sentence.

    Its environment is a PATH, BERTH_CONTAINER, BERTH_STAGE and what else it is `told`, nothing of the caller's.  It is
    killed with the caller: nobody would be there to say what came of it.
    """
    try:
        done = subprocess.run(
            [hook.path, *arguments],
            env={"PATH": _PATH, "BERTH_CONTAINER": container, "BERTH_STAGE": hook.stage, **told},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SECONDS,
            check=False,
            preexec_fn=die_with_parent,  # there is one thread, which holds no lock
        )
    except subprocess.TimeoutExpired:
        raise BerthError(f"hook {hook.stage} {hook.path}: still running after {_SECONDS} s, ended") from None
    except OSError as error:
        raise BerthError(f"hook {hook.stage} {hook.path}: {error.strerror}; check the path and its mode") from error
    if done.returncode:
        said = done.stdout.decode(errors="replace").strip().splitlines()
        last = f": {said[-1]}" if said else ""
        raise BerthError(f"hook {hook.stage} {hook.path}: ended with {done.returncode}{last}")
