"""Names of the columns of a prediction, and reading of tables with earlier names."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_melanoma.classification.prediction import (
    bound_columns,
    probability_columns,
    read_probabilities,
    renamed_columns,
    used_column,
)
from napari_melanoma.io.results import read_table, write_table
from napari_melanoma.lesion.results import ResultTable

CLASSES = ("melanoma", "seborrheic keratosis")


@pytest.mark.parametrize(
    ("classes", "columns"),
    [
        (CLASSES, ["melanoma", "seborrheic_keratosis"]),
        (("BCC", "Spitz/Reed naevus", " other "), ["BCC", "Spitz_Reed_naevus", "other"]),
        (("a b", "a_b", "a-b"), ["a_b", "a_b_2", "a_b_3"]),
        (("n\u00e6vus", "?"), ["n\u00e6vus", "class"]),
    ],
)
def test_every_class_has_a_column_of_its_own_that_every_program_reads(classes, columns) -> None:
    assert probability_columns(classes) == dict(zip(classes, (f"probability_{one}" for one in columns), strict=True))


def test_the_interval_and_the_patient_have_columns() -> None:
    assert bound_columns("seborrheic keratosis", CLASSES) == (
        "probability_seborrheic_keratosis_low",
        "probability_seborrheic_keratosis_high",
    )
    assert used_column("age") == "used_age"


@pytest.mark.parametrize("last", ["probability_seborrheic keratosis", "probability_seborrheic_keratosis"])
def test_rows_of_before_and_of_now_are_read(last: str) -> None:
    assert read_probabilities({"probability_melanoma": "0.3", last: "0.7"}, CLASSES) == [0.3, 0.7]


def test_a_table_of_before_gets_the_names_of_now(tmp_path: Path) -> None:
    path, old = tmp_path / "results.csv", "probability_seborrheic keratosis"
    write_table(path, [{"image": "one", "probability_melanoma": 0.3, old: 0.7, f"{old}_low": 0.6}])
    names = renamed_columns(CLASSES, "seborrheic keratosis")
    columns = ("image", *probability_columns(CLASSES).values(), *bound_columns("seborrheic keratosis", CLASSES))
    table = ResultTable(path, columns, names)
    table.set_row({"image": "two", "probability_seborrheic_keratosis": 0.1})
    table.write()
    rows = read_table(path)
    assert list(rows[0]) == list(columns)
    assert [row["probability_seborrheic_keratosis"] for row in rows] == ["0.7", "0.1"]
    assert rows[0]["probability_seborrheic_keratosis_low"] == "0.6"
