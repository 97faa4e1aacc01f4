"""How well a classifier predicts strokes and slides left out, the choice of a classifier, and what to paint next.

The cells of a stroke are similar, so whole strokes are left out, and each stroke counts once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import NULL_CONTEXT, Progress, RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.formatting import format_count
from napari_melanoma.metrics.calibration import fit_temperature
from napari_melanoma.metrics.statistics import Estimate, bootstrap_interval, draw_statistics
from napari_melanoma.slides.tissue_classifier.fitting import (
    KIND_NAMES,
    KINDS,
    ClassifierKind,
    TrainingCells,
    advise_painting,
    fit_classifier,
)

MAX_FOLDS = 10
VALIDATED_CELLS = 24  # of each stroke
NORMAL_INTERVAL = 2 * 1.96  # width of a 95 % interval in standard errors
WELL_RECOGNIZED = 0.995  # share of cells that would be stated as 100 %
ENOUGH_ERROR = 0.1  # expected error of a class, below which more strokes hardly help: from nine recognized strokes on
NOT_A_CLASS = -1e3  # logit of a class that a classifier does not know


@dataclass(frozen=True, eq=False)
class Validation:
    """Accuracy of a kind of classifier on the features of a source.

    ``strokes``, ``cells``: of each class. ``accuracy``: balanced accuracy on strokes that were left out; ``slides``: on
    slides that were left out; None if unknown. ``confusion``: float64 (class, class), share of the cells of a true
    class (row) with each prediction; NaN for a class with a single stroke, which cannot be left out. ``temperature``:
    for the classifier, fitted on the strokes that were left out. ``warnings``: for the user. ``advice``: what to paint
    next.
    """

    source: str
    kind: ClassifierKind
    classes: tuple[str, ...]
    strokes: tuple[int, ...]
    cells: tuple[int, ...]
    accuracy: Estimate | None = None
    slides: Estimate | None = None
    confusion: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    temperature: float = 1.0
    warnings: tuple[str, ...] = ()
    advice: str = ""

    @property
    def recall(self) -> dict[str, float]:
        """Share of the cells of each class that are predicted as this class; NaN if unknown."""
        return dict(zip(self.classes, np.diagonal(self.confusion).tolist(), strict=False))


def validate(
    cells: TrainingCells, kinds: Sequence[ClassifierKind] = KINDS, source: str = "", run: RunContext = NULL_CONTEXT
) -> tuple[Validation, ...]:
    """Measure kinds of classifiers by leaving out strokes, and slides if there are several.

    With more than ``MAX_FOLDS`` strokes, several are left out at once. With less than two classes, the validations only
    advise what to paint. Raises ``Cancelled``.

    ``source``: name of the source of the features.
    """
    names, labels = cells.classes, cells.of_strokes(cells.labels)
    strokes = tuple(np.bincount(labels, minlength=len(names)).tolist())
    sizes = tuple(np.bincount(cells.labels, minlength=len(names)).tolist())
    advice = advise_painting([name for name, count in zip(names, strokes, strict=True) if count])
    if advice:
        return tuple(Validation(source, kind, names, strokes, sizes, advice=advice) for kind in kinds)
    thinned, validations = cells.thin(VALIDATED_CELLS), []
    for number, kind in enumerate(kinds):
        run.report(Progress(number, len(kinds), f"Validating {KIND_NAMES[kind]} on {source or 'features'}"))
        left_out = _predict_folds(thinned, kind, _stroke_folds(thinned), run)
        confusion = left_out.confusion
        validation = Validation(source, kind, names, strokes, sizes, left_out.estimate(), None, confusion)
        validation = replace(validation, temperature=left_out.temperature, warnings=_warnings(cells, strokes))
        if len(np.unique(cells.slide)) > 1:
            folds = [thinned.slide == slide for slide in np.unique(thinned.slide)]
            by_slide = _predict_folds(thinned, kind, folds, run).estimate(by_slide=True)
            validation = replace(validation, slides=by_slide)
        validations.append(replace(validation, advice=_advise_strokes(names, strokes, validation.recall)))
    return tuple(validations)


def choose(validations: Sequence[Validation]) -> Validation:
    """Choose the first classifier within one standard error of the best (Breiman et al. 1984, ISBN 978-0-412-04841-8).

    ``validations``: from the preferred one, which is chosen while the accuracy is unknown.
    """
    if not validations:
        raise InputError("there is no classifier to choose from: expected at least one source of features and kind.")
    known = [(one, one.accuracy) for one in validations if one.accuracy is not None]
    if not known:
        return validations[0]
    best = max((accuracy for _, accuracy in known), key=lambda accuracy: accuracy.mean)
    error = (best.high - best.low) / NORMAL_INTERVAL if best.has_interval else 0.0
    return next(one for one, accuracy in known if accuracy.mean >= best.mean - error)


def balanced_accuracy(
    hits: NDArray[np.float64], labels: NDArray[np.intp], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the mean recall of the classes, float64 (draw,), NaN where a class has no stroke.

    ``hits``: share of the cells of each stroke that are predicted correctly, float64 (stroke,). ``labels``: int
    (stroke,). ``weights``: of each stroke in each draw, float64 (draw, stroke).
    """
    members = (labels[:, None] == np.unique(labels)).astype(np.float64)
    with np.errstate(invalid="ignore"):
        recall: NDArray[np.float64] = ((weights * hits) @ members) / (weights @ members)
    return recall.mean(axis=1)


@dataclass(frozen=True, eq=False)
class _Strokes:
    """Strokes that were left out.

    ``shares``: share of the cells of a stroke with each prediction, float64 (stroke, class). ``labels``, ``slides``:
    int (stroke,).
    """

    shares: NDArray[np.float64]
    labels: NDArray[np.intp]
    slides: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class _LeftOut:
    """Predictions for cells that were left out; ``logits``: float64 (cell, class) of the cells."""

    cells: TrainingCells
    logits: NDArray[np.float64]

    @property
    def strokes(self) -> _Strokes:
        """The predictions for strokes."""
        index = np.searchsorted(self.cells.strokes, self.cells.stroke)
        shares = np.zeros((len(self.cells.strokes), len(self.cells.classes)))
        np.add.at(shares, (index, self.logits.argmax(axis=1)), 1)
        return _Strokes(
            shares / np.maximum(shares.sum(axis=1, keepdims=True), 1),
            self.cells.of_strokes(self.cells.labels),
            self.cells.of_strokes(self.cells.slide),
        )

    @property
    def confusion(self) -> NDArray[np.float64]:
        """See ``Validation``."""
        strokes, count = self.strokes, len(self.cells.classes)
        confusion = np.full((count, count), np.nan)
        for label in np.unique(strokes.labels):
            confusion[label] = strokes.shares[strokes.labels == label].mean(axis=0)
        return confusion

    @property
    def temperature(self) -> float:
        """The temperature with the smallest log loss."""
        return fit_temperature(self.logits, self.cells.labels)

    def balanced_accuracy(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mean recall of the classes, float64 (draw,), NaN without a class; ``weights``: (draw, stroke)."""
        strokes = self.strokes
        hits = strokes.shares[np.arange(len(strokes.labels)), strokes.labels]
        return balanced_accuracy(hits, strokes.labels, weights)

    def estimate(self, *, by_slide: bool = False) -> Estimate | None:
        """Return the balanced accuracy with an interval over strokes or slides; None without strokes."""
        strokes = self.strokes
        if not len(strokes.labels):
            return None
        groups = strokes.slides if by_slide else np.arange(len(strokes.labels))
        value, drawn = draw_statistics(lambda weights: {"": self.balanced_accuracy(weights)}, groups)[""]
        count = len(np.unique(groups))
        return Estimate(value, *bootstrap_interval(value, drawn, count, bounds=(0.0, 1.0)), count)


def _stroke_folds(cells: TrainingCells) -> list[NDArray[np.bool_]]:
    """Divide the strokes of classes with at least two of them into folds, each of which leaves some of each class.

    Returns the cells of each fold, bool (cell,).
    """
    labels = cells.of_strokes(cells.labels)
    strokes = cells.strokes[np.argsort(labels, kind="stable")]  # those of a class are successive: in several folds
    strokes = strokes[np.bincount(labels)[np.sort(labels)] > 1]
    return [np.isin(cells.stroke, strokes[number::MAX_FOLDS]) for number in range(min(MAX_FOLDS, len(strokes)))]


def _predict_folds(
    cells: TrainingCells, kind: ClassifierKind, folds: Iterable[NDArray[np.bool_]], run: RunContext
) -> _LeftOut:
    """Predict the cells of each fold with a classifier that is fitted on the others.

    Left out are cells of a class without other cells, and folds that leave less than two classes.
    """
    logits, predicted = np.full((len(cells), len(cells.classes)), NOT_A_CLASS), np.zeros(len(cells), bool)
    for fold in folds:
        run.check()
        known = np.unique(cells.labels[~fold])
        tested = fold & np.isin(cells.labels, known)
        if len(known) < 2 or not tested.any():
            continue
        classifier = fit_classifier(cells.select(~fold), kind)
        logits[np.ix_(tested, known)] = classifier.logits(cells.features[tested])
        predicted |= tested
    return _LeftOut(cells.select(predicted), logits[predicted])


def _warnings(cells: TrainingCells, strokes: Sequence[int]) -> tuple[str, ...]:
    """List what the accuracy does not cover."""
    warnings = [
        f"The accuracy of '{name}' is unknown: it has only one stroke. Paint another one elsewhere."
        for name, count in zip(cells.classes, strokes, strict=True)
        if count == 1
    ]
    slides = [np.unique(cells.slide[cells.labels == label]) for label in range(len(cells.classes))]
    if len(np.unique(cells.slide)) == 1:
        return (*warnings, "The accuracy on other slides is unknown: all strokes are on one slide.")
    return (
        *warnings,
        *(
            f"The accuracy of '{name}' on other slides is unknown: it was painted on one slide only."
            for name, of_class in zip(cells.classes, slides, strict=True)
            if len(of_class) == 1
        ),
    )


def _advise_strokes(names: Sequence[str], strokes: Sequence[int], recall: dict[str, float]) -> str:
    """Name the class with the highest expected error, by its recall and, with few strokes, by their number."""
    errors = [
        ((1 - recall[name]) * count + 1) / (count + 2) if np.isfinite(recall[name]) else 1.0
        for name, count in zip(names, strokes, strict=True)
    ]
    index = int(np.argmax(errors))
    if errors[index] < ENOUGH_ERROR:
        return "All classes are recognized. Paint where the map is wrong, or on another slide."
    name, count = names[index], format_count(strokes[index], "stroke")
    is_informative = recall[name] < WELL_RECOGNIZED  # false if it is unknown
    known = f"; {100 * recall[name]:.0f} % of its cells are recognized" if is_informative else ""
    return f"More strokes of '{name}' would help most ({count}{known})."
