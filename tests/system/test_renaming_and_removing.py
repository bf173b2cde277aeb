"""`berth rename` and `berth rm`: what they ask, what they refuse, and what they leave."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import quick
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
        assert "nothing was done, because its name was not typed" in result.stderr
    assert berth.succeed("rm", "old", stdin="old\n") == f"old: removed; {root} is untouched\n"
    assert berth.succeed("list", "--names") == ""
    assert (root / "sbin" / "init").is_symlink()


def test_a_renamed_container_starts_under_its_new_name(berth: Berth, rootfs: Factory) -> None:
    quick.start(berth, rootfs("busybox"), name="old")
    refused = berth("rename", "old", "new")
    assert refused.stderr == 'berth: container old: is running and can\'t be renamed; run "berth stop old" first\n'
    berth.succeed("stop", "old")
    assert berth.succeed("rename", "old", "new") == "old: is now new\n"
    berth.succeed("start", "new")
    assert quick.inside(berth, "hostname", name="new") == "new"
    berth.succeed("stop", "new")


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
    ("safe-mode --again=maybe", 2, "it takes no value"),
)


def test_bad_input_gets_its_sentence(berth: Berth) -> None:
    """One row for each flag of the commands that are not start, whose table is tests/unit/test_values.py's."""
    for name in ("old", "taken"):
        folder = berth.home / "containers" / name
        folder.mkdir(parents=True, mode=0o700)
        (folder / "container.toml").write_text(f'version = 1\nname = "{name}"\nrootfs = "/nowhere"\n')
    for line, code, sentence in BAD:
        result = berth(*line.split())
        assert (result.returncode, result.stdout) == (code, ""), line
        assert sentence in result.stderr, line
        assert len(result.stderr.splitlines()) == 1, line
