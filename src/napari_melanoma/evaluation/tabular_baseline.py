"""Baseline without images: cross-validated gradient boosting on the table, to measure what images add.

Histogram-based gradient boosting (scikit-learn) accepts missing numbers and categories without preparation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.prediction_config import TabularConfig
from napari_melanoma.data.dataset import DatasetEntry, OutsideFolderError, get_group_id, iter_entries
from napari_melanoma.data.splits import assign_folds
from napari_melanoma.data.tabular_encoding import (
    choose_encodings,
    describe_invalid_numbers,
    fit_encoding,
    read_table_values,
    to_matrix,
)
from napari_melanoma.evaluation.classifier_measurement import ClassPredictions
from napari_melanoma.training.data_selection import OTHER, row_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sklearn.ensemble import HistGradientBoostingClassifier

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.prediction_config import TabularEncoding

Row = Mapping[str, str]


@dataclass(frozen=True, eq=False)
class TabularBaseline:
    """Cross-validated predictions for each row, by trees that were not trained on its patient.

    ``left_out`` counts rows without a class and ``faulty`` those with an error; ``notes`` describe these and cells with
    an invalid value, which count as unknown.
    """

    predictions: ClassPredictions
    columns: tuple[str, ...]
    left_out: int
    faulty: int = 0
    notes: tuple[str, ...] = ()


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

    ``labels``: int (row,): index of the class. Returns probabilities, float64 (row, class); 0 for a class that the
    other folds do not have.
    """
    where, classes = np.asarray(fold_of), int(labels.max()) + 1
    found = np.zeros((len(rows), classes))
    for fold in np.unique(where):
        fitted, predicted = np.flatnonzero(where != fold).tolist(), np.flatnonzero(where == fold).tolist()
        trees, encoding = fit_trees([rows[index] for index in fitted], choices, labels[fitted], target, seed)
        matrix, _ = to_matrix(read_table_values([rows[index] for index in predicted], encoding))
        found[np.ix_(predicted, trees.classes_)] = trees.predict_proba(matrix)
    return found


def fit_trees(
    rows: Sequence[Row], choices: TabularConfig, labels: NDArray[np.intp], target: str, seed: int = 0
) -> tuple[HistGradientBoostingClassifier, TabularEncoding]:
    """Fit boosted trees to rows; ``labels``: int (row,): index of the class."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    if len(np.unique(labels)) < 2:
        raise DataSetError(f"the training rows have only one class in the column '{target}'; at least two are needed.")
    encoding = fit_encoding(rows, choices, target)
    matrix, categorical = to_matrix(read_table_values(rows, encoding))
    trees = HistGradientBoostingClassifier(
        learning_rate=0.05, max_iter=100, max_leaf_nodes=8, categorical_features=categorical, random_state=seed
    )
    return trees.fit(matrix, labels), encoding


def evaluate_baseline(
    dataset: Path, target: str, columns: Sequence[str], *, count: int = 5, seed: int = 0, run: RunContext
) -> TabularBaseline:
    """Cross-validate trees on the table of a data set, grouped by patients.

    The positive class is the name of a column of 1 and 0; of a column of words ``melanoma``, or else the rarest word.
    """
    entries, faults = _read(dataset)
    known = {(dataset.name, row["image_id"]): row for row in entries}
    if not any(target in row for row in entries):
        columns_found = ", ".join(sorted({name for row in entries for name in row}))
        raise DataSetError(
            f"the table has no column '{target}' (found: {columns_found}). Name the column that contains the class."
        )
    row_classes = row_labels(known, target)
    rows = [known[key] for key in row_classes]
    names = sorted(set(row_classes.values()), key=lambda word: (word != OTHER, word))
    if len(names) < 2:
        raise DataSetError(
            f"the column '{target}' has only one class ({', '.join(names) or 'none'}); at least two are needed."
        )
    run.check()
    choices = choose_encodings(columns, rows)
    notes = [f"{len(faults)} faulty rows are left out, the first: {faults[0]}"] if faults else []
    notes += describe_invalid_numbers(
        {row["image_id"]: row for row in rows}, [column.name for column in choices.numbers]
    )
    labels = np.array([names.index(word) for word in row_classes.values()], np.intp)
    groups = [get_group_id(row) for row in rows]
    folds = assign_folds(groups, list(row_classes.values()), count, seed)
    probabilities = cross_validate_trees(rows, choices, folds, labels, target=target, seed=seed)
    rarest = names[int(np.argmin(np.bincount(labels)))]
    positive = next((word for word in (target, "melanoma") if word in names), rarest)
    found = ClassPredictions(probabilities, labels, np.array(groups), tuple(names), positive)
    return TabularBaseline(found, tuple(columns), len(entries) - len(rows), len(faults), tuple(notes))


def _read(dataset: Path) -> tuple[list[Row], list[str]]:
    """Read the rows of a data set, and the errors of faulty ones."""
    entries: list[Row] = []
    faults: list[str] = []
    for entry in iter_entries(dataset):
        if isinstance(entry, OutsideFolderError):  # else other rows than the user expects would be used
            raise entry
        if isinstance(entry, DatasetEntry):
            entries.append(entry.row)
        else:
            faults.append(str(entry))
    return entries, faults
