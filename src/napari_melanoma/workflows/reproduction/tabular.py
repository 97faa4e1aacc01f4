"""What the table alone says of the folds of a cross-validation, without a photograph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from napari_melanoma.core.tabular import TabularChoices
from napari_melanoma.data.features.encoding import as_matrix, understand
from napari_melanoma.io.results import read_table
from napari_melanoma.workflows.reproduction.split import LEARN, TABLE
from napari_melanoma.workflows.tabular_baseline import fit_trees

TARGET = "melanoma"


def tabular_answers(
    learnt: tuple[Path, ...], judged: Mapping[tuple[str, str], Mapping[str, str]], choices: TabularChoices
) -> dict[tuple[str, str], float]:
    """Learn from the rows of the other folds, and answer for every row.

    Parameters
    ----------
    learnt : tuple of pathlib.Path
        Data sets as ``crossed`` writes them; rows of the split ``train`` are learnt from.
    judged : mapping
        Data set and image to row.
    choices : TabularChoices
        The columns that it gets.

    Returns
    -------
    dict
        Data set and image to the probability of melanoma.

    Raises
    ------
    DataSetError
        Where a column is in no row, or gives the answer away, or the rows have one class alone.
    """
    rows = [row for folder in learnt for row in read_table(folder / TABLE) if row["split"] == LEARN]
    labels = np.array([int(row[TARGET]) for row in rows], np.intp)
    trees, encoding = fit_trees(rows, choices, labels, TARGET)
    asked, _ = as_matrix(understand(list(judged.values()), encoding))
    return dict(zip(judged, map(float, trees.predict_proba(asked)[:, 1]), strict=True))
