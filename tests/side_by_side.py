"""Runs all tests in two processes, which takes as long as the slower one; what they need is fetched meanwhile.

    python3 -m tests.side_by_side [--device=full]
    python3 -m tests.side_by_side ARGUMENT ...      one pytest with these arguments, which choose tests

What changes this machine and compares it with before is in one process.  What does not (pure tests, foreign processors,
virtual machines, phones made of network namespaces, Debian's inits) is in the other one, which gets a mount namespace
of its own so that this holds; its output is shown when it has ended, and behind that once more what failed in either.
Both start containers: `tests.host_state` tells them apart.  The service runs on this machine's localhost in one of them
only, because tests wait for a port to be free.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests import host_state

ROOT = Path(__file__).resolve().parents[1]
OF_THE_SYSTEM = tuple(
    str(path.relative_to(ROOT))
    for name in ("dhcp_clients", "gateway", "inits", "lan", "nat*")
    for path in sorted(ROOT.glob(f"tests/system/test_{name}.py"))
)
ON_THIS_MACHINE = ("tests/system", "tests/browser", *(f"--ignore={path}" for path in OF_THE_SYSTEM))
ASIDE = ("tests/unit", "tests/flashing", "tests/device", *OF_THE_SYSTEM)
OUTPUT = ROOT / ".cache" / "aside.log"
FAILURES = ROOT / ".cache" / "failures.log"
PYTEST = (sys.executable, "-m", "pytest")
ENDED_WITH_US = ("setpriv", "--pdeathsig", "TERM", "--")  # pytest cleans up then; see tests/conftest.py


def main(arguments: Sequence[str]) -> int:
    """Run pytest once, or twice side by side, and return the exit code: 0 when all tests have passed."""
    if not all(argument.startswith("--device=") for argument in arguments):
        os.execv(PYTEST[0], [*PYTEST, *arguments])
    OUTPUT.parent.mkdir(exist_ok=True)
    FAILURES.write_bytes(b"")
    known = {**os.environ, "BERTH_TEST_FAILURES": str(FAILURES)}
    before = host_state.shared_cgroups()
    with OUTPUT.open("wb") as output:
        aside = subprocess.Popen(
            [*ENDED_WITH_US, "unshare", "--mount", "--", sys.executable, "-m", "tests.aside", *ASIDE, *arguments],
            env={**known, "BERTH_TEST_ROLE": "aside"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,  # Ctrl-C comes once, from us
        )
    here = subprocess.Popen(
        [*ENDED_WITH_US, *PYTEST, *ON_THIS_MACHINE, *arguments],
        env={**known, "BERTH_TEST_ROLE": "main"},
        stdin=subprocess.DEVNULL,
        process_group=0,
    )
    print(f"==> beside it run {len(ASIDE)} folders and files; their output goes to {OUTPUT}", flush=True)
    code = wait_for(here, aside)
    # What all share goes with the last who has something in it, so neither of the two can tell that it stayed.
    left = host_state.shared_cgroups() - before if host_state.ONLY_RUN else ()
    if left:
        print(f"==> left behind: {', '.join(sorted(left))}", flush=True)
    if failures := FAILURES.read_text(encoding="utf-8"):
        print(f"==> what failed:\n{failures}", flush=True)
    return code or len(left)


def wait_for(here: subprocess.Popen[bytes], aside: subprocess.Popen[bytes]) -> int:
    """Return the exit code of both, after showing what `aside` has printed; a signal that ends us ends them first."""
    started, both = time.monotonic(), (here, aside)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: end(number, both))
    codes = [here.wait()]
    if aside.poll() is None:
        print(f"==> {time.monotonic() - started:.0f} s; waiting for the tests that run beside", flush=True)
    codes.append(aside.wait())
    print("==> what ran beside:", flush=True)
    sys.stdout.buffer.write(OUTPUT.read_bytes())
    print(f"==> both together took {time.monotonic() - started:.0f} s", flush=True)
    return next((abs(code) for code in codes if code), 0)


def end(number: int, processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Have every one of `processes` end in order, once: a second signal would break into their cleaning up."""
    for again in (signal.SIGINT, signal.SIGTERM):
        signal.signal(again, signal.SIG_IGN)
    for process in processes:
        process.send_signal(number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
