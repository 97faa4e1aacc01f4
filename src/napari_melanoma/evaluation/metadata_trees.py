"""Gradient boosting on clinical metadata without images, cross-validated.

Histogram-based gradient boosting (scikit-learn) accepts missing numbers and categories without preparation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.prediction_config import TabularConfig, TabularEncoding
from napari_melanoma.data.tabular_encoding import (
    fit_encoding,
    read_table_values,
    to_matrix,
)

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier


Row = Mapping[str, str]


def cross_validate_trees(
    rows: Sequence[Row],
    choices: TabularConfig,
    fold_of: Sequence[int],
    labels: NDArray[np.intp],
    *,
    target: str = "melanoma",
    seed: int = 0,
) -> NDArray[np.float64]:
    """Predict the rows of each fold by trees fitted to the other folds.

    ``fold_of``: the fold of each row. ``labels``: int (row,): index of the class. ``target``: the column of the class.
    Returns probabilities, float64 (row, class); 0 for a class that the other folds do not have.
    """
    folds, classes = np.asarray(fold_of), int(labels.max()) + 1
    probabilities = np.zeros((len(rows), classes))
    for fold in np.unique(folds):
        fitted, predicted = np.flatnonzero(folds != fold).tolist(), np.flatnonzero(folds == fold).tolist()
        trees, encoding = fit_trees([rows[index] for index in fitted], choices, labels[fitted], target, seed)
        matrix, _ = to_matrix(read_table_values([rows[index] for index in predicted], encoding))
        probabilities[np.ix_(predicted, trees.classes_)] = trees.predict_proba(matrix)
    return probabilities


def fit_trees(
    rows: Sequence[Row], choices: TabularConfig, labels: NDArray[np.intp], target: str, seed: int = 0
) -> tuple[HistGradientBoostingClassifier, TabularEncoding]:
    """Fit boosted trees to rows; arguments as for ``cross_validate_trees``."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    if len(np.unique(labels)) < 2:
        raise DataSetError(f"the training rows have only one class in the column '{target}'; at least two are needed.")
    encoding = fit_encoding(rows, choices, target)
    matrix, categorical = to_matrix(read_table_values(rows, encoding))
    trees = HistGradientBoostingClassifier(
        learning_rate=0.05, max_iter=100, max_leaf_nodes=8, categorical_features=categorical, random_state=seed
    )
    return trees.fit(matrix, labels), encoding
