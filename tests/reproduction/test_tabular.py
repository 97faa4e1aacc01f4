"""Gradient boosting of the table alone: it learns what the table says, from the rows of other folds, and no more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.prediction_config import NumberColumn, TabularConfig, WordColumn
from napari_melanoma.io.results import write_table
from napari_melanoma.reproduction.predictions import predict_with_trees

CHOICES = TabularConfig(numbers=(NumberColumn(name="age"),), words=(WordColumn(name="site"),))


def rows(seed: int, told_by_age: bool) -> list[dict[str, str]]:
    """Rows of which a third are melanomas, some without an age."""
    draw = np.random.default_rng(seed)
    found = []
    for number in range(200):
        melanoma = draw.random() < 0.33
        age = "" if draw.random() < 0.1 else f"{draw.normal(70 if melanoma and told_by_age else 40, 8):.0f}"
        told = {"melanoma": str(int(melanoma)), "age": age, "site": str(draw.choice(["head/neck", ""]))}
        found.append({"image_id": f"{seed}-{number}", "split": "train", **told})
    return found


@pytest.mark.parametrize(("told_by_age", "least", "most"), [(True, 0.9, 1.0), (False, 0.35, 0.65)])
def test_it_tells_what_the_table_tells(tmp_path: Path, told_by_age: bool, least: float, most: float) -> None:
    from napari_melanoma.metrics.ranking import area_under_roc

    write_table(tmp_path / "set/dataset.csv", rows(0, told_by_age))
    asked = rows(1, told_by_age)
    found = predict_with_trees((tmp_path / "set",), {("set", row["image_id"]): row for row in asked}, CHOICES)
    scores = [found["set", row["image_id"]] for row in asked]
    assert least <= area_under_roc(scores, [row["melanoma"] == "1" for row in asked]) <= most


def test_rows_that_are_judged_have_no_say(tmp_path: Path) -> None:
    learnt, judged = rows(0, True), [{**row, "split": "test", "melanoma": "1", "age": "20"} for row in rows(2, True)]
    asked = {("set", "young"): {"image_id": "young", "age": "20", "site": ""}}
    write_table(tmp_path / "set/dataset.csv", [*learnt, *judged])
    assert predict_with_trees((tmp_path / "set",), asked, CHOICES)["set", "young"] < 0.3


def test_a_column_that_gives_the_answer_away_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "set/dataset.csv", [{**row, "diagnosis": "melanoma"} for row in rows(0, True)])
    leaking = TabularConfig(numbers=(), words=(WordColumn(name="diagnosis"),))
    with pytest.raises(DataSetError, match="diagnosis"):
        predict_with_trees((tmp_path / "set",), {}, leaking)


def test_one_class_alone_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "set/dataset.csv", [{**row, "melanoma": "0"} for row in rows(0, True)])
    with pytest.raises(DataSetError, match="only one class"):
        predict_with_trees((tmp_path / "set",), {("set", "0-0"): rows(0, True)[0]}, CHOICES)
