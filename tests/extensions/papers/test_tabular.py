"""Gradient boosting on the table alone, trained on the rows of other folds only."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.prediction_config import NumberColumn, TabularConfig, WordColumn
from napari_melanoma.extensions.papers.kinds import predict_with_trees

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


def keyed(listed: list[dict[str, str]]) -> dict[tuple[str, str], dict[str, str]]:
    return {("set", row["image_id"]): row for row in listed}


@pytest.mark.parametrize(("depends_on_age", "least", "most"), [(True, 0.9, 1.0), (False, 0.35, 0.65)])
def test_the_effect_of_a_column_is_recovered(depends_on_age: bool, least: float, most: float) -> None:
    from sklearn.metrics import roc_auc_score

    test_rows = rows(1, depends_on_age)
    found = predict_with_trees(keyed(rows(0, depends_on_age)), keyed(test_rows), CHOICES)
    scores = [found["set", row["image_id"]] for row in test_rows]
    assert least <= roc_auc_score([row["melanoma"] == "1" for row in test_rows], scores) <= most


def test_a_column_that_reveals_the_label_is_rejected() -> None:
    revealed = keyed([{**row, "diagnosis": "melanoma"} for row in rows(0, True)])
    leaking = TabularConfig(numbers=(), words=(WordColumn(name="diagnosis"),))
    with pytest.raises(DataSetError, match="diagnosis"):
        predict_with_trees(revealed, {}, leaking)


def test_one_class_is_rejected() -> None:
    others = keyed([{**row, "melanoma": "0"} for row in rows(0, True)])
    with pytest.raises(DataSetError, match="only one class"):
        predict_with_trees(others, keyed(rows(0, True)[:1]), CHOICES)
