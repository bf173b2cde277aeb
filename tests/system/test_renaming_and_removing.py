"""`berth rename` and `berth rm`: what they ask, what they refuse, and what they leave."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from berth.cli.table import COMMANDS
from tests import callers, quick
from tests import rootfs as root_file_systems
from tests.program import Berth

pytestmark = pytest.mark.system

Factory = Callable[[str], Path]


def test_a_container_is_removed_when_its_name_was_typed(berth: Berth, rootfs: Factory) -> None:
    root = rootfs("busybox")
    quick.start(berth, root, name="old")
    refused = berth("rm", "old", "--yes")
    assert (refused.returncode, refused.stderr) == (
        1,
        'berth: container old: is running and can\'t be removed; run "berth stop old" first\n',
    )
    berth.succeed("stop", "old")
    for typed in ("", "no\n", "ol\n"):
        result = berth("rm", "old", stdin=typed)
        assert (result.returncode, result.stdout) == (1, "")
        assert f"its root {root} stays" in result.stderr
        assert "nothing was done, because its name was not typed; type it, or give --yes" in result.stderr
    assert berth.succeed("rm", "old", stdin="old\n") == f"old: removed; {root} is untouched\n"
    assert berth.succeed("list", "--names") == ""
    assert (root / "sbin" / "init").is_symlink()


def test_a_renamed_container_starts_under_its_new_name(berth: Berth, rootfs: Factory) -> None:
    quick.start(berth, rootfs("busybox"), name="old")
    refused = berth("rename", "old", "new")
    assert refused.stderr == 'berth: container old: is running and can\'t be renamed; run "berth stop old" first\n'
    berth.succeed("stop", "old")
    same = berth("rename", "old", "old")
    assert (same.returncode, same.stderr) == (1, 'berth: container "old" has this name already; give another one\n')
    assert berth.succeed("rename", "old", "new") == "old: is now new\n"
    berth.succeed("start", "new")
    assert quick.inside(berth, "hostname", name="new") == "new"
    berth.succeed("stop", "new")


def test_nothing_is_removed_or_renamed_in_which_something_is_mounted(berth: Berth, rootfs: Factory) -> None:
    quick.start(berth, rootfs("busybox"), name="old")
    berth.succeed("stop", "old")
    place = berth.home / "containers" / "old" / "below"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    try:
        for words, what in ((("rm", "old", "--yes"), "be removed"), (("rename", "old", "new"), "be renamed")):
            refused = berth(*words)
            assert refused.returncode == 1
            assert f"{place} is still mounted, so it can't {what}; unmount that first" in refused.stderr
    finally:
        for mounted in root_file_systems.mounts_below(berth.home):  # wherever it may have been taken to
            subprocess.run(["umount", mounted], check=True)

    assert berth.succeed("rm", "old", "--yes").startswith("old: removed")


BAD = (
    ("rename old taken", 1, '"taken"'),
    ("rename old a/b", 2, "a container's name has letters"),
    ("rename nobody new", 1, 'there is no container "nobody"'),
    ("rm nobody --yes", 1, 'there is no container "nobody"'),
    ("logs old --lines many", 2, "this is no whole number; write one such as 100"),
    ("logs old --lines -1", 2, '--lines "-1": this is no whole number'),
    ("stop old --timeout soon", 2, "this is no time in seconds up to a day; write one such as 10"),
    ("restart old --timeout soon", 2, "this is no time in seconds up to a day; write one such as 10"),
    ("run --rm --memory lots -- true", 2, "this is no size; write one such as 512M or 1.5G"),
    ("run --rm --env A -- true", 2, "a variable is written KEY=VALUE"),
    ("run --rm --net ether -- true", 2, '--net "ether": choose one of host, nat'),
    ("run --rm --cap-drop WINGS -- true", 2, '--cap-drop "WINGS": no such capability'),
    ("run --rm --hostname a_b.. -- true", 2, '--hostname "a_b..": a host name has letters'),
    ("run --rm --cpus lots -- true", 2, '--cpus "lots": this is no number of processors'),
    ("run --rm --pids-limit 1 -- true", 2, "--pids-limit 1: no system runs with so few processes"),
    ("run --rm --map /nowhere /x -- true", 1, "it is not there; check the path"),
    ("run --rm --vol / x -- true", 2, "the path must be absolute"),
    ("run --rm --privileged all -- true", 2, '--privileged "all": choose one of nomask'),
    ("enter old --env A", 2, "a variable is written KEY=VALUE"),
    ("run old --env-file /nowhere -- true", 2, '"/nowhere" can\'t be read'),
    ("run --rm --user root -- true", 2, "a one-off program is root's, so --user is not for --rm"),
    ("serve --background=maybe", 2, "it takes no value"),
    ("serve --end=maybe", 2, "it takes no value"),
    ("serve --no-dashboard=maybe", 2, "it takes no value"),
    ("stop --all=maybe", 2, "it takes no value"),
    ("logs old --follow=maybe", 2, "it takes no value"),
    ("list --names=maybe", 2, "it takes no value"),
    ("list --json=maybe", 2, "it takes no value"),
    ("rm old --yes=maybe", 2, "it takes no value"),
    ("run --rm=maybe -- true", 2, "it takes no value"),
    ("run --rm --init=maybe -- true", 2, "it takes no value"),
    ("run --rm --privileged all -- true", 2, "choose one of"),
    ("run --rm --cap-add WINGS -- true", 2, "no such capability"),
    ("run --rm --block-nested-namespaces=maybe -- true", 2, "it takes no value"),
    ("run --rm --keyring-filter=maybe -- true", 2, "it takes no value"),
    ("run --rm --rootfs /nowhere -- true", 1, "there is no such folder"),
    ("enter --name a/b", 2, "a container's name has letters"),
    ("enter old --env A", 2, "a variable is written KEY=VALUE"),
    ("enter old --env-file /nowhere", 2, "/nowhere"),
    ("dashboard --uid me", 2, "this is no whole number; write one such as 100"),
    ("api --stream=maybe", 2, "it takes no value"),
    ("help --help=maybe", 2, "it takes no value"),
    ("safe-mode --again=maybe", 2, "it takes no value"),
)


def test_bad_input_gets_its_sentence(berth: Berth) -> None:
    """One row for each flag of the commands that are not start, whose table is tests/unit/test_values.py's."""
    for name in ("old", "taken"):
        folder = berth.home / "containers" / name
        folder.mkdir(parents=True, mode=0o700)
        (folder / "container.toml").write_text(f'version = 1\nname = "{name}"\nrootfs = "/nowhere"\n')
    with callers.service(berth):  # for speed
        for line, code, sentence in BAD:
            result = berth(*line.split())
            assert (result.returncode, result.stdout) == (code, ""), line
            assert sentence in result.stderr, line
            assert len(result.stderr.splitlines()) == 1, line


def test_every_flag_of_these_commands_has_a_row() -> None:
    others = [command for command in COMMANDS.values() if command.name not in ("start", "plan")]
    flags = {flag.name for command in others for flag in command.flags}
    tried = {word.partition("=")[0] for line, _, _ in BAD for word in line.split() if word.startswith("--")}

    assert {f"--{name}" for name in flags} <= tried
