"""Makes the zip from what was fetched.  Run by Debian 13's Python, so that every byte is made by the same tools.

python3 -m packing.assemble ORDER
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from packing import archive, fetched, front_end
from packing.elf import is_elf
from packing.errors import PackingError
from packing.order import Order, from_word
from packing.tree import files, make_tree

LIMIT: Final = 12_000_000  # bytes of the zip for one ABI
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
)
_FORMAT: Final = 1  # of manifest.json


def assemble(order: Order) -> None:
    """Make the zip; the trees it was made of stay in the cache, as tree/ABI."""
    trees = {abi: make_tree(order, abi) for abi in sorted(order.abis)}
    merge_licences(trees.values())
    parts = {"common": _common_files(trees)}
    parts |= {abi: {name: path for name, path in files(tree) if is_elf(path)} for abi, tree in trees.items()}
    with ThreadPoolExecutor() as threads:  # lzma runs without the interpreter's lock
        packed = dict(zip(parts, threads.map(archive.tar_xz, parts.values()), strict=True))
    archives = {f"{name}.tar.xz": content for name, content in packed.items()}
    loose = {name: path.read_bytes() for name, path in _module_files(order)}
    loose["licenses.json"] = parts["common"]["licenses.json"].read_bytes()
    loose["manifest.json"] = _manifest(order, archives)
    if order.releases:
        loose["module.prop"] += f"updateJson={order.releases}/update.json\n".encode()
        order.target.with_name("update.json").write_text(update_json(order, loose["module.prop"].decode()))
    archive.write_zip(order.target, archives | loose)
    for abi in trees:
        _check_size(abi, order.target, sum(len(packed[other]) for other in trees if other != abi))


def merge_licences(trees: Iterable[Path]) -> None:
    """Have each of `trees` list what is in any: Debian's updates do not reach all processors on the same day."""
    lists = [tree / "licenses.json" for tree in trees]
    every = [licence for path in lists for licence in json.loads(path.read_text())]
    merged = list({json.dumps(licence): licence for licence in every}.values())
    for path in lists:
        path.write_text(json.dumps(merged, indent=1) + "\n")


def update_json(order: Order, module_prop: str) -> str:
    """Return the text of what root managers read to find the zip of `order` as an update (updateJson)."""
    properties = dict(line.split("=", 1) for line in module_prop.splitlines())
    update = {
        "version": properties["version"],
        "versionCode": int(properties["versionCode"]),
        "zipUrl": f"{order.releases}/berth-{order.version}.zip",
        "changelog": f"{order.releases}/CHANGELOG.md",
    }
    return json.dumps(update, indent=1) + "\n"


def _common_files(trees: Mapping[str, Path]) -> dict[str, Path]:
    """Return the files that are no programs, by their name; raise PackingError where they differ between ABIs."""
    common: dict[str, Path] = {}
    for abi, tree in trees.items():
        for name, path in files(tree):
            if is_elf(path):
                continue
            if common.setdefault(name, path).read_bytes() != path.read_bytes():
                raise PackingError(f"{name} is not the same for {abi}; are the mirror's packages of one version?")
    return common


def _module_files(order: Order) -> Iterator[tuple[str, Path]]:
    page = order.cache / "webroot"
    shutil.rmtree(page, ignore_errors=True)
    shutil.copytree(
        order.root / "webroot", page, ignore=shutil.ignore_patterns("packages.lock", "made-from", "locales")
    )
    front_end.pack(page)
    yield from ((f"webroot/{inside}", file) for inside, file in files(page))
    for name in MODULE_FILES:
        path = order.root / name
        if path.is_dir():
            yield from ((f"{name}/{inside}", file) for inside, file in files(path))
        elif path.is_file():
            yield name, path


def _manifest(order: Order, archives: Mapping[str, bytes]) -> bytes:
    described = {}
    for abi in sorted(order.abis):
        got = fetched.recall(abi, order.lock, order.cache)._asdict()
        described[abi] = {
            kind: [one._asdict() | {"path": one.path.name} for one in found] for kind, found in got.items() if found
        }
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(archives.items())}
    manifest = {"format": _FORMAT, "berth": order.version, "archives": hashes, "abis": described}
    return (json.dumps(manifest, indent=1) + "\n").encode()


def _check_size(abi: str, target: Path, of_others: int) -> None:
    """Tell how large the zip at `target` is without the bytes `of_others`; throw it away when that is too large."""
    size = target.stat().st_size - of_others
    print(f"==> {abi}: {size / 1e6:.2f} MB in the zip", flush=True)
    if size > LIMIT:
        target.unlink()
        raise PackingError(f"{abi} takes {size} bytes in the zip, more than {LIMIT}; leave more out in contents.py")


if __name__ == "__main__":
    try:
        assemble(from_word(sys.argv[1]))
    except PackingError as error:
        sys.exit(f"==> {error}")
