"""What a tinkerer gives as a root file system and is none: the sentence says what it is."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from berth.engine.execute import ExecError
from berth.engine.launch import read_folder
from berth.errors import BerthError
from berth.storage.kinds import way_out

TEXT = b"one line\n" * 200


def tarred() -> bytes:
    kept = io.BytesIO()
    with tarfile.open(fileobj=kept, mode="w") as archive:
        archive.add("/etc/passwd")
    return kept.getvalue()


def zipped() -> bytes:
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w") as archive:
        archive.writestr("etc/passwd", TEXT)
    return kept.getvalue()


MADE: dict[str, Callable[[], bytes]] = {
    "a tar archive": tarred,
    "compressed by gzip": lambda: gzip.compress(tarred()),
    "compressed by xz": lambda: lzma.compress(tarred()),
    "compressed by bzip2": lambda: bz2.compress(tarred()),
    "a zip archive": zipped,
    "a whole disk with partitions": lambda: bytes(512) + b"EFI PART" + bytes(504),
}


@pytest.mark.parametrize("what", MADE)
def test_what_is_known_is_named(what: str) -> None:
    assert way_out(MADE[what]()[:1024]).startswith(f"it is {what}; ")


@pytest.mark.parametrize("head", [b"", b"x", TEXT, bytes(1024)])
def test_of_anything_else_the_usual_is_said(head: bytes) -> None:
    assert way_out(head) == 'make one with "mkfs.ext4"'


def test_an_archive_given_as_a_folder_is_named_too(tmp_path: Path) -> None:
    (tmp_path / "rootfs.tar.gz").write_bytes(gzip.compress(tarred()))
    with pytest.raises(BerthError, match=r"is not a folder; it is compressed by gzip; unpack it first"):
        read_folder(str(tmp_path / "rootfs.tar.gz"), "/sbin/init")
    (tmp_path / "some.img").write_bytes(TEXT)
    with pytest.raises(BerthError, match="is not a folder; for an image file use"):
        read_folder(str(tmp_path / "some.img"), "/sbin/init")


@pytest.mark.parametrize(
    ("number", "code", "advice"),
    [
        (2, 127, "its loader"),
        (13, 126, "its mode"),
        (8, 126, "another kind of processor"),
        (40, 126, "the name and its mode"),
    ],
)
def test_why_a_program_could_not_be_executed_is_told(number: int, code: int, advice: str) -> None:
    error = ExecError("/sbin/init", number)
    assert advice in str(error)
    assert error.exit_code == code
