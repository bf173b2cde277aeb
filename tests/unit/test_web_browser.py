"""Android's default browser, found and opened by Android's own tools; here they are scripts that answer as those do."""

from pathlib import Path

import pytest

from berth.errors import BerthError
from berth.web.browser import Browser, default_browser, open_link, packages_of

RESOLVED = "priority=0 preferredOrder=0 match=0x208000 specificIndex=-1 isDefault=true"
PACKAGES = "package:org.example.browser.beta uid:10200\npackage:org.example.browser uid:10123"


def tools(folder: Path, resolved: str, packages: str = PACKAGES) -> str:
    """Tools that answer so, and write down what they were called with."""
    for name, text in (("resolved", resolved), ("packages", packages)):
        (folder / name).write_text(text)
    cmd = f'#!/bin/sh\ncase "$2" in resolve-activity) cat {folder}/resolved;; list) cat {folder}/packages;; esac\n'
    am = f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {folder}/called\n"
    for name, script in (("cmd", cmd), ("am", am)):
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    return str(folder)


def test_the_default_browser_is_told_with_its_own_uid(tmp_path: Path) -> None:
    folder = tools(tmp_path, f"{RESOLVED}\norg.example.browser/.Main\n")
    assert default_browser(folder) == Browser("org.example.browser", 10123)


CHOOSER = "android/com.android.internal.app.ResolverActivity"


@pytest.mark.parametrize("resolved", ["No activity found", f"{RESOLVED}\n{CHOOSER}", ""])
def test_without_a_default_browser_the_sentence_says_what_to_do(tmp_path: Path, resolved: str) -> None:
    with pytest.raises(BerthError, match="choose it in Android's settings"):
        default_browser(tools(tmp_path, resolved))


def test_a_browser_whose_uid_is_not_told_is_not_guessed(tmp_path: Path) -> None:
    folder = tools(tmp_path, f"{RESOLVED}\norg.example.browser/.Main", "package:org.example.browser.beta uid:10200")
    with pytest.raises(BerthError, match=r"uid of org\.example\.browser"):
        default_browser(folder)


def test_packages_are_told_by_uid_even_where_several_share_one(tmp_path: Path) -> None:
    shared = "package:org.example.one uid:10200\npackage:org.example.two uid:10200\npackage:other uid:10123,1010123"
    folder = tools(tmp_path, "", shared)
    assert packages_of((10200, 1010123, 0), folder) == {
        10200: ("org.example.one", "org.example.two"),
        1010123: ("other",),
    }


def test_the_link_goes_to_that_browser_only_and_is_one_word(tmp_path: Path) -> None:
    folder, url = tools(tmp_path, ""), "http://127.0.0.1:7575/#ticket=a$(id);b c"
    open_link(Browser("org.example.browser", 10123), url, folder)
    words = (tmp_path / "called").read_text().splitlines()
    assert words[words.index("-p") + 1] == "org.example.browser"
    assert words[words.index("-d") + 1] == url


def test_a_failure_does_not_tell_the_ticket(tmp_path: Path) -> None:
    folder = tools(tmp_path, "")
    (tmp_path / "am").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(BerthError) as failed:
        open_link(Browser("org.example.browser", 10123), "http://127.0.0.1:7575/#ticket=secret", folder)
    assert "secret" not in str(failed.value)
