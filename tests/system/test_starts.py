"""What may be started, under which name and from what, and what is refused before anything is done."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import faults, quick
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
    before = faults.tree(root)

    refused = berth("start", "quay", "--rootfs", root, "--init", init)

    assert refused.returncode == 1
    assert re.fullmatch(rf"berth: rootfs {root}: {init} .*\n", refused.stderr)
    assert not (berth.home / "containers/quay").exists()
    assert faults.tree(root) == before


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
    before = faults.tree(root)

    failed = berth("start", "quay", "--rootfs", root, "--init", init)

    assert failed.returncode != 0
    assert how in failed.stderr
    assert len(failed.stderr.splitlines()) == 1
    assert "there is no container" in berth("info", "quay").stderr
    assert faults.tree(root) == before


def test_an_init_that_ends_at_once_but_slowly_is_a_failed_start_too(berth: Berth, rootfs: Factory) -> None:
    """With a fiftieth of a processor, as on a phone that has other things to do."""
    root = rootfs("busybox")
    work = "n=0; while [ $n -lt 2000 ]; do n=$((n + 1)); done"
    init = quick.write_init(root, script=f"#!/bin/sh\n{work}\nexit 3\n")

    failed = berth("start", "quay", "--rootfs", root, "--init", init, "--cpus", "0.02")

    assert "ended with 3 at once" in failed.stderr


def test_a_failed_start_leaves_saved_what_was_saved_before(berth: Berth, rootfs: Factory) -> None:
    root = rootfs("busybox")
    quick.start(berth, root, "--memory", "64M")
    berth.succeed("stop", "quay")
    broken = quick.write_init(root, "/sbin/broken", "#!/bin/sh\nexit 1\n")

    assert berth("start", "quay", "--init", broken, "--memory", "32M").returncode != 0

    assert "memory = 67108864" in (berth.home / "containers" / "quay" / "container.toml").read_text()
    assert broken not in (berth.home / "containers" / "quay" / "container.toml").read_text()


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
