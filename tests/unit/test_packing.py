"""What goes into the zip, and that the same contents give the same bytes."""

import json
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

import build
from packing import archive, assemble, compiled, front_end, licences, locked, sources, wheels
from packing.abi import ABIS
from packing.apt import Mirrors, choose_mirrors
from packing.errors import PackingError
from packing.order import Order


def test_the_mirrors_are_those_of_the_machine() -> None:
    lines = [
        "Debian http://mirror.example/debian/",
        "Debian http://other.example/debian/",
        "Debian-Security http://security.example/debian-security/",
        "Some Shop https://shop.example/apt/",
        " http://never.updated.example/debian/",
    ]

    assert choose_mirrors(lines) == Mirrors("http://mirror.example/debian", "http://security.example/debian-security")


def test_security_updates_are_looked_for_beside_a_mirror_that_has_them() -> None:
    assert choose_mirrors(["Debian http://mirror.example/debian"]).security == "http://mirror.example/debian-security"


@pytest.mark.parametrize("lines", [[], ["Ubuntu http://mirror.example/ubuntu"], [" http://mirror.example/debian"]])
def test_a_machine_without_debian_sources_is_asked_for_a_mirror(lines: list[str]) -> None:
    with pytest.raises(PackingError, match="pass --debian-mirror URL"):
        choose_mirrors(lines)


def sample(folder: Path) -> dict[str, Path]:
    folder.mkdir()
    (folder / "one").write_text("1")
    (folder / "two").write_text("2" * 5000)
    return {"runtime/bin/one": folder / "one", "pyapp/two.pyc": folder / "two"}


def test_an_archive_depends_on_nothing_but_names_and_contents(tmp_path: Path) -> None:
    first = archive.tar_xz(sample(tmp_path / "first"))
    files = sample(tmp_path / "second")
    for path in files.values():
        os.utime(path, (1, 1))
        path.chmod(0o600)

    assert archive.tar_xz(dict(reversed(files.items()))) == first


def test_busybox_unpacks_an_archive_with_modes(tmp_path: Path) -> None:
    packed = archive.tar_xz(sample(tmp_path / "sample"))

    subprocess.run(["busybox", "tar", "-xpJf", "-", "-C", tmp_path], input=packed, check=True)

    assert (tmp_path / "runtime/bin/one").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "pyapp/two.pyc").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "pyapp/two.pyc").read_text() == "2" * 5000


def test_a_zip_stores_what_is_compressed_already(tmp_path: Path) -> None:
    target = tmp_path / "dist" / "module.zip"
    archive.write_zip(target, {"service.sh": b"s" * 1000, "common.tar.xz": b"c" * 1000})

    with zipfile.ZipFile(target) as written:
        entries = {entry.filename: entry for entry in written.infolist()}
    assert entries["common.tar.xz"].compress_size == 1000
    assert entries["service.sh"].compress_size < 1000
    assert entries["service.sh"].external_attr >> 16 == 0o100755


def test_a_wheel_that_the_lock_does_not_know_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / "some.lock"
    lock.write_text("flask==3.0.0 \\\n    --hash=sha256:" + "0" * 64 + "\n")
    folder = tmp_path / "wheels" / "x86_64"
    folder.mkdir(parents=True)
    (folder / "flask-3.0.0-py3-none-any.whl").write_text("something else")

    with pytest.raises(PackingError, match=r"flask 3\.0\.0 is not in .* with a hash that some\.lock has"):
        wheels.recall(lock, ABIS["x86_64"], tmp_path)


def test_sources_that_the_lock_does_not_know_are_not_compiled(tmp_path: Path) -> None:
    psutil = next(entry for entry in locked.read(build.LOCK) if entry.name == "psutil")
    (tmp_path / "sources").mkdir()
    (tmp_path / f"sources/psutil-{psutil.version}.tar.gz").write_text("something else")

    with pytest.raises(PackingError, match=r"there are no sources of msgspec"):
        sources.recall(build.LOCK, ABIS["armeabi-v7a"], tmp_path)
    with pytest.raises(PackingError, match=r"there are no sources of psutil"):
        sources.recall(build.LOCK, ABIS["armeabi-v7a"]._replace(compiled=("psutil",)), tmp_path)


def test_the_lock_has_a_hash_for_all_that_it_names() -> None:
    entries = locked.read(build.LOCK)

    assert {"flask", "markupsafe", "msgspec", "psutil", "tomli-w"} <= {entry.name for entry in entries}
    assert all(entry.version and len(entry.hashes) >= 2 for entry in entries)
    assert len({digest for entry in entries for digest in entry.hashes}) == sum(len(one.hashes) for one in entries)


def test_what_is_compiled_for_a_processor_has_a_recipe() -> None:
    assert {name for abi in ABIS.values() for name in abi.compiled} == set(compiled.RECIPES)


def test_licences_of_a_zip_for_several_processors_are_those_of_each(tmp_path: Path) -> None:
    trees = [tmp_path / "one", tmp_path / "two"]
    for tree, versions in zip(trees, ({"libc6": "1", "zlib1g": "1"}, {"libc6": "1", "zlib1g": "2"}), strict=True):
        tree.mkdir()
        rows = [{"name": name, "version": version} for name, version in versions.items()]
        (tree / "licenses.json").write_text(json.dumps(rows))

    assemble.merge_licences(trees)

    texts = {(tree / "licenses.json").read_text() for tree in trees}
    assert [(row["name"], row["version"]) for row in json.loads(texts.pop())] == [
        ("libc6", "1"),
        ("zlib1g", "1"),
        ("zlib1g", "2"),
    ]
    assert not texts, "else the trees could not be packed together"


def test_a_package_of_the_page_that_the_lock_does_not_know_is_refused_and_thrown_away(tmp_path: Path) -> None:
    version, integrity = front_end.read_lock(build.WEBROOT / "packages.lock")["htm"]
    other = tmp_path / f"htm-{version}.tgz"
    other.write_text("something else")

    with pytest.raises(PackingError, match=r"htm .* is not what the lock file says"):
        front_end.fetched("htm", version, integrity, tmp_path)

    assert not other.exists()


def test_the_packages_of_the_page_bring_their_licences(tmp_path: Path) -> None:
    listed = tmp_path / "licences.json"
    listed.write_text(json.dumps([{"name": "@a/b", "version": "1.2", "licence": "MIT", "text": "The text"}]))

    (licence,) = licences.of_page(listed, tmp_path)

    assert licence == ("@a/b", "1.2", "JavaScript package", ["MIT"], ["licenses/a-b.LICENSE"])
    assert (tmp_path / "licenses/a-b.LICENSE").read_text() == "The text"


def properties() -> dict[str, str]:
    return dict(line.split("=", 1) for line in (build.ROOT / "module.prop").read_text().splitlines())


def test_managers_are_told_the_version_of_the_program() -> None:
    major, minor, patch = map(int, build.program_version().split("."))

    assert properties()["version"] == f"v{build.program_version()}"
    assert int(properties()["versionCode"]) == major * 10_000 + minor * 100 + patch


def test_the_icons_that_managers_show_are_there() -> None:
    for key in ("webuiIcon", "actionIcon"):
        assert (build.ROOT / properties()[key]).read_bytes().startswith(b"\x89PNG")


def test_an_update_is_announced_as_managers_read_it() -> None:
    order = Order(Path("/"), Path("/"), Path("/"), "1.2.3", ["x86_64"], "https://example/berth")

    announced = json.loads(assemble.update_json(order, "version=v1.2.3\nversionCode=10203\n"))

    assert announced == {
        "version": "v1.2.3",
        "versionCode": 10203,
        "zipUrl": "https://example/berth/berth-1.2.3.zip",
        "changelog": "https://example/berth/CHANGELOG.md",
    }


@pytest.mark.parametrize("shell", [["busybox", "sh"], ["mksh"]])
@pytest.mark.parametrize("script", ["customize.sh", "pyapp/packing/phone/berth"])
def test_the_shells_of_a_phone_can_read_a_script(shell: list[str], script: str) -> None:
    subprocess.run([*shell, "-n", build.ROOT / script], check=True)


def test_the_zip_says_what_it_can_not_be_built_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build.main(["zip", "--abi", "mips"])

    assert "invalid choice: 'mips' (choose from 'arm64-v8a', 'x86_64', 'armeabi-v7a')" in capsys.readouterr().err
