"""What the dashboard bears: run `.venv/bin/python -m tests.load`, as root; needs `wrk`.

Two loads: eight connections that ask for the list of 20 containers as fast as they are answered, and 20 terminals
streaming `yes` to readers that are slow.  Figures are printed; what must never happen (an error, a temporary file,
memory that grows) makes it fail.
"""

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import build
from tests import faults, rootfs
from tests.dashboard import Dashboard, Page, serving
from tests.program import Berth

CONTAINERS = 20
CONNECTIONS = 8
TERMINALS = 20
PAUSE = 0.05  # seconds that a slow reader takes for a frame
FLAT_KIB = 8 * 1024
TICKS = os.sysconf("SC_CLK_TCK")


def main(arguments: list[str]) -> int:
    """Do both and return 0 when nothing went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--seconds", type=int, default=30, help="how long the list is asked for (30)")
    parser.add_argument("--terminal-seconds", type=int, default=60, help="how long terminals stream (60)")
    options = parser.parse_args(arguments)
    build.make_dashboard()
    with _dashboard() as dashboard:
        wrong = ask_for_lists(dashboard, options.seconds)
        wrong += stream_terminals(dashboard, options.terminal_seconds)
    for sentence in wrong:
        print(f"wrong: {sentence}")
    return 1 if wrong else 0


@contextlib.contextmanager
def _dashboard() -> Iterator[Dashboard]:
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="berth-load-") as folder:
        berth = Berth(Path(folder) / "home")
        with serving(berth) as dashboard:
            try:
                yield dashboard
            finally:
                berth("stop", "--all", "--timeout", "0")


def ask_for_lists(dashboard: Dashboard, seconds: int) -> list[str]:
    """Ask for the list over and over for so long; return what went wrong."""
    root = rootfs.directory("busybox")
    for number in range(CONTAINERS):
        dashboard.post("/containers", {"spec": {"name": f"load-{number}", "rootfs": str(root)}}, 201)
    web = int(dashboard.published["pid"])
    address = f"http://127.0.0.1:{dashboard.port}/api/v1/containers"
    header = f"Authorization: Bearer {dashboard.token}"
    subprocess.run(_wrk(2, header, address), check=True, capture_output=True)  # until memory has what it needs
    before, spent = memory(web), cpu_seconds(web)
    told = subprocess.run(_wrk(seconds, header, address), check=True, capture_output=True, text=True).stdout
    spent = cpu_seconds(web) - spent
    count = int(re.findall(r"(\d+) requests in", told)[0])
    print(told)
    print(f"{count / seconds:.0f} requests/s, {spent / count * 1e6:.0f} us of processor time each")
    wrong = re.findall(r"Socket errors.*|Non-2xx.*", told)
    return [*wrong, *unhealthy(web, before)]


def _wrk(seconds: int, header: str, address: str) -> list[str]:
    return ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-H", header, address]


def stream_terminals(dashboard: Dashboard, seconds: float) -> list[str]:
    """Stream `yes` from 20 terminals to as many slow readers for so long; return what went wrong."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="berth-load-") as folder:
        root = faults.write_init(rootfs.copy(rootfs.directory("busybox"), Path(folder) / "root"))
        dashboard.start("load-yes", root)
        wrong = _stream(dashboard, seconds)
        dashboard.remove("load-yes")
    return wrong


def _stream(dashboard: Dashboard, seconds: float) -> list[str]:
    body = {"container": "load-yes", "argv": ["yes"]}
    opened = [dashboard.post("/terminals", body, 201)["id"] for _ in range(TERMINALS)]
    web, frames = int(dashboard.published["pid"]), 0
    with contextlib.ExitStack() as closing:
        pages = [
            closing.enter_context(Page(dashboard, {"id": "t", "kind": "terminal", "terminal": identity}))
            for identity in opened
        ]
        for page in pages:
            page.until(lambda frame: frame["kind"] == "output")
        before, spent, until = memory(web), cpu_seconds(web), time.monotonic() + seconds
        while time.monotonic() < until:
            for page in pages:
                page.until(lambda frame: frame["kind"] == "output")
                frames += 1
                time.sleep(PAUSE / TERMINALS)
        spent = cpu_seconds(web) - spent
        print(f"{TERMINALS} terminals: {frames} frames in {seconds:.0f} s, {spent / seconds:.1%} of a processor")
        wrong = unhealthy(web, before)
    for identity in opened:
        dashboard.delete(f"/terminals/{identity}", 204)
    faults.wait_until(lambda: not dashboard.get("/terminals")["terminals"], "all terminals are closed")
    return wrong


def unhealthy(web: int, before: int) -> list[str]:
    """Return what is wrong with process `web`, which had `before` KiB of memory."""
    now = memory(web)
    print(f"memory: {before} KiB before, {now} KiB after")
    wrong = [f"{name} is a temporary file" for name in deleted_files(web)]
    return [*wrong, *([f"memory grew by {now - before} KiB"] if now - before > FLAT_KIB else [])]


def memory(pid: int) -> int:
    """The anonymous memory of process `pid` in KiB."""
    return int(re.findall(r"^RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[0])


def cpu_seconds(pid: int) -> float:
    """The processor time that process `pid` has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def deleted_files(pid: int) -> list[str]:
    """Files that process `pid` has open although they have no name any more: temporary ones."""
    found = []
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            target = str(fd.readlink())
            if target.endswith(" (deleted)") and not target.startswith(("/memfd:", "/dev/")):
                found.append(target)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
