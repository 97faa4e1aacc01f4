"""Measurements that the papers compare with: classes predicted from the table alone, and lesions of slides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.core.files import remove_file, write_json
from napari_melanoma.core.formatting import distinct_names
from napari_melanoma.core.prediction_config import TabularConfig, TabularEncoding
from napari_melanoma.core.validity import Validity, read_validity
from napari_melanoma.data.dataset import DatasetEntry, OutsideFolderError, iter_entries
from napari_melanoma.data.groups import Groups
from napari_melanoma.data.splits import assign_folds
from napari_melanoma.data.tabular_encoding import (
    choose_encodings,
    describe_invalid_numbers,
    fit_encoding,
    read_table_values,
    to_matrix,
)
from napari_melanoma.figures.evaluation import LesionPoints, plot_area_and_probability
from napari_melanoma.io.results import OUTLINES, read_slide_result, write_table
from napari_melanoma.io.slide_store import file_errors_translated
from napari_melanoma.metrics.class_metrics import ClassPredictions
from napari_melanoma.slides.scores import (
    ComparableLesions,
    correlate_area_and_probability,
    describe_correlation,
    select_comparable_lesions,
    uses_log_axis,
)
from napari_melanoma.slides.slide_table import LesionRow, read_slide_lesion_rows
from napari_melanoma.training.data_selection import OTHER, row_labels

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier

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
    connected = Groups(entries)
    groups = [connected.find_of_row(row).name for row in rows]
    folds = np.array(assign_folds(groups, list(row_classes.values()), count, seed))
    probabilities = np.zeros((len(rows), len(classes)))  # 0 for a class that the other folds do not have
    for fold in np.unique(folds):
        fitted, predicted = np.flatnonzero(folds != fold).tolist(), np.flatnonzero(folds == fold).tolist()
        trees, encoding = fit_trees([rows[index] for index in fitted], choices, labels[fitted], target, seed)
        matrix, _ = to_matrix(read_table_values([rows[index] for index in predicted], encoding))
        probabilities[np.ix_(predicted, trees.classes_)] = trees.predict_proba(matrix)
    rarest = classes[int(np.argmin(np.bincount(labels)))]
    positive = next((word for word in (target, "melanoma") if word in classes), rarest)
    predictions = ClassPredictions(probabilities, labels, np.array(groups), tuple(classes), positive)
    return TabularBaseline(predictions, tuple(columns), len(entries) - len(rows), len(faults), tuple(notes))


def fit_trees(
    rows: Sequence[Row], choices: TabularConfig, labels: NDArray[np.intp], target: str, seed: int = 0
) -> tuple[HistGradientBoostingClassifier, TabularEncoding]:
    """Fit histogram-based gradient boosting to rows, whose numbers and words may be missing.

    ``labels``: int (row,): index of the class. ``target``: the column of the class.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    if len(np.unique(labels)) < 2:
        raise DataSetError(f"the training rows have only one class in the column '{target}'; at least two are needed.")
    encoding = fit_encoding(rows, choices, target)
    matrix, categorical = to_matrix(read_table_values(rows, encoding))
    trees = HistGradientBoostingClassifier(
        learning_rate=0.05, max_iter=100, max_leaf_nodes=8, categorical_features=categorical, random_state=seed
    )
    return trees.fit(matrix, labels), encoding


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


TABLE, RELATION, FIGURE = "relation.csv", "relation.json", "figures/area_probability.png"
COLUMNS = ("slide", "lesion", "label", "area_mm2", "area_px", "probability", "model", "valid", "validity", "used")


@dataclass(frozen=True)
class LesionRelation:
    """The lesions of several slides, and the correlation of their area and probability.

    ``lesions``: all of them. ``validity``: of each slide, by its result folder. ``included``: whether lesions of slides
    without a valid prediction are correlated as well. ``failed``: folders that could not be read, with the reason.
    """

    lesions: tuple[LesionRow, ...]
    validity: Mapping[Path, Validity]
    included: bool
    failed: Mapping[Path, str]

    @cached_property
    def names(self) -> Mapping[Path, str]:
        """The name of each slide, also of failed ones; slides of the same name differ in their folders."""
        return distinct_names([*self.validity, *self.failed])

    @cached_property
    def comparable(self) -> ComparableLesions[LesionRow]:
        """The lesions that are correlated: those of valid or included predictions whose areas can be compared."""
        lesions = [lesion for lesion in self.lesions if self.included or self.validity[lesion.slide].valid]
        return select_comparable_lesions(lesions, [str(lesion.slide) for lesion in lesions])

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The content of ``relation.json``; the correlation is null for fewer than three lesions or equal values.

        The interval is over slides, or over lesions if there is only one slide. ``notes``: what limits the correlation.
        """
        used, note = self.comparable.lesions, self.comparable.note
        slides, models = len({one.slide for one in used}), list(dict.fromkeys(one.model for one in used))
        estimate = correlate_area_and_probability(self.comparable)
        suffix, invalid = "" if self.included else "; left out", {k: v for k, v in self.validity.items() if not v.valid}
        notes = [f"{self.names[slide]}: {validity.headline('')}{suffix}" for slide, validity in invalid.items()]
        if len(models) > 1:
            notes.append(f"{len(models)} different models were used: their probabilities may not be comparable")
        summary = describe_correlation(estimate, len(used), slides) if used or not note else note
        return {
            "format_version": 1,
            "spearman": None if estimate is None or math.isnan(estimate.mean) else asdict(estimate),
            "interval_over": "slides" if slides > 1 else "lesions",
            "area_unit": "mm2" if self.comparable.in_mm2 else "px",
            "lesions": len(used),
            "slides": slides,
            "models": models,
            "summary": summary,
            "notes": [*notes, note] if used and note else notes,
        }


def relate_lesions(folders: Sequence[Path], *, include_invalid: bool, run: RunContext) -> LesionRelation:
    """Read the lesions in the result folders of slides, with manual corrections."""
    lesions, validity, failed = list[LesionRow](), dict[Path, Validity](), dict[Path, str]()
    for folder in run.track(folders, "Reading lesions"):
        if not (folder / OUTLINES).is_file():
            failed[folder] = f"there is no {OUTLINES}: analyze the slide with 'napari-melanoma slide'."
            continue
        try:
            lesions += read_slide_lesion_rows(folder)
            validity[folder] = read_validity(read_slide_result(folder))
        except InputError as error:
            failed[folder] = str(error)
    lesions = [lesion for lesion in lesions if lesion.slide in validity]
    return LesionRelation(tuple(lesions), validity, include_invalid, failed)


def write_relation(relation: LesionRelation, out: Path) -> list[Path]:
    """Write the table of all lesions, the correlation, and the figure if there are correlated lesions."""
    lesions = relation.comparable.lesions
    used = set(map(id, lesions))
    write_table(out / TABLE, [_row(one, relation, id(one) in used) for one in relation.lesions], COLUMNS)
    write_json(out / RELATION, relation.facts)
    if not used:
        with file_errors_translated(out / FIGURE):
            remove_file(out / FIGURE)  # of an earlier run
        return [out / TABLE, out / RELATION]
    areas = [relation.comparable.area(one) for one in lesions]
    points = LesionPoints(areas, [one.probability for one in lesions], [one.label != "benign" for one in lesions])
    some_invalid = not all(relation.validity[one.slide].valid for one in lesions)
    title = f"{'Includes predictions that are not valid. ' if some_invalid else ''}{relation.facts['summary']}"
    plot_area_and_probability(points, relation.comparable.unit, title, out / FIGURE, log_axis=uses_log_axis(areas))
    return [out / TABLE, out / RELATION, out / FIGURE]


def _row(lesion: LesionRow, relation: LesionRelation, used: bool) -> dict[str, object]:
    values = {name: getattr(lesion, name) for name in ("label", "area_mm2", "area_px", "probability", "model")}
    validity = relation.validity[lesion.slide].to_columns()
    return {"slide": relation.names[lesion.slide], "lesion": lesion.index, **values, **validity, "used": int(used)}
