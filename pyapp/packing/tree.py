"""Makes the folder that a phone will have, without the scripts: runtime, program, licences.  Run by Debian 13's Python.

python3 -m packing.tree ORDER      makes only this, at CACHE/tree/ABI
"""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from packing import archive, bytecode, compiled, compiler, fetched, licences, runtime, workshop
from packing.abi import ABIS
from packing.elf import Patchelf
from packing.order import Order, from_word


def make_tree(order: Order, abi: str) -> Path:
    """Make what the module's folder holds for `abi` beside the loose files, and return where."""
    tree = order.cache / "tree" / abi
    shutil.rmtree(tree, ignore_errors=True)
    packages, wheels, sources, tools = fetched.recall(abi, order.lock, order.cache)
    libraries = compiled.make(sources, compiler.existing(ABIS[abi], order.cache), tools, order.cache)
    unpacked = fetched.unpacked(abi, order.cache)
    patchelf = Patchelf(workshop.existing(order.cache).command("usr/bin/patchelf"))
    unpackable = [wheel.path for wheel in wheels]
    runtime.make(unpacked, unpackable, ABIS[abi], patchelf, tree / "runtime", compiled=libraries)
    _copy_program(order.root / "pyapp", tree)
    found = [licences.of_ourselves(order.root / "LICENSE", order.version, tree)]
    found += [licences.of_package(package, unpacked, tree) for package in packages]
    found += [licences.of_wheel(wheel, tree) for wheel in wheels]
    page = order.root / "webroot/vendor/licences.json"
    if page.is_file():
        found += licences.of_page(page, tree)
    (tree / "licenses.json").write_text(json.dumps([licence._asdict() for licence in found], indent=1) + "\n")
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


def files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files below `folder` in order, each with its path in it."""
    yield from ((str(path.relative_to(folder)), path) for path in sorted(folder.rglob("*")) if path.is_file())


if __name__ == "__main__":
    order = from_word(sys.argv[1])
    for abi in order.abis:
        make_tree(order, abi)
