"""The table of a data set keeps the text of all cells that are not changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.data.dataset_table import TableFile, TableLayout

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6)
LAYOUTS = st.builds(TableLayout, st.sampled_from(",;\t"), st.sampled_from(["\n", "\r\n"]), st.booleans())


def make(path: Path, text: bytes) -> TableFile:
    path.write_bytes(text)
    return TableFile.read(path)


@settings(max_examples=50)
@given(st.data(), LAYOUTS, st.integers(1, 4), st.integers(0, 4))
def test_round_trip_of_any_table(
    tmp_path_factory, data: st.DataObject, layout: TableLayout, width: int, height: int
) -> None:
    columns = ["image_id", *(f"column {n}" for n in range(width))]
    cells = [[f"i{n}", *data.draw(st.lists(TEXT, min_size=width, max_size=width))] for n in range(height)]
    text = "".join(layout.format_line(row) + layout.line_end for row in [columns, *cells])
    path = tmp_path_factory.getbasetemp() / "table.csv"
    written = text.encode("utf-8-sig" if layout.byte_order_mark else "utf-8")
    table = make(path, written)
    assert [list(row.values()) for row in table.rows()] == cells
    table.write(path)
    assert path.read_bytes() == written
    assert table.insert_row(99, {"image_id": "new"}).remove_row(height) == table
    wider = table.with_columns(("image_id", "added")).insert_row(0, {"image_id": "first", "added": "x"})
    wider.write(path)
    assert TableFile.read(path).rows() == wider.rows()
    assert [list(row.values())[:-1] for row in wider.rows()[1:]] == cells


def test_changing_a_row_leaves_the_others_to_the_letter(tmp_path: Path) -> None:
    table = make(tmp_path / "t.csv", b'a;"image_id";b;b\r\n"1";"x";"p;q";r;more\r\n\r\n;;;\r\n2;y\r\n')
    assert table.rows() == [
        {"a": "1", "image_id": "x", "b": "p;q"},
        {"a": "2", "image_id": "y", "b": ""},
    ]
    table.update_row(1, {"b": 'say "no"', "unknown": "lost"}).write(tmp_path / "t.csv")
    expected = b'a;"image_id";b;b\r\n"1";"x";"p;q";r;more\r\n2;y;"say ""no""";\r\n'
    assert (tmp_path / "t.csv").read_bytes() == expected


def test_where_values_are(tmp_path: Path) -> None:
    table = make(tmp_path / "t.csv", b"image_id,b\nx,1\ny,\nx,2\nz\n")
    assert table.index_by("image_id") == {"x": 0, "y": 1, "z": 3}
    assert table.index_by("b") == {"1": 0, "2": 2}
    assert table.index_by("c") == {}


FAULTS = [
    (b"", "needs a column image_id and at least one row; found no rows"),
    (b"name,b\n1,2\n", "needs a column image_id and at least one row; found name, b"),
    (b"image_id\n" + b"x" * 200_000 + b"\n", "Expected a CSV table in UTF-8"),
]


@pytest.mark.parametrize(("text", "message"), FAULTS, ids=[message for _, message in FAULTS])
def test_invalid_tables(tmp_path: Path, text: bytes, message: str) -> None:
    with pytest.raises(DataSetError, match=message):
        make(tmp_path / "t.csv", text)


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="cannot read"):
        TableFile.read(tmp_path / "none.csv")
