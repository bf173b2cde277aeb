"""What `build.py` needs before it can do anything: folders, packages, and the command that it links."""

import hashlib
import os
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import build


@pytest.mark.parametrize("folder", ["plain", "with a space", "/".join(["long"] * 60)])
def test_the_command_starts_from_any_folder(tmp_path: Path, folder: str) -> None:
    python = tmp_path / folder / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(Path(sys.executable).resolve())
    command = python.with_name("berth")
    search_path = [str(build.ROOT / "pyapp"), sysconfig.get_path("purelib")]
    build.replace(command, build.launcher(str(python), search_path), 0o755)

    result = subprocess.run([command, "version"], check=False, capture_output=True, text=True)

    assert result.stderr == ""
    assert result.stdout.startswith("berth ")
    assert result.returncode == 0


def test_the_command_imports_nothing_that_only_tools_of_developers_bring(tmp_path: Path) -> None:
    command, told = tmp_path / "berth", tmp_path / "imported"
    (tmp_path / "typing_extensions.py").write_text(f"open({str(told)!r}, 'w').close()\nfrom typing import *\n")
    search_path = [str(build.ROOT / "pyapp"), str(tmp_path), sysconfig.get_path("purelib")]
    build.replace(command, build.launcher(sys.executable, search_path), 0o755)

    subprocess.run([command, "info"], check=True, capture_output=True, env={**os.environ, "BERTH_HOME": str(tmp_path)})

    assert not told.exists()


def test_ctrl_c_ends_the_command_without_a_word_while_it_is_being_imported(tmp_path: Path) -> None:
    command, package = tmp_path / "command", tmp_path / "berth"
    package.mkdir()
    (package / "__init__.py").write_text("import os\nos.kill(os.getpid(), 2)\n")
    build.replace(command, build.launcher(sys.executable, [str(tmp_path)]), 0o755)

    result = subprocess.run([command], check=False, capture_output=True, text=True)

    assert (result.returncode, result.stdout, result.stderr) == (-signal.SIGINT, "", "")


def test_the_command_starts_python_without_a_shell_where_the_kernel_can() -> None:
    assert build.launcher("/a/.venv/bin/python", ["/a/pyapp"]).startswith("#!/a/.venv/bin/python -IS\nimport sys\n")


@pytest.mark.parametrize("path", ["/it's", '/a"b', "/a$HOME", "/a`b`", "/a\\b", "/a\nb"])
def test_a_checkout_that_a_script_cannot_name_is_refused(path: str) -> None:
    with pytest.raises(build.BuildError, match="move the checkout to a plainer one"):
        build.refuse_odd_path(path)


def test_a_checkout_with_spaces_and_letters_of_any_language_is_accepted() -> None:
    build.refuse_odd_path("/home/Zoë/my projects/berth")


def test_a_file_that_is_right_already_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "berth"
    build.replace(path, "first", 0o755)
    before = path.stat()

    build.replace(path, "first", 0o755)
    assert path.stat().st_ino == before.st_ino

    build.replace(path, "second", 0o755)
    assert path.read_text() == "second"
    assert path.stat().st_mode & 0o777 == 0o755
    assert os.listdir(tmp_path) == ["berth"]


def test_packages_are_installed_again_only_when_the_lock_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "VENV", tmp_path)
    monkeypatch.setattr(build, "PYTHON", tmp_path / "bin" / "python")  # not there: calling it fails
    lock = tmp_path / "some.lock"
    lock.write_text("flask==3.0.0 \\\n    --hash=sha256:00\n")
    (tmp_path / "some.lock.sha256").write_text(hashlib.sha256(lock.read_bytes()).hexdigest())

    build.install_locked(lock)
    assert capsys.readouterr().out == ""

    lock.write_text("flask==3.0.1 \\\n    --hash=sha256:11\n")
    with pytest.raises(build.BuildError, match=r"pip could not install some\.lock"):
        build.install_locked(lock)
    assert "what some.lock names: flask\n" in capsys.readouterr().out


def test_dpkg_tells_what_is_installed() -> None:
    assert build.installed_packages({"base-files": "", "no-such-package": ""}) == {"base-files"}


def test_nothing_is_said_or_done_about_packages_that_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    build.install_packages({"base-files": "is part of every Debian"})

    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("arguments", [["unknown"], ["setup", "more"], ["run", "--fast"]])
def test_a_command_line_that_means_nothing_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        build.main(arguments)

    assert caught.value.code == 2


def test_a_command_that_fails_is_told_in_one_sentence_with_its_exit_code() -> None:
    with pytest.raises(build.BuildError, match=r"^it did not work \(exit code 3\)$"):
        build.call([sys.executable, "-c", "raise SystemExit(3)"], "it did not work")


def test_shell_scripts_are_found_by_their_first_line_too() -> None:
    scripts = {str(path.relative_to(build.ROOT)) for path in build.shell_scripts()}

    assert {".ci/run", "pyapp/demo/rootfs/etc/init.d/rcS"} <= scripts
    assert "build.py" not in scripts
