"""What the table alone says, without a photograph: gradient boosting, which takes gaps and words as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from napari_melanoma.core.tabular import TabularChoices
from napari_melanoma.data.features.encoding import as_matrix, understand
from napari_melanoma.data.features.fitting import fit
from napari_melanoma.io.results import read_table
from napari_melanoma.workflows.reproduction.split import LEARN, TABLE

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
        Where a column is in no row, or gives the answer away.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    rows = [row for folder in learnt for row in read_table(folder / TABLE) if row["split"] == LEARN]
    encoding = fit(rows, choices, TARGET)
    inputs, categorical = as_matrix(understand(rows, encoding))
    trees = HistGradientBoostingClassifier(
        learning_rate=0.05, max_iter=100, max_leaf_nodes=8, categorical_features=categorical, random_state=0
    )
    trees.fit(inputs, [row[TARGET] == "1" for row in rows])
    asked, _ = as_matrix(understand(list(judged.values()), encoding))
    return dict(zip(judged, map(float, trees.predict_proba(asked)[:, 1]), strict=True))
