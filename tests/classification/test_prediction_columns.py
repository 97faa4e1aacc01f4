"""Names of the columns of a prediction."""

from __future__ import annotations

import pytest

from napari_melanoma.classification.prediction import bound_columns, probability_columns, used_column

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
