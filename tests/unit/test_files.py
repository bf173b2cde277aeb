"""Small files by bare system calls: whole, whatever their size, and never made."""

from pathlib import Path

import pytest

from berth.kernel.files import read_file, write_file


@pytest.mark.parametrize("size", [0, 1, 16383, 16384, 16385, 100_000])
def test_a_file_of_any_size_is_read_whole(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(number % 251 for number in range(size)))

    assert read_file(str(path)) == path.read_bytes()


def test_writing_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_file(str(tmp_path / "oom_score_adj"), b"0")

    assert list(tmp_path.iterdir()) == []
