"""What holds for the repository as a whole: locks, version, names."""

import re
import tomllib
from pathlib import Path

import pytest

import berth
import build

PROJECT = tomllib.loads((build.ROOT / "pyproject.toml").read_text())["project"]

# In pieces, so that this file does not find itself.
HOSTS = ("pypi" + ".org", "python" + "hosted", "npm" + "js", "deb." + "debian.org", "crates" + ".io")
SHAPELESS = re.compile(r"(^|_)(utils?|helpers?|managers?|misc|common)(_|$)")


def requirements(lock: Path) -> dict[str, list[str]]:
    """Return the hashes in `lock` by name==version."""
    found: dict[str, list[str]] = {}
    for line in lock.read_text().splitlines():
        word = line.strip().removesuffix(" \\")
        if re.fullmatch(r"[a-z0-9][a-z0-9.-]*==[0-9][0-9a-z.]*", word):
            found[word] = []
        else:
            assert re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", word), f"{lock.name}: {line}"
            found[list(found)[-1]].append(word)
    return found


def names(requirements: dict[str, list[str]]) -> set[str]:
    return {requirement.partition("==")[0] for requirement in requirements}


@pytest.mark.parametrize("lock", [build.LOCK, build.TEST_LOCK], ids=lambda lock: lock.name)
def test_a_lock_names_versions_and_hashes_and_nothing_else(lock: Path) -> None:
    assert all(requirements(lock).values())


def test_the_locks_hold_what_the_project_asks_for() -> None:
    assert set(PROJECT["dependencies"]) <= names(requirements(build.LOCK))
    assert set(PROJECT["optional-dependencies"]["test"]) <= names(requirements(build.TEST_LOCK))


def test_the_tests_run_with_the_packages_that_users_get() -> None:
    assert requirements(build.LOCK).items() <= requirements(build.TEST_LOCK).items()


def test_the_version_is_the_same_everywhere() -> None:
    assert PROJECT["version"] == berth.__version__
    assert f"## {berth.__version__}" in (build.ROOT / "CHANGELOG.md").read_text()


def test_no_file_names_the_host_of_a_registry() -> None:
    found = [
        f"{path.relative_to(build.ROOT)} names {host}"
        for path in build.repository_files()
        for host in HOSTS
        if host.encode() in path.read_bytes()
    ]

    assert found == []


def test_every_module_has_a_name_that_says_what_it_is_for() -> None:
    modules = [path for path in build.repository_files() if path.suffix == ".py"]

    assert [str(path) for path in modules if SHAPELESS.search(path.stem)] == []


def test_ci_runs_what_a_developer_runs() -> None:
    lines = (build.ROOT / ".ci" / "run").read_text().splitlines()

    assert lines[0] == "#!/usr/bin/env bash"
    assert lines[-1] == "exec python3 build.py test"
