"""The page's files: small enough, complete in every language, and without anything that would run hostile text."""

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import build
from berth.cli.table import FSCK_POLICIES, NETWORKS, PRIVILEGES, START, WAKELOCK_POLICIES
from berth.spec import Spec
from packing import front_end

KB = 1000
CATALOGUES = sorted((build.WEBROOT / "locales").glob("*.json"))
OWN = [path for path in front_end.files(build.WEBROOT) if "vendor" not in path.parts]
SCRIPTS = [path for path in OWN if path.suffix == ".js"]


@pytest.fixture(scope="module", autouse=True)
def packages() -> None:
    build.make_dashboard()


def weight(paths: set[Path] | list[Path]) -> int:
    """The bytes that go over the wire."""
    return sum(len(gzip.compress(front_end.packed(path), 9)) for path in paths)


@pytest.mark.parametrize("language", [path.stem for path in CATALOGUES])
def test_the_first_view_is_light(language: str) -> None:
    words = ("vendor/languages.json", f"vendor/words/{language}.first.json")
    beside = ("index.html", "tokens.css", "style.css", "icon.svg", *words)

    assert weight(front_end.imported(build.WEBROOT / "main.js") | {build.WEBROOT / name for name in beside}) < 40 * KB


def test_our_own_part_is_light() -> None:
    assert weight(OWN) < 80 * KB


def test_all_of_the_page_is_light() -> None:
    spoken = [path for path in OWN if path.parent.name != "locales" or path.stem == "en"]  # one language at a time
    packages = [build.WEBROOT / "vendor" / name for name in front_end.PARTS]

    assert weight([*spoken, *packages]) < 210 * KB


def test_a_packed_page_is_compressed_and_has_lost_its_comments_and_indentation_only(tmp_path: Path) -> None:
    code = f"const text = '{'x' * front_end.FEWEST_BYTES} // no comment'; // kept\n"
    (tmp_path / "a.js").write_text(f"/** Gone,\n * all of it. */\n  {code}  // gone\n")
    (tmp_path / "tiny.js").write_text("1")

    front_end.pack(tmp_path)

    assert (tmp_path / "a.js").read_text() == code
    assert gzip.decompress((tmp_path / "a.js.gz").read_bytes()).decode() == code
    assert not (tmp_path / "tiny.js.gz").exists()


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda path: path.stem)
def test_a_catalogue_has_all_words_and_keeps_their_placeholders(catalogue: Path) -> None:
    english = json.loads((build.WEBROOT / "locales" / "en.json").read_text("utf-8"))
    words = json.loads(catalogue.read_text("utf-8"))

    assert {key for key in english if not key.endswith(".one")} <= words.keys() <= english.keys()
    for key, sentence in words.items():
        assert set(re.findall(r"{\w+}", sentence)) == set(re.findall(r"{\w+}", english[key])), key


def test_a_new_file_is_a_new_language_and_lacks_nothing(tmp_path: Path) -> None:
    (tmp_path / "locales").mkdir()
    (tmp_path / "vendor").mkdir()
    (tmp_path / "main.js").write_text('import "./card.js";\nconst later = () => import("./more.js");\n')
    (tmp_path / "card.js").write_text('t(on ? "yes" : "no"); t(`state.${one}`, { count });\n')
    (tmp_path / "more.js").write_text('t("more.words");\n')
    english = {
        "language": "English",
        "yes": "Yes",
        "no": "No",
        "state.on": "on",
        "state.on.one": "1 on",
        "more.words": "x",
    }
    for name, words in (
        ("en", english),
        ("fr", {"language": "Français", "yes": "Oui", "state.on": "{count} en marche"}),
    ):
        (tmp_path / "locales" / f"{name}.json").write_text(json.dumps(words))

    front_end.write_words(tmp_path)

    told = {path.name: json.loads(path.read_text("utf-8")) for path in (tmp_path / "vendor" / "words").iterdir()}
    assert front_end.languages(tmp_path / "locales") == {"en": "English", "fr": "Français"}
    assert told["fr.first.json"] == {"yes": "Oui", "state.on": "{count} en marche", "no": "No"}
    assert told["fr.later.json"] == {"language": "Français", "more.words": "x"}
    assert told["en.first.json"] == {key: english[key] for key in ("yes", "no", "state.on", "state.on.one")}


def test_the_page_speaks_only_words_that_the_catalogue_has() -> None:
    english = json.loads((build.WEBROOT / "locales" / "en.json").read_text("utf-8"))

    used = {key for path in SCRIPTS for key in re.findall(r"\bt\(\s*\"([\w.]+)\"", path.read_text("utf-8"))}

    assert used - english.keys() == set()


def test_every_option_of_a_container_is_in_the_form() -> None:
    table = (build.WEBROOT / "spec.js").read_text("utf-8")
    asked_elsewhere = {"version", "name", "rootfs", "image", "extra"}

    assert set(Spec.__struct_fields__) - asked_elsewhere <= set(re.findall(r"key: \"(\w+)\"", table))


# Flags of "start" that ask for nothing of a container's own, or for what the form asks in another way.
ELSEWHERE = {
    "name": "create.js",
    "rootfs": "create.js: where its files are",
    "rootfs-img": "create.js: where its files are",
    "volatile": "create.js: for the first start only",
    "volatile-size": "create.js: for the first start only",
    "lan": "one of the choices of net",
    "env-file": "from_file.js: read into env",
    "conf": "from_file.js: read into the form",
    "reset": "what is left empty is forgotten",
    "foreground": "the console's tab",
    "yes": "a dialog of its own",
    "json": "for programs",
}
OTHER_KEYS = {"bind-mount": "binds", "port": "ports", "hook": "hooks"}  # of a flag that is given once for each


def test_every_option_of_the_command_line_is_in_the_form_with_a_sentence() -> None:
    table, create = ((build.WEBROOT / name).read_text("utf-8") for name in ("spec.js", "pages/create.js"))
    english = json.loads((build.WEBROOT / "locales" / "en.json").read_text("utf-8"))
    keys = {flag.name: OTHER_KEYS.get(flag.name, flag.name.replace("-", "_")) for flag in START}
    offered = {keys[name] for name in keys.keys() - ELSEWHERE.keys()}

    assert ELSEWHERE.keys() <= keys.keys()
    assert offered <= set(re.findall(r"key: \"(\w+)\"", table))
    assert {key for key in (*offered, "volatile", "volatile_size") if f"option.{key}.help" not in english} == set()
    assert {"volatile", "volatile_size"} <= set(re.findall(r"\w+", create))


def test_every_choice_of_the_command_line_is_in_the_form() -> None:
    table = (build.WEBROOT / "spec.js").read_text("utf-8")
    offered = {
        tuple(re.findall(r"[\w-]+", words)) for words in re.findall(r"(?:choices: |PRIVILEGES = )\[(.*?)\]", table)
    }

    assert offered == {NETWORKS, FSCK_POLICIES, WAKELOCK_POLICIES, PRIVILEGES}


def test_a_page_that_a_manager_serves_without_headers_has_a_strict_policy_of_its_own() -> None:
    page = (build.WEBROOT / "index.html").read_text("utf-8")
    found = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)"', page)

    assert found is not None
    rules = {name: set(sources) for name, *sources in (rule.split() for rule in found[1].split(";"))}
    assert rules["default-src"] == {"'none'"}
    assert rules["script-src"] == {"'self'"}
    assert rules["connect-src"] == {"'self'", "http://127.0.0.1:*"}
    assert page.index(found[0]) < page.index("<link") < page.index("<script")  # what stands before it is not judged


def dangerous_words() -> Iterator[str]:
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "dangerouslySetInnerHTML", "eval("):
        yield from (f"{path.name}: {word}" for path in SCRIPTS if word in path.read_text("utf-8"))


def test_text_never_becomes_markup_or_code() -> None:
    assert list(dangerous_words()) == []


def test_the_page_loads_nothing_from_elsewhere() -> None:
    allowed = {"http://127.0.0.1", "http://www.w3.org/2000/svg"}
    found = {address for path in OWN for address in re.findall(r"https?://[\w./-]*[\w/]", path.read_text("utf-8"))}

    assert {address for address in found if not address.startswith(tuple(allowed))} == set()
