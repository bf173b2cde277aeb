"""Debian packages by a private apt root: checked against Debian's signed index, without touching the machine's own.

apt(8) is told by one file (APT_CONFIG) to keep its state in a folder of ours, for any suite and processor.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from packing.contents import SUITE
from packing.errors import PackingError

_KEYRING = "usr/share/keyrings/debian-archive-keyring.gpg"
_PROXIES = ("http", "https", "ftp")
_SOURCES = """\
Types: deb
URIs: {main}
Suites: {suite} {suite}-updates
Components: main
Signed-By: {keyring}

Types: deb
URIs: {security}
Suites: {suite}-security
Components: main
Signed-By: {keyring}
"""
_CONFIG = """\
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "2";
Dir "{root}";
Dir::State::status "{root}/var/lib/dpkg/status";
"""


class Mirrors(NamedTuple):
    """Where Debian's packages and their security updates come from."""

    main: str
    security: str


class Package(NamedTuple):
    """A downloaded package; `source` is Debian's source package and its version, for those who want the sources."""

    name: str
    version: str
    source: str
    sha256: str
    path: Path


def find_mirrors(chosen: str | None) -> Mirrors:
    """Return the mirrors at the URL `chosen`, else those of the machine's own apt sources.

    Raises PackingError where those are not Debian's.
    """
    if chosen is not None:
        base = chosen.rstrip("/")
        return Mirrors(base, f"{base}-security")
    query = ["apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages"]
    return choose_mirrors(_output(query).splitlines())


def choose_mirrors(lines: Iterable[str]) -> Mirrors:
    """Choose from `lines`, each the label of a repository (Debian, Debian-Security, Ubuntu ...) and its URL."""
    found = dict(reversed([line.split(maxsplit=1) for line in lines if " " in line.strip()]))
    if "Debian" not in found:
        raise PackingError(
            "this machine's apt sources are not Debian's, or were never updated; pass --debian-mirror URL"
        )
    main = found["Debian"].rstrip("/")
    return Mirrors(main, found.get("Debian-Security", f"{main}-security").rstrip("/"))


def fetch(names: Sequence[str], architecture: str, mirrors: Mirrors, cache: Path) -> list[Package]:
    """Download the packages `names` for `architecture` into `cache` as far as they are not there; return them sorted.

    Raises PackingError when the index can't be had or verified, or a package is not in it.
    """
    root = cache / "apt" / architecture
    environment = private_root(root, architecture, mirrors, SUITE, keyring(cache))
    wanted = _resolve(names, environment, root)
    folder = cache / "debs" / architecture
    folder.mkdir(parents=True, exist_ok=True)
    missing = [name for name, (file, digest) in wanted.items() if not _is_there(folder / file, digest)]
    if missing:
        print(f"==> fetching for {architecture}: {', '.join(missing)}", flush=True)
        _run(["apt-get", "-qq", "download", *missing], environment, folder)
    for file, digest in wanted.values():
        if not _is_there(folder / file, digest):
            raise PackingError(f"{file}: what was downloaded is not what the signed index names; try again")
    return [_describe(folder / file, digest) for _, (file, digest) in sorted(wanted.items())]


def private_root(root: Path, architecture: str, mirrors: Mirrors, suite: str, keys: Path) -> dict[str, str]:
    """Have `root` know Debian's release `suite` for `architecture`; return the environment in which apt uses it.

    `keys` is what the release is signed by (`keyring`).  Where the mirrors don't answer, it knows what it knew before.
    """
    _make_root(root, architecture, mirrors, suite, keys)
    environment = {**os.environ, "APT_CONFIG": str(root / "apt.conf")}
    _update(environment, architecture)
    return environment


def unpack_once(packages: Iterable[Package], target: Path) -> None:
    """Unpack the files of `packages` into `target`, unless those very packages are there already."""
    stamp = target.with_name(f"{target.name}.packages")
    wanted = "".join(f"{package.sha256}\n" for package in packages)
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    stamp.unlink(missing_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for package in packages:
        _run(["dpkg-deb", "--extract", str(package.path), str(target)], dict(os.environ), target)
    stamp.write_text(wanted)


def digest_of(path: Path) -> str:
    """Return the SHA-256 of the file at `path`, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _make_root(root: Path, architecture: str, mirrors: Mirrors, suite: str, keys: Path) -> None:
    for folder in ("etc/apt/apt.conf.d", "etc/apt/preferences.d", "var/cache/apt/archives/partial", "var/lib/dpkg"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "var/lib/apt/lists/partial").mkdir(parents=True, exist_ok=True)
    (root / "var/lib/dpkg/status").touch()
    sources = root / "etc/apt/sources.list.d" / "debian.sources"
    sources.parent.mkdir(exist_ok=True)
    sources.write_text(_SOURCES.format(**mirrors._asdict(), suite=suite, keyring=keys))
    (root / "apt.conf").write_text(_CONFIG.format(architecture=architecture, root=root) + _proxies())


def _proxies() -> str:
    """The proxies of the machine's own apt: our root does not read that configuration."""
    lines = _output(["apt-config", "dump"]).splitlines()
    return "".join(f"{line}\n" for line in lines if line.startswith(tuple(f"Acquire::{p}::Proxy" for p in _PROXIES)))


def keyring(cache: Path) -> Path:
    """Return Debian's keys: the machine's own, or from the package that its own apt vouches for (Ubuntu has one)."""
    installed = Path("/", _KEYRING)
    if installed.is_file():
        return installed
    folder = cache / "keyring"
    if not (folder / _KEYRING).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        _run(["apt-get", "-qq", "download", "debian-archive-keyring"], dict(os.environ), folder)
        for package in folder.glob("*.deb"):
            _run(["dpkg-deb", "--extract", str(package), str(folder)], dict(os.environ), folder)
    return folder / _KEYRING


def _update(environment: dict[str, str], architecture: str) -> None:
    """Fetch the index; a second time when it fails, for a mirror may be in the middle of an update."""
    for _ in range(2):
        if subprocess.run(["apt-get", "-qq", "update", "--error-on=any"], env=environment, check=False).returncode == 0:
            return
    print(
        f"==> the index of Debian's {architecture} packages could not be updated; going on with the one that is there"
    )


def _resolve(names: Sequence[str], environment: dict[str, str], root: Path) -> dict[str, tuple[str, str]]:
    """File name and SHA-256 of each package, from the signed index."""
    lines = _output(["apt-get", "download", "--print-uris", *names], environment, root).splitlines()
    found = {}
    for line in lines:
        _, file, _, digest = line.split()
        found[unquote(file).partition("_")[0]] = (file, digest.removeprefix("SHA256:"))
    if missing := set(names) - set(found):
        raise PackingError(f"Debian {SUITE} has no package {', '.join(sorted(missing))}; is the mirror complete?")
    return found


def _is_there(path: Path, digest: str) -> bool:
    return path.is_file() and digest_of(path) == digest


def _describe(path: Path, digest: str) -> Package:
    lines = _output(["dpkg-deb", "--field", str(path), "Package", "Version", "Source"]).splitlines()
    fields = dict(line.split(": ", 1) for line in lines)
    name, version = fields["Package"], fields["Version"]
    source, _, source_version = fields.get("Source", name).partition(" ")
    return Package(name, version, f"{source} {source_version.strip('()') or version}", digest, path)


def _output(command: Sequence[str], environment: dict[str, str] | None = None, folder: Path | None = None) -> str:
    try:
        return subprocess.run(
            command, env=environment, cwd=folder, check=True, stdout=subprocess.PIPE, text=True
        ).stdout
    except FileNotFoundError as error:
        raise PackingError(f"{command[0]}: not found; the zip is built on Debian or Ubuntu") from error
    except subprocess.CalledProcessError as error:
        raise PackingError(f"{' '.join(command[:2])} failed; see its message above") from error


def _run(command: Sequence[str], environment: dict[str, str], folder: Path) -> None:
    if subprocess.run(command, env=environment, cwd=folder, check=False).returncode:
        raise PackingError(f"{' '.join(command[:3])} failed; see its message above, check the network and try again")
