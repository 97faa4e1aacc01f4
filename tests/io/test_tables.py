"""Tables of users are read, whatever program wrote them."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import pytest
from openpyxl import Workbook

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.io.tables import iterate_rows, parse_table_text, unique_names

TEXT = "image_id,site\na,Rücken\nb,\n"
EXPECTED = [{"image_id": "a", "site": "Rücken"}, {"image_id": "b", "site": ""}]
WRITTEN: dict[str, bytes] = {
    "UTF-8": TEXT.encode(),
    "a byte order mark": TEXT.encode("utf-8-sig"),
    "Windows-1252": TEXT.encode("cp1252"),
    "UTF-16 with a mark": TEXT.encode("utf-16"),
    "UTF-16 without": TEXT.encode("utf-16-le"),
    "UTF-16 of the other order": TEXT.encode("utf-16-be"),
    "semicolons and CR LF": TEXT.replace(",", ";").replace("\n", "\r\n").encode(),
    "tabs": TEXT.replace(",", "\t").encode(),
    "bars": TEXT.replace(",", "|").encode(),
    "separator line of Excel": ("sep=;\r\n" + TEXT.replace(",", ";")).encode("cp1252"),
    "quotes": TEXT.replace("Rücken", '"Rücken"').encode(),
    "packed": gzip.compress(TEXT.encode()),
    "blank lines and blanks": TEXT.replace("\n", " \n\n").replace(",", " , ").encode(),
    "empty cells too many": TEXT.replace("\n", ",,\n").replace("site,,", "site").encode(),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_every_way_to_write_a_table(tmp_path: Path, name: str) -> None:
    (tmp_path / "t.csv").write_bytes(WRITTEN[name])
    assert list(iterate_rows(tmp_path / "t.csv")) == EXPECTED


def test_bytes_that_windows_has_not(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"image_id,site\na,R\xfccken \x81\n")
    assert next(iterate_rows(tmp_path / "t.csv"))["site"].startswith("Rücken")


def test_cells_with_separators_and_line_ends() -> None:
    rows = list(parse_table_text('image_id;note;size\na;"red; itchy\nsince May";2,5\n'))
    assert rows == [{"image_id": "a", "note": "red; itchy\nsince May", "size": "2,5"}]


def test_no_column_is_lost() -> None:
    assert unique_names(["age", "age ", "", "age"]) == ["age", "age (2)", "column_3", "age (3)"]


REFUSED: dict[str, tuple[bytes, str]] = {
    "a row with too much": (b"image_id,size\na,2,5\n", r"line 2: expected 2 cells as in the header, found 3"),
    "a workbook": (b"PK\x03\x04...", "a workbook of a spreadsheet program. Save its sheet as CSV"),
    "damaged gzip": (gzip.compress(TEXT.encode())[:30], "Expected a CSV table"),
    "a cell without end": (b"image_id\n" + b"x" * 200_000, "field larger than field limit"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_invalid_tables(tmp_path: Path, name: str) -> None:
    text, message = REFUSED[name]
    (tmp_path / "t.csv").write_bytes(text)
    with pytest.raises(DataSetError, match=message):
        list(iterate_rows(tmp_path / "t.csv"))


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="there is no file"):
        list(iterate_rows(tmp_path / "none.csv"))


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "t.csv").touch()
    assert list(iterate_rows(tmp_path / "t.csv")) == []


def write_workbook(path: Path, rows: Sequence[Sequence[object]], merged: Sequence[str] = ()) -> Workbook:
    """Write a workbook with an old, hidden sheet before the sheet of the rows."""
    book = Workbook()
    book.worksheets[0].append(["image_id", "patient_id"])
    book.worksheets[0].append(["a", "old"])
    book.worksheets[0].sheet_state = "hidden"
    sheet = book.create_sheet("current")
    book.active = sheet
    for cells in rows:
        sheet.append(list(cells))
    for area in merged:
        sheet.merge_cells(area)
    book.save(path)
    return book


def test_the_sheet_that_is_seen_is_read(tmp_path: Path) -> None:
    write_workbook(tmp_path / "t.xlsx", [["image_id", "patient_id"], ["a", "new"]])
    assert list(iterate_rows(tmp_path / "t.xlsx")) == [{"image_id": "a", "patient_id": "new"}]


def test_a_merged_cell_belongs_to_all_its_rows(tmp_path: Path) -> None:
    rows = [["Clinic"], [], ["patient_id", "age", "image_id", "note"]]
    rows += [["P", 50, "a", "x"], [None, None, "b", None], [None, None, None, None], ["Q", 60, "c", None]]
    merged = ["A1:D1", "A3:A3", "A4:A6", "B4:B5", "D4:D5", "C7:D7"]
    write_workbook(tmp_path / "t.xlsx", rows, merged)
    read = list(iterate_rows(tmp_path / "t.xlsx"))
    assert [list(row.values()) for row in read[1:]] == [
        ["P", "50", "a", "x"],
        ["P", "50", "b", "x"],
        ["Q", "60", "c", ""],
    ]


def test_a_merged_header_is_no_row(tmp_path: Path) -> None:
    write_workbook(tmp_path / "t.xlsx", [["patient_id", "image_id"], [None, "(name)"], ["P", "a"]], ["A1:A2"])
    assert [row["patient_id"] for row in iterate_rows(tmp_path / "t.xlsx")] == ["", "P"]


def test_numbers_of_patients_have_the_zeros_that_are_seen(tmp_path: Path) -> None:
    book = write_workbook(tmp_path / "t.xlsx", [["patient_id", "age"], [339, 50], [123456, 50], ["0012", 50.5]])
    for row in (2, 3, 4):
        book["current"].cell(row, 1).number_format = "00000"
    book.save(tmp_path / "t.xlsx")
    read = [tuple(row.values()) for row in iterate_rows(tmp_path / "t.xlsx")]
    assert read == [("00339", "50"), ("123456", "50"), ("0012", "50.5")]
