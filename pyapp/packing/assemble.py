"""Makes the zip from what was fetched.  Run by Debian 13's Python, so that every byte is made by the same tools.

python3 -m packing.assemble ROOT CACHE TARGET VERSION ABI...
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from packing import archive, bytecode, fetched, licences, runtime, workshop
from packing.abi import ABIS
from packing.elf import Patchelf, is_elf
from packing.errors import PackingError

LIMIT: Final = 12_000_000  # bytes for each ABI, its share of the common part included
MODULE_FILES: Final = (
    "LICENSE",
    "META-INF",
    "action.sh",
    "customize.sh",
    "module.prop",
    "post-fs-data.sh",
    "sepolicy.rule",
    "service.sh",
    "uninstall.sh",
    "webroot",
)
_FORMAT: Final = 1  # of manifest.json


class Order(NamedTuple):
    """What to build: a zip at `target`, from the checkout `root` and from what was fetched into `cache` for `abis`."""

    root: Path
    cache: Path
    target: Path
    version: str
    abis: Sequence[str]


def place(order: Order) -> None:
    """Have `order` carried out by Debian 13's Python."""
    words = [*map(str, order[:3]), order.version, *order.abis]
    workshop.existing(order.cache).python(
        order.root / "pyapp", "packing.assemble", words, "the zip was not built; see above"
    )


def assemble(order: Order) -> None:
    """Make the zip; the trees it was made of stay in the cache, as tree/ABI."""
    trees = {abi: _make_tree(order, abi) for abi in sorted(order.abis)}
    common = _split(trees)
    archives = {"common.tar.xz": archive.tar_xz(common)}
    for abi, tree in trees.items():
        archives[f"{abi}.tar.xz"] = archive.tar_xz({name: path for name, path in _files(tree) if is_elf(path)})
        _check_size(abi, len(archives["common.tar.xz"]) + len(archives[f"{abi}.tar.xz"]))
    loose = {name: path.read_bytes() for name, path in _module_files(order.root)}
    manifest = {"manifest.json": _manifest(order, archives), "licenses.json": common["licenses.json"].read_bytes()}
    archive.write_zip(order.target, {**archives, **loose, **manifest})


def _make_tree(order: Order, abi: str) -> Path:
    """Make what the module's folder holds for `abi` beside the loose files."""
    tree = order.cache / "tree" / abi
    shutil.rmtree(tree, ignore_errors=True)
    packages, wheels = fetched.recall(abi, order.cache)
    unpacked = fetched.unpacked(abi, order.cache)
    patchelf = Patchelf(workshop.existing(order.cache).command("usr/bin/patchelf"))
    runtime.make(unpacked, [wheel.path for wheel in wheels], ABIS[abi], patchelf, tree / "runtime")
    _copy_program(order.root / "pyapp", tree)
    own = licences.of_ourselves(order.root / "LICENSE", order.version, tree)
    others = [licences.of_package(package, unpacked, tree) for package in packages]
    all_of_them = [own, *others, *(licences.of_wheel(wheel, tree) for wheel in wheels)]
    (tree / "licenses.json").write_text(json.dumps([licence._asdict() for licence in all_of_them], indent=1) + "\n")
    for path in tree.rglob("*"):
        path.chmod(0o755 if path.is_dir() else archive.mode_of(str(path.relative_to(tree))))
    return tree


def _copy_program(pyapp: Path, tree: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    for package in ("berth", "demo"):
        shutil.copytree(pyapp / package, tree / "pyapp" / package, ignore=ignored)
    shutil.copyfile(pyapp / "packing/phone/start.py", tree / "pyapp/start.py")
    bytecode.compile_tree(tree / "pyapp")
    (tree / "bin").mkdir()
    shutil.copyfile(pyapp / "packing/phone/berth", tree / "bin/berth")


def _split(trees: Mapping[str, Path]) -> dict[str, Path]:
    """Return the files that are no programs, by their name; raise PackingError where they differ between ABIs."""
    common: dict[str, Path] = {}
    for abi, tree in trees.items():
        for name, path in _files(tree):
            if is_elf(path):
                continue
            if common.setdefault(name, path).read_bytes() != path.read_bytes():
                raise PackingError(f"{name} is not the same for {abi}; are the mirror's packages of one version?")
    return common


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    yield from ((str(path.relative_to(folder)), path) for path in sorted(folder.rglob("*")) if path.is_file())


def _module_files(root: Path) -> Iterator[tuple[str, Path]]:
    for name in MODULE_FILES:
        path = root / name
        if path.is_dir():
            yield from ((f"{name}/{inside}", file) for inside, file in _files(path))
        elif path.is_file():
            yield name, path


def _manifest(order: Order, archives: Mapping[str, bytes]) -> bytes:
    described = {}
    for abi in sorted(order.abis):
        packages, wheels = fetched.recall(abi, order.cache)
        described[abi] = {
            "packages": [package._asdict() | {"path": package.path.name} for package in packages],
            "wheels": [wheel._asdict() | {"path": wheel.path.name} for wheel in wheels],
        }
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(archives.items())}
    manifest = {"format": _FORMAT, "berth": order.version, "archives": hashes, "abis": described}
    return (json.dumps(manifest, indent=1) + "\n").encode()


def _check_size(abi: str, size: int) -> None:
    print(f"==> {abi}: {size / 1e6:.2f} MB in the zip", flush=True)
    if size > LIMIT:
        raise PackingError(f"{abi} takes {size} bytes in the zip, more than {LIMIT}; leave more out in contents.py")


if __name__ == "__main__":
    try:
        root, cache, target = map(Path, sys.argv[1:4])
        assemble(Order(root, cache, target, sys.argv[4], sys.argv[5:]))
    except PackingError as error:
        sys.exit(f"==> {error}")
