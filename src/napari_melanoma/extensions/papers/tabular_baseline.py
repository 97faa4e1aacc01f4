"""Baseline without images: boosted trees on the clinical metadata, to measure what images add."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.data.dataset import DatasetEntry, OutsideFolderError, get_group_id, iter_entries
from napari_melanoma.data.splits import assign_folds
from napari_melanoma.data.tabular_encoding import (
    choose_encodings,
    describe_invalid_numbers,
)
from napari_melanoma.evaluation.metadata_trees import cross_validate_trees
from napari_melanoma.metrics.class_metrics import ClassPredictions
from napari_melanoma.training.data_selection import OTHER, row_labels

Row = Mapping[str, str]


@dataclass(frozen=True, eq=False)
class TabularBaseline:
    """Cross-validated predictions: each row is predicted by trees that were not trained on its patient.

    ``columns``: the inputs. ``left_out``: number of rows without a class. ``faulty``: number of rows that cannot be
    read. ``notes``: sentences on faulty rows, and on cells with an invalid value, which are treated as unknown.
    """

    predictions: ClassPredictions
    columns: tuple[str, ...]
    left_out: int
    faulty: int = 0
    notes: tuple[str, ...] = ()


def evaluate_baseline(
    dataset: Path, target: str, columns: Sequence[str], *, count: int = 5, seed: int = 0, run: RunContext
) -> TabularBaseline:
    """Cross-validate trees on the table of a data set, grouped by patients.

    If ``target`` is a column of 1 and 0, the positive class has its name. If it is a column of words, the positive
    class is ``melanoma``, or else the rarest word. ``count``: number of folds.
    """
    entries, faults = _read_rows(dataset)
    rows_by_key = {(dataset.name, row["image_id"]): row for row in entries}
    if not any(target in row for row in entries):
        columns_found = ", ".join(sorted({name for row in entries for name in row}))
        raise DataSetError(
            f"the table has no column '{target}' (found: {columns_found}). Name the column that contains the class."
        )
    row_classes = row_labels(rows_by_key, target)
    rows = [rows_by_key[key] for key in row_classes]
    classes = sorted(set(row_classes.values()), key=lambda word: (word != OTHER, word))
    if len(classes) < 2:
        raise DataSetError(
            f"the column '{target}' has only one class ({', '.join(classes) or 'none'}); at least two are needed."
        )
    run.check()
    choices = choose_encodings(columns, rows)
    notes = [f"{len(faults)} faulty rows are left out, the first: {faults[0]}"] if faults else []
    notes += describe_invalid_numbers(
        {row["image_id"]: row for row in rows}, [column.name for column in choices.numbers]
    )
    labels = np.array([classes.index(word) for word in row_classes.values()], np.intp)
    groups = [get_group_id(row) for row in rows]
    folds = assign_folds(groups, list(row_classes.values()), count, seed)
    probabilities = cross_validate_trees(rows, choices, folds, labels, target=target, seed=seed)
    rarest = classes[int(np.argmin(np.bincount(labels)))]
    positive = next((word for word in (target, "melanoma") if word in classes), rarest)
    predictions = ClassPredictions(probabilities, labels, np.array(groups), tuple(classes), positive)
    return TabularBaseline(predictions, tuple(columns), len(entries) - len(rows), len(faults), tuple(notes))


def _read_rows(dataset: Path) -> tuple[list[Row], list[str]]:
    """Return the rows of a data set, and the messages on faulty rows."""
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
