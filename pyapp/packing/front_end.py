"""The packages of the dashboard: fetched by locked hash, copied to `webroot/vendor/`.

`webroot/` is plain ES modules and needs no bundler, but packages on a registry import each other by bare names
("preact"), which a browser resolves only by an import map, and `script-src 'self'` refuses those.  So the few files
that are needed lie flat beside each other and their imports become relative.  Standard library only, as build.py.
"""

import base64
import gzip
import hashlib
import json
import re
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from packing.errors import PackingError

COMPRESSED = {".css", ".html", ".js", ".json", ".svg"}
FEWEST_BYTES = 512  # below this a compressed file saves nothing


class Part(NamedTuple):
    """One file that the page uses: where it is in its package, and the bare name that others import it by."""

    package: str
    member: str
    imported_as: str = ""
    export: str = ""  # for a classic script: the variable that becomes the module's default export


PARTS = {
    "preact.js": Part("preact", "dist/preact.mjs", "preact"),
    "hooks.js": Part("preact", "hooks/dist/hooks.mjs", "preact/hooks"),
    "htm.js": Part("htm", "dist/htm.mjs", "htm"),
    "signals-core.js": Part("@preact/signals-core", "dist/signals-core.mjs", "@preact/signals-core"),
    "signals.js": Part("@preact/signals", "dist/signals.mjs", "@preact/signals"),
    "uplot.js": Part("uplot", "dist/uPlot.iife.min.js", export="uPlot"),  # there is no small ES module of it
    "uplot.css": Part("uplot", "dist/uPlot.min.css"),
    "xterm.js": Part("@xterm/xterm", "lib/xterm.mjs", "@xterm/xterm"),
    "xterm.css": Part("@xterm/xterm", "css/xterm.css"),
    "xterm-fit.js": Part("@xterm/addon-fit", "lib/addon-fit.mjs"),
}


def is_fetched(webroot: Path, cache: Path) -> bool:
    """Tell whether all the packages are there, so that `make` needs no npm."""
    locked = read_lock(webroot / "packages.lock")
    return all(_archive(name, version, cache).is_file() for name, (version, _) in locked.items())


def make(webroot: Path, cache: Path) -> bool:
    """Make `webroot/vendor/` what packages.lock and the catalogues say; return whether anything was fetched or copied.

    Raises PackingError where npm can't fetch a package or its hash is not the locked one.
    """
    vendor, stamp, lock = webroot / "vendor", webroot / "vendor" / "made-from", webroot / "packages.lock"
    identity = hashlib.sha256(lock.read_bytes() + Path(__file__).read_bytes()).hexdigest()
    vendor.mkdir(exist_ok=True)
    (vendor / "languages.json").write_text(json.dumps(languages(webroot / "locales"), ensure_ascii=False))
    write_words(webroot)
    if stamp.is_file() and stamp.read_text() == identity:
        return False
    locked = read_lock(lock)
    members = {name: read_package(fetched(name, *entry, cache)) for name, entry in locked.items()}
    for name, part in PARTS.items():
        (vendor / name).write_text(as_module(part, members[part.package][part.member]), encoding="utf-8")
    (vendor / "licences.json").write_text(json.dumps(licences(locked, members)))
    stamp.write_text(identity)
    return True


def read_lock(lock: Path) -> dict[str, tuple[str, str]]:
    """Return version and integrity ("sha512-BASE64") by package from lines of these three words."""
    lines = [line.split() for line in lock.read_text().splitlines() if line and not line.startswith("#")]
    return {name: (version, integrity) for name, version, integrity in lines}


def languages(locales: Path) -> dict[str, str]:
    """Return what each language calls itself, by the name of its catalogue: a new file there is a new language."""
    return {path.stem: json.loads(path.read_text("utf-8"))["language"] for path in sorted(locales.glob("*.json"))}


def write_words(webroot: Path) -> None:
    """Write each catalogue to `webroot/vendor/words/`, in two files: what the first view says, and the rest.

    What a catalogue lacks is taken from the English one.
    """
    folder = webroot / "vendor" / "words"
    folder.mkdir(exist_ok=True)
    english = _read_catalogue(webroot / "locales" / "en.json")
    scripts = [module.read_text("utf-8") for module in sorted(imported(webroot / "main.js"))]
    first = {key for text in scripts for key in spoken(text, english)}
    for path in sorted((webroot / "locales").glob("*.json")):
        own = _read_catalogue(path)
        words = own | {key: text for key, text in english.items() if key.removesuffix(".one") not in own}
        parts = {"first": words.keys() & first, "later": words.keys() - first}
        for part, keys in parts.items():
            told = json.dumps({key: words[key] for key in words if key in keys}, ensure_ascii=False)
            (folder / f"{path.stem}.{part}.json").write_text(told, encoding="utf-8")


def _read_catalogue(path: Path) -> dict[str, str]:
    words: dict[str, str] = json.loads(path.read_text("utf-8"))
    return words


def imported(module: Path) -> set[Path]:
    """Return `module` and all that it imports at once, which leaves out what it imports later."""
    found: set[Path] = set()
    waiting = [module.resolve()]
    while waiting:
        path = waiting.pop()
        if path not in found and path.is_file():
            found.add(path)
            names = re.findall(r"\b(?:from|import)\s*[\"'](\.[^\"']+)[\"']", path.read_text("utf-8"))
            waiting += [(path.parent / name).resolve() for name in names]
    return found


def spoken(script: str, keys: Iterable[str]) -> set[str]:
    """Return which of `keys` a script may say: those that it quotes, and all that begin as a template of it does."""
    begun = tuple(re.findall(r"`([\w.]+\.)\$\{", script))
    quoted = set(re.findall(r"[\"`]([\w.]+)[\"`]", script))
    return {key for key in keys if key.startswith(begun) or key.removesuffix(".one") in quoted}


def fetched(name: str, version: str, integrity: str, cache: Path) -> Path:
    """Return the archive of a package, which npm fetches unless it is in `cache`; its hash is checked in any case."""
    cache.mkdir(parents=True, exist_ok=True)
    archive = _archive(name, version, cache)
    if not archive.is_file():
        command = ["npm", "pack", "--silent", "--ignore-scripts", f"{name}@{version}"]
        try:
            failed = subprocess.run(command, check=False, cwd=cache, stdout=subprocess.DEVNULL).returncode
        except FileNotFoundError:
            raise PackingError("npm is not installed; install Debian's npm and run this again") from None
        if failed or not archive.is_file():
            raise PackingError(f"npm could not fetch {name} {version}; see its message above, check the network")
    digest = hashlib.sha512(archive.read_bytes()).digest()
    if f"sha512-{base64.b64encode(digest).decode()}" != integrity:
        archive.unlink()
        raise PackingError(f"{name} {version} is not what the lock file says (its hash differs), and was thrown away")
    return archive


def _archive(name: str, version: str, cache: Path) -> Path:
    """Return where npm puts a package."""
    return cache / f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"


def read_package(archive: Path) -> dict[str, str]:
    """Return the text of the parts and of the licence in `archive` by path; nothing is unpacked."""
    wanted = {part.member for part in PARTS.values()} | {"LICENSE", "package.json"}
    found: dict[str, str] = {}
    with tarfile.open(archive) as package:
        for member in package:
            path = member.name.partition("/")[2]
            if path in wanted and (file := package.extractfile(member)):
                found[path] = file.read().decode()
    return found


def licences(locked: dict[str, tuple[str, str]], members: dict[str, dict[str, str]]) -> list[dict[str, str]]:
    """Return name, version, the licence's short name and its text, for the page's About."""
    return [
        {
            "name": name,
            "version": version,
            "licence": json.loads(members[name]["package.json"])["license"],
            "text": members[name].get("LICENSE", ""),
        }
        for name, (version, _) in locked.items()
    ]


def as_module(part: Part, text: str) -> str:
    """Return `text` as the page can load it: relative imports, no source map, a default export for a classic script."""
    text = re.sub(r"\n?(//# sourceMappingURL=.*|/\*# sourceMappingURL=.*?\*/)", "", text)
    if part.export:
        text += f"\nexport default {part.export};\n"
    neighbours = {other.imported_as: name for name, other in PARTS.items() if other.imported_as}
    return re.sub(
        r"(\b(?:from|import)\s*)([\"'])([@\w/.-]+)\2",
        lambda found: f'{found[1]}"./{neighbours[found[3]]}"' if found[3] in neighbours else found[0],
        text,
    )


def files(webroot: Path) -> Iterator[Path]:
    """Yield the files that a browser may ask for."""
    yield from (path for path in sorted(webroot.rglob("*")) if path.is_file() and path.suffix in COMPRESSED)


def pack(webroot: Path) -> None:
    """Make a copy of `webroot` ready to be served: small, and with FILE.gz beside FILE where that saves something.

    The same files give the same bytes every time.
    """
    for path in files(webroot):
        content = packed(path)
        path.write_bytes(content)
        if len(content) >= FEWEST_BYTES:
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(content, 9, mtime=0))


def packed(path: Path) -> bytes:
    """Return what a browser gets of a file: no comments, in our own no indentation either, JSON without spaces."""
    if path.suffix == ".json":
        return json.dumps(json.loads(path.read_bytes()), ensure_ascii=False, separators=(",", ":")).encode()
    if path.suffix not in (".css", ".js"):
        return path.read_bytes()
    text = without_comments(path.read_text("utf-8"))
    return (text if path.parent.name == "vendor" else re.sub(r"^[ \t]+", "", text, flags=re.MULTILINE)).encode()


def without_comments(text: str) -> str:
    """Return a script or style sheet without the comments that have lines of their own; no other line is touched."""
    return re.sub(r"^[ \t]*(?:/\*.*?\*/|//[^\n]*)[ \t]*\n", "", text, flags=re.MULTILINE | re.DOTALL)
