"""Gradient boosting on the table alone, trained on the rows of other folds only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.prediction_config import NumberColumn, TabularConfig, WordColumn
from napari_melanoma.extensions.papers.kinds import predict_with_trees
from napari_melanoma.io.results import write_table

CHOICES = TabularConfig(numbers=(NumberColumn(name="age"),), words=(WordColumn(name="site"),))


def rows(seed: int, depends_on_age: bool) -> list[dict[str, str]]:
    """Rows of which a third are melanomas, some without an age."""
    draw = np.random.default_rng(seed)
    found = []
    for number in range(200):
        melanoma = draw.random() < 0.33
        age = "" if draw.random() < 0.1 else f"{draw.normal(70 if melanoma and depends_on_age else 40, 8):.0f}"
        cells = {"melanoma": str(int(melanoma)), "age": age, "site": str(draw.choice(["head/neck", ""]))}
        found.append({"image_id": f"{seed}-{number}", "split": "train", **cells})
    return found


@pytest.mark.parametrize(("depends_on_age", "least", "most"), [(True, 0.9, 1.0), (False, 0.35, 0.65)])
def test_the_effect_of_a_column_is_recovered(tmp_path: Path, depends_on_age: bool, least: float, most: float) -> None:
    from sklearn.metrics import roc_auc_score

    write_table(tmp_path / "set/dataset.csv", rows(0, depends_on_age))
    test_rows = rows(1, depends_on_age)
    found = predict_with_trees((tmp_path / "set",), {("set", row["image_id"]): row for row in test_rows}, CHOICES)
    scores = [found["set", row["image_id"]] for row in test_rows]
    assert least <= roc_auc_score([row["melanoma"] == "1" for row in test_rows], scores) <= most


def test_test_rows_are_not_used_for_training(tmp_path: Path) -> None:
    learnt, evaluated = rows(0, True), [{**row, "split": "test", "melanoma": "1", "age": "20"} for row in rows(2, True)]
    test_rows = {("set", "young"): {"image_id": "young", "age": "20", "site": ""}}
    write_table(tmp_path / "set/dataset.csv", [*learnt, *evaluated])
    assert predict_with_trees((tmp_path / "set",), test_rows, CHOICES)["set", "young"] < 0.3


def test_a_column_that_reveals_the_label_is_rejected(tmp_path: Path) -> None:
    write_table(tmp_path / "set/dataset.csv", [{**row, "diagnosis": "melanoma"} for row in rows(0, True)])
    leaking = TabularConfig(numbers=(), words=(WordColumn(name="diagnosis"),))
    with pytest.raises(DataSetError, match="diagnosis"):
        predict_with_trees((tmp_path / "set",), {}, leaking)


def test_one_class_is_rejected(tmp_path: Path) -> None:
    write_table(tmp_path / "set/dataset.csv", [{**row, "melanoma": "0"} for row in rows(0, True)])
    with pytest.raises(DataSetError, match="only one class"):
        predict_with_trees((tmp_path / "set",), {("set", "0-0"): rows(0, True)[0]}, CHOICES)
