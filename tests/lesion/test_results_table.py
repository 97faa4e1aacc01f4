"""The table of results keeps every row, also when two runs write it alternately."""

from __future__ import annotations

import errno
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest

from napari_melanoma.core.errors import InputError, SaveError
from napari_melanoma.io.results import read_table
from napari_melanoma.lesion.results import LOCK, ResultTable

COLUMNS = ("image", "status", "area_px")


def test_rows_are_sorted_and_replaced(tmp_path: Path) -> None:
    table = ResultTable(tmp_path / "t.csv", COLUMNS)
    table.set_row({"image": "b", "status": "failed"})
    table.set_row({"image": "a", "area_px": 1.5, "status": 'odd, "quoted"\nlines', "unknown": 1})
    table.set_row({"image": "b", "status": "done", "area_px": float("nan")})
    table.write()
    assert read_table(tmp_path / "t.csv") == [
        {"image": "a", "status": 'odd, "quoted"\nlines', "area_px": "1.5"},
        {"image": "b", "status": "done", "area_px": ""},
    ]
    assert len(ResultTable(tmp_path / "t.csv", COLUMNS)) == 2


def test_two_runs_keep_the_rows_of_each_other(tmp_path: Path) -> None:
    first, second = (ResultTable(tmp_path / "t.csv", COLUMNS) for _ in range(2))
    first.set_row({"image": "a", "status": "first"})
    first.write()
    second.set_row({"image": "b", "status": "second"})
    second.write()
    first.set_row({"image": "a", "status": "again"})
    first.write()
    assert {row["image"]: row["status"] for row in read_table(tmp_path / "t.csv")} == {"a": "again", "b": "second"}


def test_columns_added_in_between_are_kept(tmp_path: Path) -> None:
    table = ResultTable(tmp_path / "t.csv", COLUMNS)
    table.set_row({"image": "a", "status": "done"})
    (tmp_path / "t.csv").write_text("\ufeffimage,mine\nb,yes\n", encoding="utf-8")
    table.write()
    assert [row["mine"] for row in read_table(tmp_path / "t.csv")] == ["", "yes"]


def test_a_long_run_writes_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.1, 5.0, 12.0, 12.1])
    monkeypatch.setattr("napari_melanoma.lesion.results.time", SimpleNamespace(monotonic=lambda: next(clock)))
    table = ResultTable(tmp_path / "t.csv", COLUMNS)
    found = []
    for name in "abc":
        table.set_row({"image": name})
        table.write_periodically()
        found.append([row["image"] for row in read_table(tmp_path / "t.csv")])
    assert found == [["a"], ["a"], ["a", "b", "c"]]


class Held:
    """Lets the table be written, or refuses it as a program does that has it open, or a disk that is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number = 0
        replace = Path.replace

        def refuse(path: Path, target: Path) -> Path:
            if self.number:
                raise OSError(self.number, "The process cannot access the file")
            return replace(path, target)

        monkeypatch.setattr(Path, "replace", refuse)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    """Every moment is one to write at; whether it can be is up to the test."""
    monkeypatch.setattr("napari_melanoma.lesion.results.WRITE_EVERY_S", -1.0)
    monkeypatch.setattr("napari_melanoma.lesion.results.time.monotonic", lambda: 0.0)
    return Held(monkeypatch)


def test_a_table_that_is_open_elsewhere_is_tried_again(tmp_path: Path, held: Held, caplog) -> None:
    table = ResultTable(tmp_path / "t.csv", COLUMNS)
    held.number = errno.EACCES
    table.set_row({"image": "a"})
    with caplog.at_level(logging.WARNING):
        table.write_periodically()
    assert "open in another program" in caplog.text
    held.number = 0
    table.set_row({"image": "b"})
    table.write_periodically()
    assert [row["image"] for row in read_table(tmp_path / "t.csv")] == ["a", "b"]
    assert {path.name for path in tmp_path.iterdir()} == {"t.csv", LOCK}


def test_the_last_attempt_raises_an_error_with_instructions(tmp_path: Path, held: Held) -> None:
    table = ResultTable(tmp_path / "t.csv", COLUMNS)
    held.number = errno.EACCES
    with pytest.raises(SaveError, match=r"t\.csv: it is open in another program, .* Close it there"):
        table.write()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS], ids=["full", "read only"])
def test_a_read_only_disk_is_reported_at_once(tmp_path: Path, held: Held, number: int) -> None:
    table = ResultTable(tmp_path / "t.csv", COLUMNS)
    held.number = number
    with pytest.raises(SaveError, match=r"cannot write .*t\.csv"):
        table.write_periodically()


def test_a_table_damaged_in_between_is_reported_at_the_end(tmp_path: Path, held: Held) -> None:
    table = ResultTable(tmp_path / "t.csv", COLUMNS)
    (tmp_path / "t.csv").write_text("image;status\na;done\n", encoding="utf-8")
    table.write_periodically()
    with pytest.raises(InputError, match="not a table of results"):
        table.write()


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "Denied"), OSError(errno.EIO, "I/O error")], ids=str)
def test_a_table_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    table = ResultTable(tmp_path / "t.csv", COLUMNS)
    (tmp_path / "t.csv").write_text("image\na\n", encoding="utf-8")

    def refuse(path: Path, *arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(SaveError, match=r"cannot write .*t\.csv"):
        table.write()
    with pytest.raises(InputError, match=f"cannot be read: {error.strerror}"):
        ResultTable(tmp_path / "t.csv", COLUMNS)
