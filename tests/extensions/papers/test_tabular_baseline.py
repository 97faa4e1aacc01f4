"""The baseline on the table: accurate if a column determines the class, at chance level otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.extensions.papers.analyses import TabularBaseline, evaluate_baseline
from napari_melanoma.io.results import read_table, write_table
from napari_melanoma.metrics.class_metrics import class_estimates


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """240 rows of 120 patients: melanoma depends on age, the site is random, some ages are missing."""
    random = np.random.default_rng(0)
    rows = []
    for index in range(240):
        age = int(random.integers(20, 90))
        rows.append(
            {
                "image_id": f"i{index}",
                "patient_id": f"p{index // 2}",
                "age": "" if index % 11 == 0 else age,
                "site": random.choice(["back", "face", ""]),
                "melanoma": "" if index == 5 else int(age > 60),
                "diagnosis": ["nevus", "melanoma"][age > 60],
            }
        )
    write_table(tmp_path / "old/dataset.csv", rows)
    return tmp_path / "old"


def measured(folder: Path, columns: tuple[str, ...], target: str = "melanoma", count: int = 4) -> TabularBaseline:
    return evaluate_baseline(folder, target, columns, count=count, run=RunContext())


def test_an_informative_and_an_uninformative_column(table: Path) -> None:
    age, site = (class_estimates(measured(table, (name,)).predictions)["AUC"] for name in ("age", "site"))
    assert age.mean > 0.9
    assert site.low < 0.55 < age.low
    assert age.count == 239


def test_rows_without_a_class_are_counted_and_values_accepted(table: Path) -> None:
    assert measured(table, ("age",)).left_out == 1
    by_diagnosis = measured(table, ("age", "site"), "diagnosis")
    assert (by_diagnosis.predictions.positive, by_diagnosis.predictions.classes, by_diagnosis.left_out) == (
        "melanoma",
        ("melanoma", "nevus"),
        0,
    )
    assert by_diagnosis.predictions.probabilities.sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize(
    ("columns", "target", "count", "message"),
    [
        (("diagnosis",), "melanoma", 4, "cannot be an input"),
        (("eyes",), "melanoma", 4, "no column 'eyes'"),
        (("age",), "cancer", 4, "no column 'cancer'"),
        (("age",), "melanoma", 500, "500 folds"),
        ((), "melanoma", 4, "no input column was given"),
    ],
)
def test_invalid_input_is_rejected(
    table: Path, columns: tuple[str, ...], target: str, count: int, message: str
) -> None:
    with pytest.raises(DataSetError, match=message):
        measured(table, columns, target, count)


def test_one_class_is_rejected(tmp_path: Path) -> None:
    write_table(tmp_path / "one/dataset.csv", [{"image_id": f"i{n}", "age": n, "melanoma": 0} for n in range(20)])
    with pytest.raises(DataSetError, match="only one class"):
        measured(tmp_path / "one", ("age",))


def test_faulty_rows_and_impossible_cells_are_reported(table: Path) -> None:
    path = table / "dataset.csv"
    rows = read_table(path)
    rows[1]["age"], rows[2]["age"], rows[3]["image_id"] = "430", "old", rows[4]["image_id"]
    write_table(path, rows)
    found = measured(table, ("age",))
    assert (found.left_out, found.faulty, len(found.predictions.labels)) == (1, 1, 238)
    faulty, cells = found.notes
    assert "repeats image_id i4" in faulty
    assert cells == (
        "2 of 238 rows hold no valid number in 'age', which counts as unknown: '430' (1), 'old' (1) (i1, i2)."
    )
