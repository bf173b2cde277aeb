"""What is told fits a phone: tables, wrapped lines, sizes and times."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.amounts import duration, size
from berth.cli.layout import PHONE, Column, columns_of, shortened, table, wrapped
from berth.cli.report import LIST_COLUMNS, SHOW_COLUMNS

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
STATES = st.sampled_from(("stopped", "starting", "running", "stuck", "unattended", "crashed"))
PATHS = st.text(st.characters(categories=("L", "N", "P")), max_size=200).map(lambda text: f"/{text}")
SECONDS = st.floats(0, 10 * 365 * 86400)


@given(st.lists(st.tuples(NAMES, STATES, PATHS), max_size=5))
def test_a_list_of_any_containers_fits_a_phone(rows: list[tuple[str, str, str]]) -> None:
    assert all(columns_of(line) <= PHONE for line in table(LIST_COLUMNS, rows, PHONE))


@given(
    st.lists(
        st.tuples(
            NAMES,
            st.integers(1, 1 << 22).map(str),
            SECONDS.map(duration),
            st.integers(0, 1 << 45).map(size),
            SECONDS.map(duration),
            st.sampled_from(("host", "none", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff")),
        ),
        max_size=5,
    )
)
def test_a_table_of_what_any_containers_use_fits_a_phone(rows: list[tuple[str, ...]]) -> None:
    assert all(columns_of(line) <= PHONE for line in table(SHOW_COLUMNS, rows, PHONE))


@given(st.lists(st.tuples(NAMES, STATES, PATHS), max_size=5))
def test_a_program_that_reads_a_table_gets_every_word_whole(rows: list[tuple[str, str, str]]) -> None:
    lines = table(LIST_COLUMNS, rows, None)[1:]
    assert [line.split()[:2] for line in lines] == [[name, state] for name, state, _ in rows]
    assert all(path in line for line, (_, _, path) in zip(lines, rows, strict=True))


def test_a_long_name_is_shortened_in_its_middle_only_where_there_is_no_room() -> None:
    name = "a-rather-long-name-of-a-container-for-testing-number-64-and-more"
    narrow = table(LIST_COLUMNS, [(name, "running", "/srv/root")], PHONE)
    assert narrow == ["NAME                             STATE", "a-rather-long-na…ber-64-and-more running"]
    wide = table(LIST_COLUMNS, [(name, "running", "/srv/root")], 100)
    assert wide[1] == f"{name}  running  /srv/root"


def test_an_optional_column_goes_before_a_name_is_cut() -> None:
    rows = [("debian", "running", "/data/local/a/rather/long/path/to/debian.img")]
    assert table(LIST_COLUMNS, rows, PHONE) == ["NAME    STATE", "debian  running"]


def test_numbers_stand_to_the_right() -> None:
    columns = (Column("NAME"), Column("PID", right=True))
    assert table(columns, [("one", "7"), ("two", "12345")], PHONE) == ["NAME    PID", "one       7", "two   12345"]


def test_east_asian_letters_are_two_columns_wide() -> None:
    columns = (Column("NAME"), Column("ROOT"))
    rows = [("a", "/한국어"), ("b", "/x")]
    assert [columns_of(line) for line in table(columns, rows, None)] == [10, 13, 8]
    assert shortened("한국어한국어", 7) == "한국…어"


@given(st.text(st.characters(categories=("L", "N"))), st.integers(1, 80))
def test_what_is_shortened_fits_and_keeps_both_ends(text: str, width: int) -> None:
    short = shortened(text, width)
    assert columns_of(short) <= width
    head, ellipsis, tail = short.partition("…")
    assert short == text or (ellipsis and text.startswith(head) and text.endswith(tail))


@given(st.lists(st.text(st.characters(categories=("L", "N")), min_size=1, max_size=30), min_size=1), st.integers(0, 8))
def test_wrapped_lines_fit_and_lose_no_word(words: list[str], hanging: int) -> None:
    text = " ".join(words)
    lines = wrapped(text, 72, 0, hanging)
    assert " ".join(lines).split() == text.split()
    assert all(columns_of(line) <= 72 for line in lines)


def test_a_word_longer_than_a_line_is_left_whole_to_be_copied() -> None:
    path = "/data/local/" + "x" * 60
    assert wrapped(f"root {path}", PHONE, 2, 4) == ["  root", f"    {path}"]


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1K"),
        (1 << 20, "1M"),
        (3 << 29, "1.5G"),
        (512 << 20, "512M"),
        ((1 << 30) - 1, "1G"),
        (10239 << 20, "10G"),
    ],
)
def test_sizes_are_told_as_the_flags_take_them(number: int, told: str) -> None:
    assert size(number) == told


@given(st.integers(0, 1 << 55))
def test_a_size_has_five_letters_at_most(number: int) -> None:
    assert len(size(number)) <= 5


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0s"), (59.9, "59s"), (63, "1m03s"), (3599, "59m59s"), (11220, "3h07m"), (90000, "1d1h"), (9e6, "104d")],
)
def test_times_are_short(seconds: float, told: str) -> None:
    assert duration(seconds) == told


@given(SECONDS)
def test_a_time_has_six_letters_at_most(seconds: float) -> None:
    assert len(duration(seconds)) <= 6
