"""What the table alone tells: boosted trees over columns, cross-validated, so that one sees what images add.

Gradient boosting over histograms (scikit-learn) takes numbers with gaps and words as they are.
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
from napari_melanoma.data.features.encoding import (
    choose_encodings,
    describe_invalid_numbers,
    fit_encoding,
    read_table_values,
    to_matrix,
)
from napari_melanoma.data.splits import assign_folds
from napari_melanoma.evaluation.class_metrics import ClassPredictions
from napari_melanoma.training.data_selection import OTHER, row_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sklearn.ensemble import HistGradientBoostingClassifier

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.prediction_config import TabularEncoding

Row = Mapping[str, str]


@dataclass(frozen=True, eq=False)
class TabularBaseline:
    """What the table alone told: of each row, by trees that had not seen its patient; and what was left out.

    ``left_out`` counts rows without an answer and ``faulty`` those with a fault; ``notes`` describe these and cells
    that count as unknown although something stands in them.
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
    """Learn from all folds but one, and answer for the rows of that one.

    ``labels``: int (row,): place of the class. Returns float64 (row, class): probabilities; a class that the other
    folds do not have gets 0.
    """
    where, classes = np.asarray(fold_of), int(labels.max()) + 1
    found = np.zeros((len(rows), classes))
    for fold in np.unique(where):
        learnt, asked = np.flatnonzero(where != fold).tolist(), np.flatnonzero(where == fold).tolist()
        trees, encoding = fit_trees([rows[place] for place in learnt], choices, labels[learnt], target, seed)
        matrix, _ = to_matrix(read_table_values([rows[place] for place in asked], encoding))
        found[np.ix_(asked, trees.classes_)] = trees.predict_proba(matrix)
    return found


def fit_trees(
    rows: Sequence[Row], choices: TabularConfig, labels: NDArray[np.intp], target: str, seed: int = 0
) -> tuple[HistGradientBoostingClassifier, TabularEncoding]:
    """Fit boosted trees to rows.

    ``labels``: int (row,): place of the class.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    if len(np.unique(labels)) < 2:
        raise DataSetError(
            f"the rows to learn from have one class alone in the column '{target}': nothing to tell apart."
        )
    encoding = fit_encoding(rows, choices, target)
    matrix, categorical = to_matrix(read_table_values(rows, encoding))
    trees = HistGradientBoostingClassifier(
        learning_rate=0.05, max_iter=100, max_leaf_nodes=8, categorical_features=categorical, random_state=seed
    )
    return trees.fit(matrix, labels), encoding


def evaluate_baseline(
    dataset: Path, target: str, columns: Sequence[str], *, count: int = 5, seed: int = 0, run: RunContext
) -> TabularBaseline:
    """Cross-validate the table of a data set, grouped by patients.

    Of a column of 1 and 0 about its own name; of words about ``melanoma`` where it is one of them, else the rarest.
    """
    entries, faults = _read(dataset)
    known = {(dataset.name, row["image_id"]): row for row in entries}
    if not any(target in row for row in entries):
        there = ", ".join(sorted({name for row in entries for name in row}))
        raise DataSetError(f"the table has no column '{target}' (found: {there}). Name the one that holds the answer.")
    answers = row_labels(known, target)
    rows = [known[key] for key in answers]
    names = sorted(set(answers.values()), key=lambda word: (word != OTHER, word))
    if len(names) < 2:
        raise DataSetError(
            f"the column '{target}' has one class alone ({', '.join(names) or 'none'}): there is nothing to tell apart."
        )
    run.check()
    choices = choose_encodings(columns, rows)
    notes = [f"{len(faults)} faulty rows are left out, the first: {faults[0]}"] if faults else []
    notes += describe_invalid_numbers(
        {row["image_id"]: row for row in rows}, [column.name for column in choices.numbers]
    )
    labels = np.array([names.index(word) for word in answers.values()], np.intp)
    groups = [get_group_id(row) for row in rows]
    dealt = assign_folds(groups, list(answers.values()), count, seed)
    said = cross_validate_trees(rows, choices, dealt, labels, target=target, seed=seed)
    rarest = names[int(np.argmin(np.bincount(labels)))]
    positive = next((word for word in (target, "melanoma") if word in names), rarest)
    found = ClassPredictions(said, labels, np.array(groups), tuple(names), positive)
    return TabularBaseline(found, tuple(columns), len(entries) - len(rows), len(faults), tuple(notes))


def _read(dataset: Path) -> tuple[list[Row], list[str]]:
    """Read the rows of a data set, and what is wrong with faulty ones."""
    entries: list[Row] = []
    faults: list[str] = []
    for entry in iter_entries(dataset):
        if isinstance(entry, OutsideFolderError):  # or the figures would be of other rows than the user thinks
            raise entry
        if isinstance(entry, DatasetEntry):
            entries.append(entry.row)
        else:
            faults.append(str(entry))
    return entries, faults
