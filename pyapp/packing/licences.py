"""The licences of all that is bundled: their texts, and a list of who came under which."""

import json
import re
import zipfile
from email.parser import HeaderParser
from pathlib import Path
from typing import Final, NamedTuple

from packing.apt import Package
from packing.errors import PackingError
from packing.wheels import Wheel

_COMMON: Final = "usr/share/common-licenses"
_COMMON_NAME: Final = re.compile(rf"/{_COMMON}/([A-Za-z0-9.+-]*[A-Za-z0-9])")
_SHORT_NAME: Final = re.compile(r"^License: *(\S.*)$", re.MULTILINE)
# Copyright files that are not in Debian's machine-readable form (DEP 5).
_IN_PROSE: Final = {
    "busybox-static": "GPL-2",
    "gcc-14-base": "GPL-3 with the GCC Runtime Library Exception",
    "libgcc-s1": "GPL-3 with the GCC Runtime Library Exception",
    "libpython3.13-minimal": "PSF-2",
    "libpython3.13-stdlib": "PSF-2",
    "python3.13-minimal": "PSF-2",
}
_LICENCE_FILE: Final = re.compile(r"\.dist-info/(?:licenses/)?((?:LICEN[CS]E|COPYING|NOTICE|AUTHORS)[^/]*)$")


class Licence(NamedTuple):
    """Under which `licences` something was bundled; `texts` are paths in the module's folder."""

    name: str
    version: str
    source: str
    licences: list[str]
    texts: list[str]


def of_package(package: Package, unpacked: Path, target: Path) -> Licence:
    """Copy the licences of a Debian package, unpacked with others in `unpacked`, to licenses/ in `target`."""
    text = (unpacked / "usr/share/doc" / package.name / "copyright").read_text(errors="replace")
    texts = [_write(target, f"{package.name}.copyright", text)]
    for name in sorted(set(_COMMON_NAME.findall(text))):
        shared = unpacked / _COMMON / name
        if shared.is_file():
            texts.append(_write(target, f"common/{name}", shared.read_text()))
    known = _IN_PROSE.get(package.name)
    names = [known] if known else sorted({name.strip() for name in _SHORT_NAME.findall(text)})
    if not names:
        raise PackingError(f"{package.name}: its copyright file names no licence; say it in licences.py")
    source, _, version = package.source.partition(" ")  # the same for every ABI, unlike the version of a rebuild
    return Licence(package.name, version, f"Debian source package {source}", names, texts)


def of_wheel(wheel: Wheel, target: Path) -> Licence:
    """Copy the licences in `wheel` to licenses/ in `target`."""
    texts = []
    with zipfile.ZipFile(wheel.path) as archive:
        for name in archive.namelist():
            if found := _LICENCE_FILE.search(name):
                texts.append(_write(target, f"{wheel.name}.{found[1]}", archive.read(name).decode()))
            elif name.endswith(".dist-info/METADATA"):
                metadata = HeaderParser().parsestr(archive.read(name).decode())
    if not texts:
        raise PackingError(f"{wheel.name}: there is no licence in its wheel")
    named = metadata["License-Expression"] or metadata["License"]
    classified = [
        line.rpartition(":: ")[2] for line in metadata.get_all("Classifier", []) if line.startswith("License")
    ]
    return Licence(wheel.name, wheel.version, "Python package", [named] if named else classified, sorted(texts))


def of_page(listed: Path, target: Path) -> list[Licence]:
    """Copy the licences of the packages in the dashboard's page, which are `listed` with their texts in a JSON file."""
    return [
        Licence(
            package["name"],
            package["version"],
            "JavaScript package",
            [package["licence"]],
            [_write(target, f"{package['name'].removeprefix('@').replace('/', '-')}.LICENSE", package["text"])],
        )
        for package in json.loads(listed.read_text())
    ]


def of_ourselves(licence: Path, version: str, target: Path) -> Licence:
    """Copy Berth's own."""
    return Licence("berth", version, "this", ["Apache-2.0"], [_write(target, "berth.LICENSE", licence.read_text())])


def _write(target: Path, name: str, text: str) -> str:
    path = target / "licenses" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return f"licenses/{name}"
