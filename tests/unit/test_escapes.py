"""What a container wrote can't give commands to the terminal that it is shown on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.cli.escapes import Neutraliser, one_line

SGR = "\x1b[0m"


def shown(*pieces: bytes) -> str:
    neutral = Neutraliser()
    return "".join(neutral.feed(piece) for piece in pieces) + neutral.finish()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"plain\ttext\n", "plain\ttext\n"),
        (b"one\r\ntwo\r\r\n", "one\ntwo\n"),
        (b"10%\r20%\n", "10%\n20%\n"),
        ("grün, 한국어, 👩‍💻\n".encode(), "grün, 한국어, 👩‍💻\n"),
        (b"\x1b[2J\x1b[1;1Hgone", "gone"),  # erase the screen
        (b"\x1b]0;title\x07text", "text"),  # retitle the window
        (b"\x1b]52;c;cm0gLXJmIC8=\x1b\\text", "text"),  # fill the clipboard
        (b'\x1bP$q"p\x1b\\text', "text"),  # make the terminal answer
        (b"\x1b[6n\x1b[ctext", "text"),
        (b"\x1b[?1049h\x1b(0\x1bctext", "text"),
        (b"a\x08\x07\x00\x7f", "a^H^G^@^?"),
        ("\x9b31mtext \u202egnp.exe".encode(), "\ufffd31mtext \ufffdgnp.exe"),
        (b"\x9b2J", "\ufffd2J"),  # no UTF-8
        (b"\x1b]0;no end\nthe next line", "\nthe next line"),  # nothing can hide all that follows
        (b"ends with \x1b", "ends with ^["),
    ],
)
def test_only_text_gets_through(said: bytes, told: str) -> None:
    assert shown(said) == told


def test_colours_get_through_and_end_with_the_output() -> None:
    assert shown(b"\x1b[1;31mred\x1b[38;5;120m") == "\x1b[1;31mred\x1b[38;5;120m" + SGR


@given(st.binary(max_size=200))
def test_whatever_is_said_no_command_is_left(said: bytes) -> None:
    told = shown(said)
    for piece in told.split("\x1b")[1:]:
        parameters, m, _ = piece.removeprefix("[").partition("m")
        assert piece.startswith("[")
        assert m
        assert set(parameters) <= set("0123456789:;")
    assert not set(told.replace("\x1b", "")) & {chr(code) for code in (*range(9), *range(11, 32), *range(127, 160))}


@given(
    st.lists(st.sampled_from([b"\x1b", b"[", b"]", b"3", b"m", b";", b"\x07", b"\n", b"\r", b"a", b"\xc3", b"\xa9"]))
)
def test_it_does_not_matter_how_the_bytes_are_cut(pieces: list[bytes]) -> None:
    assert shown(*pieces) == shown(b"".join(pieces))


def test_an_endless_sequence_is_not_kept_forever() -> None:
    neutral = Neutraliser()
    told = "".join(neutral.feed(b"\x1b]" + b"x" * 1000 if n == 0 else b"x" * 1000) for n in range(10))
    assert "x" in told


def test_a_sentence_stays_on_one_line() -> None:
    assert one_line("bad\nname\x1b[2J\u202e") == "bad^Jname^[[2J\ufffd"
