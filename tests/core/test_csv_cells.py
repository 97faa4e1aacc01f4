"""CSV: texts survive a round trip, and no cell is a formula."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from napari_melanoma.core.csv_files import CsvReader, CsvWriter, escape_cell, read_csv_dicts, unescape_cell
from napari_melanoma.data.dataset_table import TableFile
from napari_melanoma.io.results import read_table, write_table

FORMULAS = (
    *("=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\tx", "\rx", "\nx", " =1", "\u00a0=1", "\ufeff=1"),
    *("\u200b@x", "＝1", "＋1", "－1", "＠x", "=cmd|' /C calc'!A0", "-", "+", "=", "--1", "-1-1", "+49 30 1234", "-x"),
)
AS_THEY_ARE = ("", "'", "''", "'Tis", "a=b", "nevus - junctional", "12", "-0.5", "+3", "-1e-5", "-1,5", "-inf", "(=)")
texts = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",))),
    st.text(st.sampled_from("'=+-@\t\r\n ＝－\u00a0\ufeff\u200b01.,e;\"x\x1f"), max_size=8),
)


def written(rows: list[list[object]], separator: str = ",") -> str:
    file = io.StringIO(newline="")
    CsvWriter(file, separator).write_rows(rows)
    return file.getvalue()


def raw(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_written_as_text(text: str) -> None:
    assert escape_cell(text) == "'" + text
    assert raw(written([[text, 1]])) == [["'" + text, "1"]]


@pytest.mark.parametrize("text", AS_THEY_ARE)
def test_other_texts_and_numbers_are_written_as_they_are(text: str) -> None:
    assert escape_cell(text) == text == unescape_cell(text)


@given(texts)
@example("'=1")
@example("''-1")
@example("'-1")
@example("'\t")
def test_texts_round_trip_and_no_cell_is_a_formula(text: str) -> None:
    cell = escape_cell(text)
    assert unescape_cell(cell) == text
    assert cell[:1] not in ("\t", "\r", "\n")
    first = cell.lstrip(" \u00a0\ufeff\u200b")[:1]
    assert not (first and first in "=+-@＝＋－＠") or re.fullmatch(r"[+-][\d.,e+-]*|[+-](inf|nan)", cell, re.I)


@settings(max_examples=50)
@given(st.lists(st.lists(texts, min_size=2, max_size=2), max_size=4), st.sampled_from(",;\t|"))
def test_rows_come_back_exactly(rows: list[list[str]], separator: str) -> None:
    text = written([*rows], separator)
    assert list(CsvReader(io.StringIO(text, newline=""), separator)) == rows
    assert CsvReader(io.StringIO(text, newline=""), separator).is_safe


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", [{"image": "=x", "depth_mm": -0.25, "count": -3, "seen": False}])
    assert (tmp_path / "t.csv").read_text() == "image,depth_mm,count,seen\n'=x,-0.25,-3,false\n"


@settings(max_examples=50)
@given(st.lists(st.fixed_dictionaries({"=image": texts, "@remark": texts}), min_size=1, max_size=3))
def test_round_trip_of_a_table_of_results(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    path = tmp_path_factory.mktemp("table") / "t.csv"
    write_table(path, rows, ("=image", "@remark"))
    assert read_table(path) == rows
    assert raw(path.read_text("utf-8"))[0] == ["'=image", "'@remark"]


def test_a_row_with_a_formula_is_made_safe_when_its_table_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "dataset.csv"
    path.write_text('image_id,remark,x\na,=1+1,"-5"\n"b",fine,\'Tis\nc,\'=2,3\n')
    table = TableFile.read(path)
    assert [row["remark"] for row in table.rows()] == ["=1+1", "fine", "=2"]
    table.write(path)
    assert path.read_text() == "image_id,remark,x\na,'=1+1,-5\n\"b\",fine,'Tis\nc,'=2,3\n"
    table.update_row(1, {"remark": "@x"}).write(path)
    assert path.read_text().splitlines()[2] == "b,'@x,'Tis"


def test_a_header_is_read_as_it_was_written() -> None:
    text = written([["=a", "-b"], ["1", "'=2"]])
    assert list(read_csv_dicts(io.StringIO(text, newline=""))) == [{"=a": "1", "-b": "'=2"}]
