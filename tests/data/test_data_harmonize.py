"""Harmonizing tables of other programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.data import harmonize
from napari_melanoma.data.dataset import REVIEWS
from napari_melanoma.data.harmonize import HarmonizeOptions, harmonize_rows, harmonize_table
from napari_melanoma.data.table_mapping import TableMapping
from napari_melanoma.data.table_schema import COLUMN_NAMES, find_column
from napari_melanoma.io.tables import iterate_rows

CLINIC = (
    "Bild;Patientennummer;Alter;Geschlecht;Lokalisation;Durchmesser;Bemerkung\r\n"
    "IMG_1.jpg;17;430;f ;linker Rücken;2,5;\r\n"
    "IMG_2.jpg;17;45;weiblich;Glabella;;groß\r\n"
    "IMG_2.jpg;18;;;;;\r\n"
)
MAPPING = TableMapping(columns={"Durchmesser": "diameter_1_mm"}, words={"site": {"Glabella": "head/neck"}})


def harmonized(table: Path, out: Path, **options: object) -> list[dict[str, str]]:
    harmonize_table(table, out, HarmonizeOptions.parse(options, "the test"), run=RunContext())
    return [{column: text for column, text in row.items() if text} for row in iterate_rows(out)]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "clinic.csv").write_bytes(CLINIC.encode("cp1252"))
    return tmp_path / "clinic.csv"


def test_a_table_of_a_clinic(table: Path) -> None:
    out = table.with_name("out.csv")
    report = harmonize_table(table, out, HarmonizeOptions(mapping=MAPPING), run=RunContext())
    assert harmonized(out, table.with_name("again.csv")) == [
        {
            "image_id": "IMG_1",
            "patient_id": "17",
            "age_as_given": "430",
            "sex": "female",
            "site": "posterior torso",
            "laterality": "left",
            "diameter_1_mm": "2.5",
        },
        {
            "image_id": "IMG_2",
            "patient_id": "17",
            "age": "45",
            "sex": "female",
            "site": "head/neck",
            "Bemerkung": "groß",
        },
        {"image_id": "IMG_2", "patient_id": "18"},
    ]
    assert out.read_bytes() == table.with_name("again.csv").read_bytes()
    assert tuple(next(iterate_rows(out)))[: len(COLUMN_NAMES)] == COLUMN_NAMES
    assert (report.rows, report.duplicates, report.impossible) == (3, {"IMG_2": 2}, {"age": {"430": 1}})


def test_without_a_mapping_a_word_is_kept(table: Path) -> None:
    row = harmonized(table, table.with_name("out.csv"))[1]
    assert (row["site_as_given"], "site" in row) == ("Glabella", False)


def test_paths_are_adapted_to_the_new_folder(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image_id,path,mask_path\na,images/a.jpg,/elsewhere/a.png\n")
    (tmp_path / "new").mkdir()
    (row,) = harmonized(tmp_path / "t.csv", tmp_path / "new" / "out.csv")
    assert row == {"image_id": "a", "path": "../images/a.jpg", "mask_path": "/elsewhere/a.png"}
    (row,) = harmonized(tmp_path / "t.csv", tmp_path / "out.csv")
    assert row["path"] == "images/a.jpg"


def test_a_column_that_a_later_row_adds(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image_id,sex\na,f\nb,x\nc,m\n")
    harmonized(tmp_path / "t.csv", tmp_path / "out.csv")
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert {line.count(",") for line in lines} == {len(COLUMN_NAMES)}
    assert lines[0].endswith(",sex_as_given")
    assert lines[2].endswith(",x")


def test_the_table_itself_stays(table: Path) -> None:
    with pytest.raises(InputError, match="is the table itself"):
        harmonized(table, table)


def test_a_table_without_rows(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image_id,sex\n")
    with pytest.raises(DataSetError, match="at least one row below its header"):
        harmonized(tmp_path / "t.csv", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_it_stops_on_request(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harmonize, "ROWS_PER_REPORT", 1)
    run = RunContext()
    run.cancel()
    with pytest.raises(Cancelled):
        harmonize_table(table, table.with_name("out.csv"), HarmonizeOptions(), run=run)
    assert not table.with_name("out.csv").exists()


def test_unknown_values_of_split_and_review_are_kept_and_reported() -> None:
    """A row without a split could be trained on, and so could a mask without a review state."""
    cells = (("a", "tset", "Corrected"), ("b", "val", "ok"))
    found = harmonize_rows({"image_id": name, "split": split, "review": review} for name, split, review in cells)
    assert [(row["split"], row["review"]) for row in found.rows] == [("tset", "Corrected"), ("val", "ok")]
    assert [(column, message.split(".")[0]) for column, message in found.report.describe_findings()] == [
        ("split", "1 cell is not understood and kept in split: 'tset' (1); row a"),
        ("review", "1 cell is not understood and kept in review: 'ok' (1); row b"),
    ]
    assert harmonize_rows(found.rows).rows == found.rows
    review = find_column("review")
    assert review is not None
    assert review.expected == REVIEWS
