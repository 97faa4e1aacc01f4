"""The table keeps every row, its own last, also when two runs write it in turns."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_melanoma.io.results import read_table
from napari_melanoma.workflows.result_table import ResultTable

COLUMNS = ("image", "status", "area_px")


def test_rows_are_sorted_and_replaced(tmp_path: Path) -> None:
    table = ResultTable(tmp_path / "t.csv", COLUMNS)
    table.put({"image": "b", "status": "failed"})
    table.put({"image": "a", "area_px": 1.5, "status": 'odd, "quoted"\nlines', "unknown": 1})
    table.put({"image": "b", "status": "done", "area_px": float("nan")})
    table.write()
    assert read_table(tmp_path / "t.csv") == [
        {"image": "a", "status": 'odd, "quoted"\nlines', "area_px": "1.5"},
        {"image": "b", "status": "done", "area_px": ""},
    ]
    assert len(ResultTable(tmp_path / "t.csv", COLUMNS)) == 2


def test_two_runs_do_not_drop_each_others_rows(tmp_path: Path) -> None:
    first, second = (ResultTable(tmp_path / "t.csv", COLUMNS) for _ in range(2))
    first.put({"image": "a", "status": "first"})
    first.write()
    second.put({"image": "b", "status": "second"})
    second.write()
    first.put({"image": "a", "status": "again"})
    first.write()
    assert {row["image"]: row["status"] for row in read_table(tmp_path / "t.csv")} == {"a": "again", "b": "second"}


def test_columns_that_appear_meanwhile_are_kept(tmp_path: Path) -> None:
    table = ResultTable(tmp_path / "t.csv", COLUMNS)
    table.put({"image": "a", "status": "done"})
    (tmp_path / "t.csv").write_text("\ufeffimage,mine\nb,yes\n", encoding="utf-8")
    table.write()
    assert [row["mine"] for row in read_table(tmp_path / "t.csv")] == ["", "yes"]


def test_a_long_run_writes_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.1, 5.0, 12.0, 12.1])
    monkeypatch.setattr("napari_melanoma.workflows.result_table.time.monotonic", lambda: next(clock))
    table = ResultTable(tmp_path / "t.csv", COLUMNS)
    found = []
    for name in "abc":
        table.put({"image": name})
        table.write_now_and_then()
        found.append([row["image"] for row in read_table(tmp_path / "t.csv")])
    assert found == [["a"], ["a"], ["a", "b", "c"]]
