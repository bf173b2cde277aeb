"""What the dashboard bears: run `.venv/bin/python -m tests.load`, as root; needs `wrk`.

Two loads: eight connections that ask for the list of 20 containers as fast as they are answered, and 20 terminals
streaming `yes` to readers that are slow.  Figures are printed; what must never happen (an error, a temporary file,
memory that grows) makes it fail.  `tests/system/test_web_load.py` does the same for some seconds, and the benchmark's
part `web` beside a bare Flask.
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
from typing import NamedTuple

import build
from berth.kernel.processes import status_field
from tests import faults, rootfs
from tests.dashboard import Dashboard, Page, serving
from tests.program import Berth

CONTAINERS = 20
CONNECTIONS = 8
TERMINALS = 20
PAUSE = 0.05  # seconds that a slow reader takes for a frame
FLAT_KIB = 8 * 1024
KEPT_KIB = 1024  # the most that a terminal may grow by: twice its 256 KiB, as it forgets by the half, and room to do so
TICKS = os.sysconf("SC_CLK_TCK")
SUMMARY = {"name": "load-10", "state": "stopped", "root": "/var/lib/a-root", "image": False, "autostart": False}
BARE = """
import sys
import flask, waitress
app = flask.Flask("bare")
body = sys.stdin.buffer.read()
@app.get("/api/v1/containers")
def containers():
    return flask.Response(body, content_type="application/json")
server = waitress.create_server(app, listen="127.0.0.1:0", threads=32)
print(server.effective_port, flush=True)
server.run()
"""


class Answered(NamedTuple):
    """How many requests were answered in so many seconds, the processor's seconds for it, and what went wrong."""

    requests: int
    seconds: float
    cpu_seconds: float
    grown_kib: int
    wrong: list[str]

    @property
    def rate(self) -> float:
        """Requests in a second."""
        return self.requests / self.seconds

    @property
    def cpu_each(self) -> float:
        """The processor's seconds for one."""
        return self.cpu_seconds / self.requests


class Streamed(NamedTuple):
    """How many frames the readers took, the processor's seconds for it, and what went wrong.

    `grown_kib` is of the web process, `kept_kib` of the terminals' own processes together.
    """

    frames: int
    cpu_seconds: float
    grown_kib: int
    kept_kib: int
    wrong: list[str]


def main(arguments: list[str]) -> int:
    """Do both and return 0 when nothing went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--seconds", type=int, default=30, help="how long the list is asked for (30)")
    parser.add_argument("--terminal-seconds", type=int, default=60, help="how long terminals stream (60)")
    options = parser.parse_args(arguments)
    build.make_dashboard()
    with own_dashboard() as dashboard:
        lists = ask_for_lists(dashboard, options.seconds)
        print(f"{lists.rate:.0f} requests/s, {lists.cpu_each * 1e6:.0f} us of processor time each")
        streamed = stream_terminals(dashboard, options.terminal_seconds)
    part = streamed.cpu_seconds / options.terminal_seconds
    print(f"{TERMINALS} terminals: {streamed.frames} frames, {part:.1%} of a processor")
    print(f"memory grew by {lists.grown_kib} and by {streamed.grown_kib} KiB; load {os.getloadavg()[0]:.1f}")
    print(f"the terminals keep {streamed.kept_kib} KiB of what they showed last")
    for sentence in (wrong := [*lists.wrong, *streamed.wrong]):
        print(f"wrong: {sentence}")
    return 1 if wrong else 0


@contextlib.contextmanager
def own_dashboard() -> Iterator[Dashboard]:
    """The dashboard of a service that has nothing yet."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="berth-load-") as folder:
        berth = Berth(Path(folder) / "home")
        with serving(berth) as dashboard:
            try:
                yield dashboard
            finally:
                berth("stop", "--all", "--timeout", "0")


def ask_for_lists(dashboard: Dashboard, seconds: int) -> Answered:
    """Ask for the list of 20 containers over and over for so long."""
    root = rootfs.directory("busybox")
    names = [f"load-{number}" for number in range(CONTAINERS)]
    for name in names:
        dashboard.post("/containers", {"spec": {"name": name, "rootfs": str(root)}}, 201)
    assert len(dashboard.get("/containers")["containers"]) == CONTAINERS
    web = int(dashboard.published["pid"])
    answered = _ask(web, dashboard.port, seconds, f"Authorization: Bearer {dashboard.token}")
    for name in names:
        dashboard.delete(f"/containers/{name}")
    return answered


def ask_bare(body: bytes, seconds: int) -> Answered:
    """Ask a server that only has Flask and waitress, and always answers `body`, for so long."""
    with subprocess.Popen([sys.executable, "-c", BARE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            server.stdin.write(body)
            server.stdin.close()
            return _ask(server.pid, int(server.stdout.readline()), seconds, "Accept: application/json")
        finally:
            server.kill()


def _ask(pid: int, port: int, seconds: int, header: str) -> Answered:
    command = [
        "wrk",
        "-t1",
        f"-c{CONNECTIONS}",
        "--timeout=60s",
        "-H",
        header,
        f"http://127.0.0.1:{port}/api/v1/containers",
    ]
    subprocess.run([*command, "-d1s"], check=True, capture_output=True)  # until memory has what it needs
    before, spent = memory(pid), cpu_seconds(pid)
    told = subprocess.run([*command, f"-d{seconds}s"], check=True, capture_output=True, text=True).stdout
    spent = cpu_seconds(pid) - spent
    count = re.findall(r"(\d+) requests in", told)
    wrong = re.findall(r"Socket errors.*|Non-2xx.*", told) if count else [told]
    return Answered(int(*count), seconds, spent, memory(pid) - before, [*wrong, *unhealthy(pid, before)])


def stream_terminals(dashboard: Dashboard, seconds: float) -> Streamed:
    """Stream `yes` from 20 terminals to as many slow readers for so long."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="berth-load-") as folder:
        root = faults.write_init(rootfs.copy(rootfs.directory("busybox"), Path(folder) / "root"))
        dashboard.start("load-yes", root)
        streamed = _stream(dashboard, seconds)
        dashboard.remove("load-yes")
    return streamed


def _stream(dashboard: Dashboard, seconds: float) -> Streamed:
    body = {"container": "load-yes", "argv": ["yes"]}
    opened = [dashboard.post("/terminals", body, 201)["id"] for _ in range(TERMINALS)]
    web, held, frames = int(dashboard.published["pid"]), holders(dashboard), 0
    assert len(held) == TERMINALS
    with contextlib.ExitStack() as closing:
        pages = [
            closing.enter_context(Page(dashboard, {"id": "t", "kind": "terminal", "terminal": identity}))
            for identity in opened
        ]
        for page in pages:
            page.until(lambda frame: frame["kind"] == "output")
        before, held_before = memory(web), sum(map(memory, held))
        spent, until = cpu_seconds(web), time.monotonic() + seconds
        while time.monotonic() < until:
            for page in pages:
                page.until(lambda frame: frame["kind"] == "output")
                frames += 1
                time.sleep(PAUSE / TERMINALS)
        spent, grown, kept = cpu_seconds(web) - spent, memory(web) - before, sum(map(memory, held)) - held_before
        wrong = [*unhealthy(web, before), *(one for pid in held for one in temporary_files(pid))]
        wrong += [f"the terminals grew by {kept} KiB"] if kept > TERMINALS * KEPT_KIB else []
    for identity in opened:
        dashboard.delete(f"/terminals/{identity}", 204)
    faults.wait_until(lambda: not dashboard.get("/terminals")["terminals"], "all terminals are closed")
    return Streamed(frames, spent, grown, kept, wrong)


def holders(dashboard: Dashboard) -> list[int]:
    """The processes that hold the terminals of `dashboard`."""
    home = f"BERTH_HOME={dashboard.berth.home}".encode()
    found = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in found if status_field(pid, "Name") == "berth: terminal" and home in _environment(pid)]


def _environment(pid: int) -> list[bytes]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return []


def unhealthy(pid: int, before: int) -> list[str]:
    """Return what is wrong with process `pid`, which had `before` KiB of memory."""
    grown = memory(pid) - before
    return [*temporary_files(pid), *([f"memory grew by {grown} KiB"] if grown > FLAT_KIB else [])]


def temporary_files(pid: int) -> list[str]:
    """Return a sentence for each temporary file of process `pid`."""
    return [f"{name} is a temporary file" for name in deleted_files(pid)]


def memory(pid: int) -> int:
    """The anonymous memory of process `pid` in KiB."""
    return int(re.findall(r"^RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[0])


def cpu_seconds(pid: int) -> float:
    """The processor time that process `pid` has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def wake_ups(pid: int) -> int:
    """How often the threads of process `pid` went to sleep."""
    text = [task.joinpath("status").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int(line.split()[1]) for one in text for line in one.splitlines() if line.startswith("voluntary"))


def sleeps(pid: int, seconds: float) -> bool:
    """Whether nothing wakes process `pid` for so many seconds."""
    before = wake_ups(pid)
    time.sleep(seconds)  # what is looked for is that nothing happens in a time
    return wake_ups(pid) == before


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
