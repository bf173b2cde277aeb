"""Looking for a newer version: what is told of it, whom is trusted, and how a phone finds the host."""

import json
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.android.download import fetch
from berth.android.lookup import addresses_of, answers, question
from berth.android.module import read_properties
from berth.android.updates import judge
from berth.errors import BerthError
from tests.publisher import PUBLISHED, make_certificate, publishing


def told(**changes: object) -> bytes:
    return json.dumps({**PUBLISHED, **changes}).encode()


def test_only_a_higher_number_is_a_newer_version() -> None:
    assert judge({"versionCode": "100"}, told()).newer
    assert not judge({"versionCode": "90909"}, told()).newer
    assert not judge({"versionCode": "90910"}, told()).newer
    assert not judge({}, told()).newer


def test_a_link_that_is_no_https_is_not_shown() -> None:
    answer = judge({"versionCode": "100"}, told(zipUrl="javascript:alert(1)", changelog="http://example.org/"))
    assert (answer.zip, answer.changelog) == ("", "")


@pytest.mark.parametrize("data", [b"", b"<html>", b"[]", b'{"version":"v1"}'])
def test_what_is_no_announcement_is_refused_in_a_sentence(data: bytes) -> None:
    with pytest.raises(BerthError, match="tells of no version"):
        judge({"versionCode": "100"}, data)


def test_the_module_says_where_to_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BERTH_MODULE", raising=False)
    assert read_properties() == {}
    monkeypatch.setenv("BERTH_MODULE", str(tmp_path))
    (tmp_path / "module.prop").write_text("id=berth\nversionCode=100\nupdateJson=https://example.org/u?a=b\n")
    assert read_properties()["updateJson"] == "https://example.org/u?a=b"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost and its key."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def published(certificate: tuple[Path, Path]) -> Iterator[str]:
    with publishing(certificate) as site:
        yield site.address


def test_an_announcement_is_fetched_from_whom_the_device_trusts(published: str, certificate: tuple[Path, Path]) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    assert json.loads(fetch(f"{published}/update.json", trusting)) == PUBLISHED
    assert json.loads(fetch(f"{published}/moved", trusting)) == PUBLISHED
    for path, why in (("round", "one address leads"), ("plain", "https://"), ("nothing", "answers 404")):
        with pytest.raises(BerthError, match=why):
            fetch(f"{published}/{path}", trusting)
    with pytest.raises(BerthError, match="certificate verify failed"):
        fetch(f"{published}/update.json", ssl.create_default_context())


def test_the_phones_name_server_is_asked() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            data, asker = server.recvfrom(4096)
            number = data[:2]
            alias = b"\xc0\x0c" + struct.pack("!HHIH", 5, 1, 60, 2) + b"\xc0\x0c"
            address = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + bytes([192, 0, 2, 7])
            server.sendto(number + struct.pack("!HHHHH", 0x8180, 1, 2, 0, 0) + data[12:] + alias + address, asker)

        thread = threading.Thread(target=serve)
        thread.start()
        assert addresses_of("updates.example", ("127.0.0.1",), server.getsockname()[1]) == ("192.0.2.7",)
        thread.join()


def test_an_answer_that_is_cut_or_anothers_has_no_address() -> None:
    asked = question("example.org", 7)
    for data in (b"", asked, asked[:14], b"\0\x07" + struct.pack("!HHHHH", 0x8180, 1, 9, 0, 0) + asked[12:] + b"\xc0"):
        assert answers(data, 7) == ()
    assert answers(asked, 8) == ()
