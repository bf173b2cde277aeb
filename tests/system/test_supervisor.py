"""The service: what it starts, what it survives, whom it serves, and that it costs nothing while nobody asks."""

import array
import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from berth.kernel.processes import status_field
from tests import faults
from tests.program import Berth

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]
IDLE_SECONDS = 3.0
REFUSED = ("b''", "ConnectionResetError", "BrokenPipeError")  # the connection is closed, early or late


class Service:
    """`berth serve --background`, and who it is."""

    def __init__(self, berth: Berth) -> None:
        self.berth = berth
        self.run = berth.home / "run"

    @property
    def pid(self) -> int:
        return int((self.run / "supervisor.lock").read_text())

    def start(self) -> int:
        self.berth.succeed("serve", "--background")
        faults.wait_until(self.answers, "the service answers")
        return self.pid

    def answers(self) -> bool:
        with contextlib.suppress(OSError), self.connect():
            return True
        return False

    def connect(self, name: str = "control.sock") -> socket.socket:
        folder = os.open(self.run, os.O_PATH)
        try:
            return connect_in(folder, name)
        finally:
            os.close(folder)

    def end(self, number: int = signal.SIGTERM) -> None:
        if self.answers():  # else the pid may be a stranger's by now
            pid = self.pid
            os.kill(pid, number)
            faults.wait_until(lambda: not faults.is_alive(pid), "the service has ended")

    def workers(self) -> list[int]:
        """The processes that serve a caller."""
        return [pid for pid in faults.children(self.pid) if status_field(pid, "Name") == "berth: worker"]

    def spare(self) -> int:
        """The process that waits for the next caller; 0 while there is none."""
        return self._child("berth: spare")

    def zygote(self) -> int:
        """The process that monitors are forked from; 0 while there is none."""
        return self._child("berth: zygote")

    def web(self) -> int:
        """The web process; 0 while there is none."""
        return self._child("berth: web")

    def _child(self, name: str) -> int:
        return next((pid for pid in faults.children(self.pid) if status_field(pid, "Name") == name), 0)

    def log(self) -> str:
        path = self.berth.home / "service.log"
        return path.read_text() if path.exists() else ""


def connect_in(folder: int, name: str) -> socket.socket:
    """Connect to a socket by its folder: its whole path may be longer than an address."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(f"/proc/self/fd/{folder}/{name}")
    except OSError:
        sock.close()
        raise
    return sock


@pytest.fixture
def service(berth: Berth) -> Iterator[Service]:
    service = Service(berth)
    service.start()
    yield service
    service.end()
    for folder in berth.home.glob("containers/*"):
        berth("stop", folder.name)
        berth.succeed("rm", folder.name, "--yes")  # or it would start with the next service
    (berth.home / "service.log").unlink(missing_ok=True)


@pytest.fixture
def root(rootfs: Factory) -> Path:
    return faults.write_init(rootfs("busybox"))


def monitor_of(berth: Berth, name: str) -> int:
    pid = json.loads(berth.succeed("info", name, "--json"))["monitor_pid"]
    assert isinstance(pid, int)
    return pid


def test_a_second_service_is_refused(service: Service, berth: Berth) -> None:
    first = service.pid

    result = berth("serve")
    assert (result.returncode, result.stdout) == (3, "")
    assert re.fullmatch(r"berth: the service runs already [^\n]+\n", result.stderr), result.stderr
    assert "the service runs already" in berth.succeed("serve", "--background")

    assert service.pid == first
    assert service.answers()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_containers_outlive_the_service_and_are_served_by_the_next(
    service: Service, berth: Berth, root: Path, number: int
) -> None:
    berth.succeed("start", "sup", "--rootfs", root)
    monitor = monitor_of(berth, "sup")

    service.end(number)

    assert berth.succeed("run", "sup", "--", "echo", "without") == "without\n"
    service.start()
    assert berth.succeed("run", "sup", "--", "echo", "with") == "with\n"
    assert monitor_of(berth, "sup") == monitor
    berth.succeed("stop", "sup")


def test_a_new_service_gives_a_monitor_to_containers_that_lost_theirs(
    service: Service, berth: Berth, root: Path
) -> None:
    berth.succeed("start", "sup", "--rootfs", root)
    lost = monitor_of(berth, "sup")
    service.end(signal.SIGKILL)
    faults.kill(lost)

    service.start()

    faults.wait_until(lambda: faults.condition(berth, "sup") == "running", "it has a monitor again")
    assert monitor_of(berth, "sup") != lost
    berth.succeed("stop", "sup")


def test_a_worker_that_is_killed_takes_nothing_with_it(service: Service, berth: Berth, root: Path) -> None:
    berth.succeed("start", "sup", "--rootfs", root)
    with calling(berth, "run", "sup", "--", "sleep", "100") as client:
        faults.wait_until(lambda: len(service.workers()) == 1, "a worker is at work")
        faults.kill(service.workers()[0])
        assert "was killed" in client.communicate(timeout=faults.SECONDS)[1]

    assert berth.succeed("run", "sup", "--", "echo", "here") == "here\n"
    berth.succeed("stop", "sup")


def test_a_spare_worker_that_is_killed_is_done_without_and_replaced(service: Service, berth: Berth) -> None:
    faults.wait_until(service.spare, "there is a spare worker")
    killed = service.spare()
    faults.kill(killed)

    assert berth.succeed("list") is not None

    faults.wait_until(lambda: service.spare() not in (0, killed), "there is another one")


def test_a_service_that_was_asked_to_end_has_ended_and_its_containers_go_on(
    service: Service, berth: Berth, root: Path
) -> None:
    berth.succeed("start", "sup", "--rootfs", root)
    pid, monitor = service.pid, monitor_of(berth, "sup")

    assert berth.succeed("serve", "--end") == "the service has ended; containers go on\n"

    assert not faults.is_alive(pid)
    assert monitor_of(berth, "sup") == monitor
    berth.succeed("stop", "sup")


def test_the_end_of_a_service_is_waited_for(service: Service, berth: Berth) -> None:
    faults.wait_until(service.web, "it has a web process, which it ends first")
    pid, web = service.pid, service.web()
    os.kill(web, signal.SIGSTOP)
    ending = threading.Thread(target=faults.end_service, args=(berth,))
    try:
        ending.start()
        faults.wait_until(lambda: int(status_field(web, "ShdPnd") or "0", 16), "the web process is asked to end")
        ending.join(0.3)
        assert ending.is_alive()
    finally:
        os.kill(web, signal.SIGCONT)
        ending.join(faults.SECONDS)

    assert not faults.is_alive(pid)


def test_no_stranger_is_ended_who_has_the_pid_of_a_service_that_was_killed(service: Service, berth: Berth) -> None:
    service.end(signal.SIGKILL)
    with subprocess.Popen(["sleep", "100"]) as stranger:
        try:
            (service.run / "supervisor.lock").write_text(f"{stranger.pid}\n")

            result = berth("serve", "--end")

            assert result.returncode == 1
            assert result.stderr == "berth: the service does not run, so there is nothing to end\n"
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_the_end_of_a_service_is_no_way_to_start_one(service: Service, berth: Berth) -> None:
    result = berth("serve", "--end", "--background")

    assert result.returncode == 2
    assert "--end ends the service that runs, so it goes with no other flag" in result.stderr
    assert service.answers()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_spare_worker_and_zygote_end_with_the_service(service: Service, number: int) -> None:
    faults.wait_until(service.spare, "there is a spare worker")
    children = (service.spare(), service.zygote())

    service.end(number)

    faults.wait_until(lambda: not any(map(faults.is_alive, children)), "they have ended")


def test_monitors_are_small_and_a_zygote_that_is_killed_is_done_without_and_replaced(
    service: Service, berth: Berth, root: Path
) -> None:
    faults.wait_until(service.spare, "there is a spare worker")
    zygote = service.zygote()
    berth.succeed("start", "first", "--rootfs", root)
    first = monitor_of(berth, "first")
    assert int(status_field(first, "PPid") or 0) == zygote
    assert 0 < own_memory(first) < 3 << 20

    faults.kill(zygote)
    berth.succeed("start", "second", "--rootfs", root)

    faults.wait_until(lambda: service.zygote() not in (0, zygote), "there is another one")
    assert monitor_of(berth, "first") == first
    berth.succeed("stop", "first,second")


def own_memory(pid: int) -> int:
    """Return the bytes that a process has written to and shares with no other."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:")) << 10


@contextlib.contextmanager
def calling(berth: Berth, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A command that goes on while something else is done, and is killed at the end."""
    process = subprocess.Popen(
        [*berth.command, *arguments],
        env=berth.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("stage", ["locked", "forked", "cgroups", "joined", "built", "executed", "running"])
@pytest.mark.parametrize("killed", [("service",), ("service", "worker")], ids="+".join)
def test_a_start_goes_on_when_the_service_is_killed(
    service: Service, berth: Berth, root: Path, stage: str, killed: tuple[str, ...]
) -> None:
    files = faults.tree(root)
    service.end()
    berth.environment["BERTH_PAUSE_AT"] = stage  # the workers of the service have its environment
    service.start()
    start = faults.PausedStart(berth, stage, "sup", "start", "sup", "--rootfs", root)
    start.roles["service"] = service.pid

    start.kill(*killed)

    left = start.settle()
    assert left == ("stopped" if stage == "locked" and "worker" in killed else "running")
    del berth.environment["BERTH_PAUSE_AT"]
    service.start()
    if left == "running":
        assert berth.succeed("run", "sup", "--", "echo", "here") == "here\n"
        berth.succeed("stop", "sup")
    faults.wait_until(lambda: faults.run_tree(berth) == {}, "the service has cleared up")
    assert faults.tree(root) == files


def test_containers_start_with_the_service_in_order_and_a_failing_one_holds_up_none(
    service: Service, berth: Berth, root: Path, rootfs: Factory
) -> None:
    second, broken = faults.write_init(rootfs("busybox")), rootfs("busybox")
    for name, place, *after in (
        ("sup-a", root),
        ("sup-bad", broken),
        ("sup-b", second, "--start-after", "sup-a,sup-bad"),
    ):
        berth.succeed("start", name, "--rootfs", place, "--autostart", *after)
        berth.succeed("stop", name)
        faults.date_stop_back(berth, name)
    (broken / "sbin" / "init").unlink()
    service.end()

    service.start()

    faults.wait_until(lambda: faults.condition(berth, "sup-b") == "running", "the last one runs")
    assert faults.condition(berth, "sup-a") == "running"
    assert started_at(berth, "sup-a") < started_at(berth, "sup-b")
    assert faults.condition(berth, "sup-bad") == "stopped"
    assert "/sbin/init is not there" in service.log()
    berth.succeed("stop", "sup-a,sup-b")


def test_what_somebody_stopped_stays_so_when_the_service_comes_back(
    service: Service, berth: Berth, root: Path, rootfs: Factory
) -> None:
    other = faults.write_init(rootfs("busybox"))
    for name, place in (("sup-stopped", root), ("sup-again", other)):
        berth.succeed("start", name, "--rootfs", place, "--autostart")
    berth.succeed("stop", "sup-stopped,sup-again")
    berth.succeed("start", "sup-again")
    told = json.loads(berth.succeed("info", "sup-again", "--json"))
    for pid in (told["monitor_pid"], told["pid"]):
        os.kill(pid, signal.SIGKILL)
    service.end()

    service.start()

    faults.wait_until(lambda: faults.condition(berth, "sup-again") == "running", "the one that was lost is back")
    assert faults.condition(berth, "sup-stopped") == "stopped"
    berth.succeed("stop", "sup-again")


def test_what_powered_itself_off_is_not_started_again_by_the_service(
    service: Service, berth: Berth, rootfs: Factory
) -> None:
    berth.succeed("start", "sup", "--rootfs", rootfs("busybox"), "--autostart")
    berth("run", "sup", "--", "poweroff")
    faults.wait_until(lambda: faults.condition(berth, "sup") == "stopped", "it has powered off")
    service.end()

    service.start()

    berth.succeed("recover")  # what the service does first has been done when this has
    assert faults.condition(berth, "sup") == "stopped"


def started_at(berth: Berth, name: str) -> float:
    at = json.loads(berth.succeed("info", name, "--json"))["started_at"]
    assert isinstance(at, float)
    return at


def test_events_tell_of_starts_and_stops(service: Service, berth: Berth, root: Path) -> None:
    faults.wait_until(service.spare, "there is a spare worker")
    sockets = len(open_files(service.pid))
    with calling(berth, "events", "--json") as listener:
        assert listener.stdout
        faults.wait_until(
            lambda: service.workers() and service.spare() and len(open_files(service.pid)) > sockets, "it listens"
        )
        berth.succeed("start", "sup", "--rootfs", root)
        berth.succeed("stop", "sup")

        told = [json.loads(listener.stdout.readline()) for _ in range(3)]
    assert [(event["name"], event["event"]) for event in told] == [
        ("sup", "starting"),
        ("sup", "running"),
        ("sup", "stopped"),
    ]


# Who is served.


def test_the_sockets_are_for_root_alone(service: Service) -> None:
    assert service.run.stat().st_mode & 0o7777 == 0o700
    for name in ("control.sock", "notify.sock", "events.sock"):
        assert (service.run / name).stat().st_mode & 0o777 == 0o600
    assert as_nobody(lambda: service.connect().close()) == "PermissionError"


def test_a_peer_that_is_not_root_is_not_served_though_it_got_to_the_socket(service: Service) -> None:
    folder = os.open(service.run, os.O_PATH)
    try:
        os.chmod(service.run, 0o711)
        os.chmod(service.run / "control.sock", 0o666)
        assert as_nobody(lambda: ask(connect_in(folder, "control.sock"))) in REFUSED
    finally:
        os.chmod(service.run / "control.sock", 0o600)
        os.chmod(service.run, 0o700)
        os.close(folder)
    assert b'"exit":0' in ask(service.connect())


def ask(sock: socket.socket) -> bytes:
    """Send a whole request for `version` and return the answer."""
    null = os.open("/dev/null", os.O_RDWR)
    request = json.dumps({"call": "command", "argv": ["version"], "cwd": "/", "env": {}}).encode() + b"\n"
    with sock:
        sock.sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null] * 3))])
        os.close(null)
        sock.settimeout(faults.SECONDS)
        return sock.recv(4096)


def as_nobody(action: Callable[[], object]) -> str:
    """Do `action` in a child without any rights, and return what it returned or raised, in words."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            said = repr(action())
        except OSError as error:
            said = type(error).__name__
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        said = file.read().decode()
    os.waitpid(pid, 0)
    return said


@pytest.mark.parametrize(
    "data",
    [b"", b'{"call":"comm', b"no JSON\n", b"[1,2,3]\n", b"{}\n", b"\xff\xfe\n", b"[" * 100000 + b"\n", b"x" * 200000],
    ids=["nothing", "half-a-line", "words", "list", "empty", "bytes", "nested", "long"],
)
def test_a_caller_that_talks_nonsense_holds_up_nobody(service: Service, berth: Berth, data: bytes) -> None:
    with service.connect() as sock:
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.send(data)
        assert berth.succeed("list", seconds=5.0) is not None
    faults.wait_until(lambda: not service.workers(), "its worker has ended")
    assert b'"exit":0' in ask(service.connect())


def test_callers_that_only_connect_and_listeners_that_never_read_hold_up_nobody(
    service: Service, berth: Berth, root: Path
) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(service.connect())
            stack.enter_context(service.connect("events.sock"))
        berth.succeed("start", "sup", "--rootfs", root, seconds=10)
        berth.succeed("stop", "sup", seconds=10)
    faults.wait_until(lambda: not service.workers(), "the workers have ended")


# What it costs.


def switches(pid: int) -> int:
    return int(status_field(pid, "voluntary_ctxt_switches") or -1)


def test_service_and_monitor_sleep_while_nobody_asks(service: Service, berth: Berth, root: Path) -> None:
    berth.succeed("start", "sup", "--rootfs", root)
    pids = [monitor_of(berth, "sup"), service.pid]
    faults.wait_until(service.spare, "there is a spare worker")
    pids.append(service.spare())
    time.sleep(0.5)
    before = [switches(pid) for pid in pids]

    time.sleep(IDLE_SECONDS)

    assert [switches(pid) for pid in pids] == before
    berth.succeed("stop", "sup")


# What is inherited.


@contextlib.contextmanager
def many_open(scratch: Path) -> Iterator[list[int]]:
    """Twenty-odd descriptors of all kinds that a careless caller hands on."""
    with contextlib.ExitStack() as stack:
        for number in range(8):
            stack.enter_context((scratch / f"precious-{number}").open("w"))
            for sock in socket.socketpair():
                stack.enter_context(sock)
        poller = select.epoll()
        stack.callback(poller.close)
        pipes = os.pipe()
        for fd in pipes:
            stack.callback(os.close, fd)
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]
        leaky = [fd for fd in numbers if fd > 2 and is_open(fd)]
        for fd in leaky:
            os.set_inheritable(fd, True)
        yield leaky
        for fd in leaky:
            with contextlib.suppress(OSError):
                os.set_inheritable(fd, False)


def pipes_among(fds: list[int]) -> set[str]:
    """The pipes among them, as /proc names them."""
    return {name for fd in fds if (name := os.readlink(f"/proc/self/fd/{fd}")).startswith("pipe:")}


def is_open(fd: int) -> bool:
    with contextlib.suppress(OSError):
        os.fstat(fd)
        return True
    return False


def call_leaking(berth: Berth, leaky: list[int], *arguments: str | Path) -> str:
    return subprocess.run(
        [*berth.command, *arguments],
        env=berth.environment,
        check=True,
        pass_fds=leaky,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    ).stdout


def open_files(pid: int) -> dict[int, str]:
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
    return found


def test_what_a_real_time_caller_starts_is_an_ordinary_process(berth: Berth, root: Path) -> None:
    real_time = Berth(berth.home)
    real_time.command = ["chrt", "--fifo", "1", *berth.command]
    real_time.environment = berth.environment

    real_time.succeed("start", "sup", "--rootfs", root)

    told = json.loads(berth.succeed("info", "sup", "--json"))
    assert [os.sched_getscheduler(told[key]) for key in ("pid", "monitor_pid")] == [os.SCHED_OTHER] * 2
    berth.succeed("stop", "sup")


LIST = ("sh", "-c", "for fd in /proc/self/fd/*; do echo ${fd##*/}; done")


def test_no_descriptor_of_the_caller_gets_anywhere(berth: Berth, root: Path, scratch: Path) -> None:
    with many_open(scratch) as leaky:
        assert len(leaky) > 20
        call_leaking(berth, leaky, "start", "sup", "--rootfs", root)
        inside = call_leaking(berth, leaky, "run", "sup", "--", *LIST).split()
        one_off = call_leaking(berth, leaky, "run", "--rm", "--rootfs", root, "--", *LIST).split()
        pipes = pipes_among(leaky)
    told = json.loads(berth.succeed("info", "sup", "--json"))

    assert {*inside} <= {"0", "1", "2", "3"}  # 3 is the shell's own, on the folder that it lists
    assert {*one_off} <= {"0", "1", "2", "3"}
    assert set(open_files(told["pid"]).values()) <= {"/dev/console", "/sbin/init", "/dev/pts/0"}
    monitor = open_files(told["monitor_pid"])
    assert [monitor[fd] for fd in range(3)] == ["/dev/null"] * 3
    assert not pipes & {*monitor.values()}
    kinds = sorted(re.sub(r"\d+", "N", path.replace(str(berth.home), "HOME")) for fd, path in monitor.items() if fd > 2)
    assert set(kinds) <= {
        "/dev/pts/N",
        "/dev/pts/ptmx",
        "/memfd:order (deleted)",  # what the start was ordered with, for the next boot
        "HOME/containers/sup/log",
        "HOME/run/containers/sup/journal",
        "anon_inode:[pidfd]",
        "anon_inode:inotify",
        "anon_inode:seccomp notify",  # what the container asks to be mounted
        "pipe:[N]",
        "socket:[N]",
    }
    assert kinds.count("pipe:[N]") <= 2  # both ends of what a signal writes to
    assert kinds.count("socket:[N]") <= 1  # its own listener
    assert len(kinds) <= 10
    berth.succeed("stop", "sup")


def test_the_service_keeps_nothing_of_who_started_it(berth: Berth, scratch: Path, root: Path) -> None:
    service = Service(berth)
    with many_open(scratch) as leaky:
        files_of_caller = {os.readlink(f"/proc/self/fd/{fd}") for fd in leaky}
        call_leaking(berth, leaky, "serve", "--background")
    faults.wait_until(service.answers, "the service answers")
    try:
        held = open_files(service.pid)
        assert not {*held.values()} & files_of_caller - {"/dev/null"}
        faults.wait_until(lambda: len(open_files(service.pid)) <= 13, "whoever asked whether it answers has gone")
        berth.succeed("start", "sup", "--rootfs", root)
        assert berth.succeed("run", "sup", "--", *LIST).split() <= ["0", "1", "2", "3"]
        sockets = [path for path in open_files(monitor_of(berth, "sup")).values() if path.startswith("socket:")]
        assert not {*sockets} & {*held.values()}
        berth.succeed("stop", "sup")
    finally:
        service.end()
