"""From start to stop: what may be started, under which name, and that nothing is left of it."""

import os
import re
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import host_state, quick
from tests.program import Berth

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]

SPELLINGS = (
    ("--name=quay", "--rootfs={root}", "--init={init}", "start"),
    ("start", "quay", "--rootfs", "{root}", "--init", "{init}"),
    ("start", "-n", "quay", "-r", "{root}", "--init={init}"),
    ("-nquay", "start", "-r{root}", "--init", "{init}"),
    ("--rootfs={root}", "start", "--name", "quay", "--init={init}"),
    ("start", "--rootfs={root}", "--init={init}", "quay"),
)


def everything_in(root: Path) -> dict[str, tuple[object, ...]]:
    """All that is in a tree and must not change; times of folders do, when a mount point comes and goes."""
    found: dict[str, tuple[object, ...]] = {}
    for path in (root, *root.rglob("*")):
        status = path.lstat()
        of_file = (status.st_size, status.st_mtime_ns) if not stat.S_ISDIR(status.st_mode) else ()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(root))] = (status.st_mode, status.st_uid, status.st_gid, *of_file, content)
    return found


def test_two_state_folders_may_each_have_a_container_of_one_name(berth: Berth, rootfs: Factory, scratch: Path) -> None:
    root, other = rootfs("busybox"), Berth(scratch / "other-home")
    quick.start(berth, root)
    quick.start(other, root)
    theirs = quick.info(other)["pid"]

    assert berth.succeed("stop", "quay") == "quay: stopped\n"

    assert quick.inside(other, "echo", "here") == "here"
    assert quick.info(other)["pid"] == theirs
    other.succeed("stop", "quay")


@pytest.mark.parametrize("source", ["directory", "image"])
def test_busybox_boots_works_and_is_gone_after_its_stop(
    berth: Berth, rootfs: Factory, image: Factory, source: str
) -> None:
    root = ("--rootfs", rootfs("busybox")) if source == "directory" else ("--rootfs-img", image("busybox"))

    started = berth.succeed("start", "quay", *root)

    told = quick.info(berth)
    assert told["state"] == "running"
    assert f"init is {told['pid']}" in started
    assert Path(f"/proc/{told['pid']}/exe").readlink().name == "busybox"
    assert Path(f"/proc/{told['monitor_pid']}").exists()
    assert told["started_at"] == pytest.approx(time.time(), abs=60)
    assert quick.shell(berth, "echo $$ > /root/was-here; cat /proc/1/comm") == "init"
    assert "syslogd" in quick.inside(berth, "ps")
    assert berth.succeed("stop", "quay") == "quay: stopped\n"

    told = quick.info(berth)
    assert (told["state"], told["pid"], told["last_end"]) == ("stopped", None, "powered off")
    assert not Path("/mnt/berth/quay").exists()


@pytest.mark.parametrize("words", SPELLINGS, ids=" ".join)
def test_a_start_can_be_spelled_as_the_user_is_used_to(berth: Berth, rootfs: Factory, words: tuple[str, ...]) -> None:
    root = rootfs("busybox")
    init = quick.write_init(root)

    berth.succeed(*(word.format(root=root, init=init) for word in words))

    assert berth.succeed("--name=quay", "run", "uname", "-n") == "quay\n"
    assert berth.succeed("-n", "quay", "run", "echo", "-n", "--name=other") == "--name=other"
    assert berth.succeed("run", "quay", "--", "echo", "-n", "x") == "x"
    assert berth.succeed("--name=quay", "enter", stdin="echo $HOME\n") == "/root\n"
    assert berth.succeed("-n", "quay", "enter", "user", stdin="id -u\n") == "1000\n"
    berth.succeed("--name=quay", "stop")


def test_several_containers_stop_by_one_command(berth: Berth, rootfs: Factory) -> None:
    root = rootfs("busybox")
    for name in ("web", "db", "mail"):
        quick.start(berth, root, name=name)

    assert sorted(berth.succeed("--name=web,db", "stop").splitlines()) == ["db: stopped", "web: stopped"]
    assert quick.info(berth, "mail")["state"] == "running"
    assert berth.succeed("stop", "--all") == "mail: stopped\n"


def test_the_rootfs_gives_the_name_where_none_is_given(berth: Berth, rootfs: Factory, scratch: Path) -> None:
    root = scratch / "alpine-3.20"
    rootfs("busybox").rename(root)

    assert berth.succeed("start", "--rootfs", root, "--init", quick.write_init(root)).startswith("alpine-3.20: started")

    assert quick.inside(berth, "hostname", name="alpine-3.20") == "alpine-3.20"
    berth.succeed("stop", "alpine-3.20")


@pytest.mark.parametrize("name", ["../quay", "a b", "x" * 65, ".hidden", "ä", "a/b"])
def test_a_bad_name_is_refused_and_named(berth: Berth, rootfs: Factory, name: str) -> None:
    refused = berth("start", f"--name={name}", "--rootfs", rootfs("busybox"))

    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1
    assert "--name" in refused.stderr
    assert "letters, digits" in refused.stderr


def test_a_container_starts_again_as_it_was_saved(berth: Berth, rootfs: Factory) -> None:
    root = rootfs("busybox")
    quick.start(berth, root, "--hostname", "harbour", "--env", "COLOUR=blue")
    berth.succeed("stop", "quay")

    berth.succeed("start", "quay")

    assert quick.shell(berth, "hostname; tr '\\0' '\\n' </proc/1/environ | grep COLOUR") == "harbour\nCOLOUR=blue"
    assert quick.info(berth)["rootfs"] == str(root)
    berth.succeed("stop", "quay")


def test_what_runs_inside_has_the_containers_variables_and_its_users_own(berth: Berth, rootfs: Factory) -> None:
    quick.start(berth, rootfs("busybox"), "--env", "COLOUR=blue", "--env", "SIZE=small", "--env", "HOME=/nowhere")

    script = 'echo "$COLOUR $SIZE $HOME $USER $container"'
    assert quick.shell(berth, script) == "blue small /root root berth"
    said = berth.succeed("run", "quay", "--user", "user", "--env", "SIZE=large", "--", "sh", "-c", script)
    assert said == "blue large /home/user user berth\n"
    berth.succeed("stop", "quay")


def test_ps_tells_whose_monitor_a_process_is_and_its_environment_is_untouched(berth: Berth, rootfs: Factory) -> None:
    quick.start(berth, rootfs("busybox"))

    monitor = Path("/proc", str(quick.info(berth)["monitor_pid"]))

    assert (monitor / "cmdline").read_bytes().rstrip(b"\0") == b"berth: monitor of quay"
    assert f"BERTH_HOME={berth.home}".encode() in (monitor / "environ").read_bytes().split(b"\0")
    berth.succeed("stop", "quay")


def test_a_restart_of_what_is_stopped_starts_it_and_says_so(berth: Berth, rootfs: Factory) -> None:
    quick.start(berth, rootfs("busybox"))
    berth.succeed("stop", "quay")

    done = berth("restart", "quay")

    assert (done.stdout, done.stderr) == ("quay: restarted\n", "quay: was stopped, so it is only started\n")
    assert quick.info(berth)["state"] == "running"
    berth.succeed("stop", "quay")


def test_reset_forgets_what_was_saved_but_the_root(berth: Berth, rootfs: Factory) -> None:
    root = rootfs("busybox")
    init = root / "sbin/init"
    init.unlink()
    quick.write_init(root, "/sbin/init")
    quick.start(berth, root, "--hostname", "harbour")
    berth.succeed("stop", "quay")

    berth.succeed("start", "quay", "--reset")

    assert quick.inside(berth, "hostname") == "quay"
    assert quick.info(berth)["init"] == "/sbin/init"
    berth.succeed("stop", "quay")


def test_a_restart_gives_a_new_init_with_the_same_options(berth: Berth, rootfs: Factory) -> None:
    quick.start(berth, rootfs("busybox"), "--volatile", "--volatile-size", "20M")
    before = quick.info(berth)
    quick.shell(berth, "touch /root/was-here")

    assert berth.succeed("restart", "quay") == "quay: restarted\n"

    after = quick.info(berth)
    assert after["state"] == "running"
    assert after["pid"] != before["pid"]
    assert (after["volatile"], after["options"]) == (True, before["options"])
    assert quick.shell(berth, "ls -A /root") == ""
    berth.succeed("stop", "quay")


def test_a_second_start_of_the_same_name_is_refused(berth: Berth, rootfs: Factory) -> None:
    root = rootfs("busybox")
    quick.start(berth, root)
    pid = quick.info(berth)["pid"]

    refused = berth("start", "quay")

    assert refused.returncode == 1
    assert refused.stderr == 'berth: container quay: is running already; see "berth info quay"\n'
    assert quick.info(berth)["pid"] == pid
    berth.succeed("stop", "quay")


def test_an_image_that_another_container_has_is_refused_by_that_containers_name(berth: Berth, image: Factory) -> None:
    path = image("busybox")
    berth.succeed("start", "first", "--rootfs-img", path)

    refused = berth("start", "second", "--rootfs-img", path)

    assert refused.returncode == 1
    assert refused.stderr == f"berth: image {path}: container first runs from it; stop that one first\n"
    berth.succeed("stop", "first")


def test_a_one_off_program_of_an_image_is_refused_with_the_way_to_start_it(berth: Berth, image: Factory) -> None:
    path = image("busybox")

    refused = berth("run", "--rm", "--rootfs", path, "--", "true")

    assert refused.returncode == 1
    assert refused.stderr == (
        f'berth: {path}: a one-off program needs a folder as its root; an image is started by "berth start'
        ' --rootfs-img"\n'
    )


def test_of_two_starts_at_once_exactly_one_wins(berth: Berth, rootfs: Factory) -> None:
    root = rootfs("busybox")
    init = quick.write_init(root)

    with ThreadPoolExecutor() as pool:
        ends = list(pool.map(lambda _: berth("start", "quay", "--rootfs", root, "--init", init), range(4)))

    assert sorted(end.returncode for end in ends) == [0, 1, 1, 1]
    assert {end.stderr for end in ends if end.returncode} == {
        'berth: container quay: is running already; see "berth info quay"\n'
    }
    assert quick.inside(berth, "hostname") == "quay"
    berth.succeed("stop", "quay")


def test_stopping_what_does_not_run_is_an_error(berth: Berth) -> None:
    refused = berth("stop", "nobody")

    assert refused.returncode == 1
    assert "nobody" in refused.stderr


def lone_init(root: Path) -> str:
    (root / "sbin/lone").write_text("no program\n")
    return "/sbin/lone"


def folder_as_init(root: Path) -> str:
    (root / "sbin/folder").mkdir()
    return "/sbin/folder"


def link_out(root: Path) -> str:
    (root / "sbin/outside").symlink_to("../" * 12 + "usr/bin/env")
    return "/sbin/outside"


def link_loop(root: Path) -> str:
    (root / "sbin/one").symlink_to("two")
    (root / "sbin/two").symlink_to("one")
    return "/sbin/one"


def link_through_proc(root: Path) -> str:
    (root / "sbin/magic").symlink_to("/proc/1/root/usr/bin/env")
    return "/sbin/magic"


@pytest.mark.parametrize(
    "make", [lambda root: "/sbin/missing", lone_init, folder_as_init, link_out, link_loop, link_through_proc]
)
def test_an_init_that_can_not_be_executed_stops_the_start_before_anything_is_done(
    berth: Berth, rootfs: Factory, make: Callable[[Path], str]
) -> None:
    root = rootfs("busybox")
    (root / "usr/bin/env").unlink()
    init = make(root)
    before = everything_in(root)

    refused = berth("start", "quay", "--rootfs", root, "--init", init)

    assert refused.returncode == 1
    assert re.fullmatch(rf"berth: rootfs {root}: {init} .*\n", refused.stderr)
    assert not (berth.home / "containers/quay").exists()
    assert everything_in(root) == before


def test_the_init_is_found_through_links_inside_the_rootfs(berth: Berth, rootfs: Factory) -> None:
    root = rootfs("busybox")
    quick.write_init(root)
    (root / "opt").mkdir()
    (root / "opt/first").symlink_to("/opt/second/../second")  # absolute: of the container, not of the host
    (root / "opt/second").symlink_to("../../../../sbin/quick-init")  # more .. than there are folders

    berth.succeed("start", "quay", "--rootfs", root, "--init", "/opt/second")
    assert quick.inside(berth, "cat", "/proc/1/comm") == "second"
    berth.succeed("stop", "quay")


def test_an_absolute_link_as_init_is_the_containers(berth: Berth, rootfs: Factory) -> None:
    root = rootfs("busybox")
    (root / "sbin/init").unlink()
    (root / "sbin/init").symlink_to(quick.write_init(root, "/sbin/only-inside"))

    berth.succeed("start", "quay", "--rootfs", root)

    assert "only-inside" not in os.listdir("/sbin")
    assert quick.info(berth)["state"] == "running"
    berth.succeed("stop", "quay")


@pytest.mark.parametrize(
    ("script", "how"),
    [
        ("#!/bin/sh\nexit 3\n", "ended with 3 at once"),
        ("#!/bin/sh\nkill -9 $$; :\n", "ended with 0 at once"),  # PID 1 is deaf to its own kill
        ("#!/no/such/shell\n", "No such file or directory"),
        ("neither a script nor a program\n", "Exec format error"),
    ],
)
def test_an_init_that_ends_at_once_is_a_failed_start_and_nothing_is_left(
    berth: Berth, rootfs: Factory, script: str, how: str
) -> None:
    root = rootfs("busybox")
    init = quick.write_init(root, script=script)
    before = everything_in(root)

    failed = berth("start", "quay", "--rootfs", root, "--init", init)

    assert failed.returncode != 0
    assert how in failed.stderr
    assert len(failed.stderr.splitlines()) == 1
    assert "there is no container" in berth("info", "quay").stderr
    assert everything_in(root) == before


def test_a_failed_start_leaves_saved_what_was_saved_before(berth: Berth, rootfs: Factory) -> None:
    root = rootfs("busybox")
    quick.start(berth, root, "--memory", "64M")
    berth.succeed("stop", "quay")
    broken = quick.write_init(root, "/sbin/broken", "#!/bin/sh\nexit 1\n")

    assert berth("start", "quay", "--init", broken, "--memory", "32M").returncode != 0

    assert "memory = 67108864" in (berth.home / "containers" / "quay" / "container.toml").read_text()
    assert broken not in (berth.home / "containers" / "quay" / "container.toml").read_text()


def test_a_name_that_nobody_has_gets_its_sentence(berth: Berth) -> None:
    for command in (["stop", "nobody"], ["enter", "nobody"], ["run", "nobody", "--", "true"], ["restart", "nobody"]):
        assert "there is no container" in berth(*command).stderr, command


def test_a_one_off_is_refused_a_folder_that_is_not_there(berth: Berth, rootfs: Factory) -> None:
    refused = berth("run", "--rm", "--rootfs", rootfs("busybox"), "--vol", "/nowhere", "/mnt", "--", "true")
    assert refused.returncode == 1
    assert refused.stderr == "berth: /nowhere can't be shown at /mnt: it is not there; check the path\n"


def test_what_init_printed_before_it_failed_is_in_the_log(berth: Berth, rootfs: Factory) -> None:
    root = rootfs("busybox")
    init = quick.write_init(root, script="#!/bin/sh\necho the disk is on fire\nexit 1\n")

    failed = berth("start", "quay", "--rootfs", root, "--init", init)

    assert "berth logs quay" in failed.stderr
    assert "the disk is on fire" in berth.succeed("logs", "quay")


def test_nothing_in_the_users_rootfs_is_rewritten(berth: Berth, rootfs: Factory) -> None:
    root = rootfs("busybox")
    quick.write_init(root)
    (root / "etc/hostname").write_text("as-it-was\n")
    before = everything_in(root)

    quick.start(berth, root, "--hostname", "other", "--env", "A=b", "--dns", "9.9.9.9")
    quick.inside(berth, "true")
    berth.succeed("stop", "quay")

    assert everything_in(root) == before


def test_a_toml_file_says_what_to_start(berth: Berth, rootfs: Factory, scratch: Path) -> None:
    root = rootfs("busybox")
    conf = scratch / "quay.toml"
    conf.write_text(
        f'name = "quay"\nrootfs = "{root}"\ninit = "{quick.write_init(root)}"\nhostname = "wharf"\n[env]\nA = "b c"\n'
    )

    berth.succeed("start", "--conf", conf)

    assert quick.shell(berth, "hostname; tr '\\0' '\\n' </proc/1/environ | grep ^A=") == "wharf\nA=b c"
    berth.succeed("stop", "quay")
    berth.succeed("start", "quay")
    assert quick.inside(berth, "hostname") == "wharf"
    berth.succeed("stop", "quay")


def test_a_droidspaces_file_says_what_to_start_and_what_is_unknown_is_kept(
    berth: Berth, rootfs: Factory, scratch: Path
) -> None:
    root = rootfs("busybox")
    conf = scratch / "container.config"
    conf.write_text(
        f"name=quay\nrootfs_path={root}\nhostname=wharf\nenable_termux_x11=1\nbind_mounts={scratch}:/mnt/host\n"
        "net_mode=host\nshiny_new_key=7\n"
    )

    printed = berth("start", "--conf", conf, "--init", quick.write_init(root))

    assert (printed.returncode, "shiny_new_key is kept" in printed.stderr) == (0, True)
    assert quick.shell(berth, "hostname; ls /mnt/host") == "wharf\nbusybox\ncontainer.config"
    assert "shiny_new_key" in (berth.home / "containers/quay/container.toml").read_text()
    berth.succeed("stop", "quay")


def test_reboot_inside_gives_a_new_init_and_poweroff_inside_stops(berth: Berth, image: Factory) -> None:
    berth.succeed("start", "quay", "--rootfs-img", image("busybox"))
    before, mounted = quick.info(berth), quick.shell(berth, "grep ' / / ' /proc/self/mountinfo | cut -d' ' -f3")

    berth("run", "quay", "--", "reboot", "-f")
    after = quick.wait_for(lambda: told if (told := quick.info(berth))["pid"] not in (before["pid"], None) else None)

    assert (after["state"], after["monitor_pid"]) == ("running", before["monitor_pid"])
    assert quick.shell(berth, "grep ' / / ' /proc/self/mountinfo | cut -d' ' -f3") == mounted
    assert quick.info(berth)["image"] == before["image"]
    berth("run", "quay", "--", "poweroff", "-f")
    quick.wait_for(lambda: quick.info(berth)["state"] == "stopped" or None)
    assert quick.info(berth)["last_end"] == "powered off"


def test_busybox_is_asked_to_power_off_and_so_its_shutdown_lines_run(berth: Berth, rootfs: Factory) -> None:
    root = rootfs("busybox")
    with (root / "etc/inittab").open("a") as file:
        file.write("::shutdown:/bin/sh -c 'echo orderly > /root/farewell'\n")
    berth.succeed("start", "quay", "--rootfs", root)

    berth.succeed("stop", "quay")

    assert (root / "root/farewell").read_text() == "orderly\n"


def test_a_stop_right_after_the_start_is_not_lost(berth: Berth, rootfs: Factory) -> None:
    """An init that gets to its handlers late: what is sent too early, the kernel drops."""
    root = rootfs("busybox")
    init = quick.write_init(
        root, script="#!/bin/sh\nsleep 1\ntrap 'echo heard > /root/farewell; exit 0' TERM\nsleep 99 & wait\n"
    )
    berth.succeed("start", "quay", "--rootfs", root, "--init", init)

    berth.succeed("stop", "quay")

    assert (root / "root/farewell").read_text() == "heard\n"


def test_an_init_that_hears_nothing_is_killed_when_its_time_is_over(berth: Berth, rootfs: Factory) -> None:
    root = rootfs("busybox")
    init = quick.write_init(root, script="#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 99; done\n")
    berth.succeed("start", "quay", "--rootfs", root, "--init", init)
    began = time.monotonic()

    berth.succeed("stop", "quay", "--timeout", "1")

    assert time.monotonic() - began < 10
    assert quick.info(berth)["last_end"] == "init was ended by signal 9"


def test_a_hundred_starts_and_stops_leave_nothing(berth: Berth, rootfs: Factory, service: None) -> None:
    root = rootfs("busybox")
    quick.start(berth, root)
    berth.succeed("stop", "quay")
    before, files = host_state.look(berth.home), everything_in(root)
    kept = sorted(path.name for path in (berth.home / "run").rglob("*"))

    for _ in range(100):
        berth.succeed("start", "quay")
        berth.succeed("stop", "quay")

    assert host_state.difference(before, berth.home) == []
    assert everything_in(root) == files
    assert sorted(path.name for path in (berth.home / "run").rglob("*")) == kept


def test_fifty_containers_in_parallel_leave_nothing(berth: Berth, rootfs: Factory, service: None) -> None:
    root = rootfs("busybox")
    init = quick.write_init(root)
    names = [f"quay{number}" for number in range(50)]
    before, files = host_state.look(berth.home), everything_in(root)

    with ThreadPoolExecutor(10) as pool:
        starts = list(pool.map(lambda name: berth("start", name, "--rootfs", root, "--init", init), names))
    assert [end.stderr for end in starts if end.returncode] == []
    hostnames = [Path(f"/proc/{quick.info(berth, name)['pid']}/ns/uts").stat().st_ino for name in names[:5]]
    assert len(set(hostnames)) == 5
    assert len(berth.succeed("stop", "--all", seconds=120).splitlines()) == 50

    assert host_state.difference(before, berth.home) == []
    assert everything_in(root) == files


@pytest.fixture
def service(berth: Berth) -> Iterator[None]:
    """A service, for speed, as long as the test takes."""
    process = subprocess.Popen([*berth.command, "serve"], env=berth.environment)
    quick.wait_for(lambda: (berth.home / "run/control.sock").exists() or None)
    yield
    process.send_signal(signal.SIGTERM)
    process.wait(20)
