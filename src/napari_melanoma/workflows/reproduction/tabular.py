"""What the table alone says of the folds of a cross-validation, without a photograph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.tabular import TabularChoices
from napari_melanoma.data.features.encoding import as_matrix, understand
from napari_melanoma.io.results import read_table
from napari_melanoma.workflows.reproduction.split import LEARN, TABLE
from napari_melanoma.workflows.risk_comparators import fit_rows
from napari_melanoma.workflows.tabular_baseline import fit_trees

if TYPE_CHECKING:
    from numpy.typing import NDArray

Key = tuple[str, str]
Rows = Mapping[Key, Mapping[str, str]]


def tabular_answers(
    learnt: tuple[Path, ...], judged: Rows, choices: TabularChoices, target: str = "melanoma"
) -> dict[Key, float]:
    """Learn boosted trees from the rows of the other folds, and answer for every row."""
    rows, labels = _learnt(learnt, target)
    trees, encoding = fit_trees(rows, choices, labels, target)
    asked, _ = as_matrix(understand(list(judged.values()), encoding))
    return dict(zip(judged, map(float, trees.predict_proba(asked)[:, 1]), strict=True))


def logistic_answers(learnt: tuple[Path, ...], judged: Rows, choices: TabularChoices, target: str) -> dict[Key, float]:
    """Learn a logistic regression from the rows of the other folds, and answer for every row."""
    rows, labels = _learnt(learnt, target)
    found = fit_rows(rows, labels.astype(bool), choices, target).of(list(judged.values()))
    return dict(zip(judged, found.tolist(), strict=True))


def _learnt(folders: tuple[Path, ...], target: str) -> tuple[list[dict[str, str]], NDArray[np.intp]]:
    """Rows that are learnt from, and their answers."""
    rows = [row for folder in folders for row in read_table(folder / TABLE) if row["split"] == LEARN]
    return rows, np.array([int(row[target]) for row in rows], np.intp)
