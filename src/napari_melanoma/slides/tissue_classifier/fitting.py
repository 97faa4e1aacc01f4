"""Classifiers that predict the class of a cell from its features: fitted on the painted cells, and validated.

A classifier is a few arrays: it is stored without code, and predicts the same on every machine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import NULL_CONTEXT, Progress, RunContext
from napari_melanoma.core.errors import BundleError, InputError
from napari_melanoma.core.formatting import format_count
from napari_melanoma.metrics.calibration import fit_temperature, softmax
from napari_melanoma.metrics.statistics import Estimate, bootstrap_interval, draw_statistics

if TYPE_CHECKING:
    from napari_melanoma.slides.tissue_classifier.strokes import PaintedCells


# From the preferred one: with features of the shipped encoder, the logistic regression was the most accurate
# (docs/explanation/measurements.md).
ClassifierKind = Literal["logistic", "nearest_mean", "forest"]
KINDS: tuple[ClassifierKind, ...] = get_args(ClassifierKind)
KIND_NAMES: dict[ClassifierKind, str] = {
    "logistic": "logistic regression",
    "nearest_mean": "nearest mean",
    "forest": "forest",
}
# Trees with random thresholds (Geurts et al. 2006, doi:10.1007/s10994-006-6226-1) are fitted several times faster than
# those of a random forest, which try every threshold.
TREES, TREE_DEPTH, LEAF_CELLS, CELLS_FOR_TREES = 24, 12, 3, 24
STRENGTH = 1.0  # of the data against the weight decay, for each stroke, with standardized features
# Where a painted cell comes from: as scanned, in the colors of another stain, or from the model that a fit starts from.
# Only the first are left out to measure the accuracy.
SCANNED, VARIANT, STARTED = range(3)
OWN_STROKES = 4  # of a reader weigh as much as all strokes that the model of the start has in a class
MIN_PROBABILITY = 1e-4  # of a forest, before its logarithm
MIN_SPREAD = 1e-3  # of a feature: the standard deviation of constant ones is rounding
PREDICTED_AT_ONCE = 2**14  # cells


def advise_painting(classes: Collection[str]) -> str:
    """Return what to paint before a classifier can be fitted; empty if nothing is missing.

    ``classes``: those with at least one stroke.
    """
    if not classes:
        return "Choose a class and paint a stroke on tissue of this class."
    if len(classes) == 1:
        return f"Paint a second class: only '{next(iter(classes))}' has strokes."
    return ""


@dataclass(frozen=True, eq=False)
class TrainingCells:
    """Painted cells with their features, sorted by stroke.

    ``features``: float32 (cell, feature). ``labels``: index into ``classes``, int (cell,). ``stroke``, ``slide``:
    numbers of the stroke and of the slide of each cell, int (cell,). ``classes``: those that were painted.
    ``origin``: ``SCANNED``, ``VARIANT`` or ``STARTED``, int (cell,). ``strength``: weight of the strokes against the
    weight decay of a logistic regression; smaller values rely on fewer details of the stain.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.intp]
    stroke: NDArray[np.intp]
    slide: NDArray[np.intp]
    classes: tuple[str, ...]
    origin: NDArray[np.int8]
    strength: float = STRENGTH

    @classmethod
    def gather(
        cls, painted: Sequence[PaintedCells], features: Sequence[NDArray[np.floating]], classes: Sequence[str] = ()
    ) -> Self:
        """Gather the painted cells of several slides; the order of slides and strokes does not matter.

        ``features``: of the cells of each slide, float (cell, feature). ``classes``: in the order of the user, then in
        alphabetical order. Classes without a cell are left out.
        """
        strokes = [
            (stroke.class_name, stroke.points, stroke.id, slide, values[one.stroke == index])
            for slide, (one, values) in enumerate(zip(painted, features, strict=True))
            for index, stroke in enumerate(one.strokes)
        ]
        strokes.sort(key=lambda stroke: stroke[:3])  # not by random ids first, as the order divides them into folds
        order = {name: index for index, name in enumerate(classes)}
        names = sorted({stroke[0] for stroke in strokes}, key=lambda name: (order.get(name, len(order)), name))
        slides = list(dict.fromkeys(stroke[3] for stroke in strokes))
        counts = [len(stroke[4]) for stroke in strokes]
        return cls(
            np.concatenate([stroke[4] for stroke in strokes] or [np.empty((0, 0))]).astype(np.float32),
            np.repeat(np.array([names.index(stroke[0]) for stroke in strokes], np.intp), counts),
            np.repeat(np.arange(len(strokes)), counts),
            np.repeat(np.array([slides.index(stroke[3]) for stroke in strokes], np.intp), counts),
            tuple(names),
            np.full(sum(counts), SCANNED, np.int8),
        )

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.labels)

    @property
    def strokes(self) -> NDArray[np.intp]:
        """Numbers of the strokes, ascending, int (stroke,)."""
        return np.unique(self.stroke)

    def of_strokes(self, values: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the value of each stroke, such as its label, int (stroke,); ``values``: of each cell, int (cell,)."""
        first = np.unique(self.stroke, return_index=True)[1]
        return values[first]

    @property
    def weights(self) -> NDArray[np.float64]:
        """Weight of each cell, float64 (cell,).

        Equal for all classes, and for the strokes of a class, except that ``OWN_STROKES`` of the reader weigh as much
        as all of the model that the fit starts from; the sum is the number of strokes.
        """
        weights: NDArray[np.float64] = 1 / np.bincount(self.stroke)[self.stroke]
        is_started = self.origin == STARTED
        started = np.bincount(self.labels, weights=weights * is_started, minlength=len(self.classes))
        weights *= np.where(is_started, 1, np.maximum(1, started / OWN_STROKES)[self.labels])
        weights /= np.bincount(self.labels, weights=weights)[self.labels]
        return weights * len(self.strokes) / weights.sum()

    def select(self, chosen: NDArray[np.bool_]) -> TrainingCells:
        """Return some of the cells; ``classes`` stays the same. ``chosen``: bool (cell,)."""
        return replace(
            self,
            features=self.features[chosen],
            labels=self.labels[chosen],
            stroke=self.stroke[chosen],
            slide=self.slide[chosen],
            origin=self.origin[chosen],
        )

    @property
    def own(self) -> TrainingCells:
        """The cells of the reader's strokes as scanned, which the accuracy is measured on."""
        return self.select(self.origin == SCANNED)

    def add(self, others: TrainingCells) -> TrainingCells:
        """Add cells of other strokes and slides; the classes are those of both, and the strength is that of others."""
        names = tuple(dict.fromkeys((*self.classes, *others.classes)))
        index = np.array([names.index(name) for name in others.classes], np.intp)
        first_stroke, first_slide = (int(values.max(initial=-1)) + 1 for values in (self.stroke, self.slide))
        return TrainingCells(
            np.concatenate([self.features.reshape(-1, others.features.shape[1]), others.features]),
            np.concatenate([self.labels, index[others.labels]]),
            np.concatenate([self.stroke, others.stroke + first_stroke]),
            np.concatenate([self.slide, others.slide + first_slide]),
            names,
            np.concatenate([self.origin, others.origin]),
            others.strength,
        )

    def add_variants(self, variants: Sequence[TrainingCells]) -> TrainingCells:
        """Add the features of the same cells in other stains."""
        joined = [self, *(replace(one, origin=np.full(len(one), VARIANT, np.int8)) for one in variants)]
        order = np.argsort(np.concatenate([one.stroke for one in joined]), kind="stable")
        return replace(
            self,
            features=np.concatenate([one.features for one in joined])[order],
            labels=np.concatenate([one.labels for one in joined])[order],
            stroke=np.concatenate([one.stroke for one in joined])[order],
            slide=np.concatenate([one.slide for one in joined])[order],
            origin=np.concatenate([one.origin for one in joined])[order],
        )

    def thin(self, count: int) -> TrainingCells:
        """Return at most ``count`` cells of each stroke as scanned, and as many in other stains, evenly spaced."""
        part = self.stroke * (STARTED + 1) + self.origin
        _, first, sizes = np.unique(part, return_index=True, return_counts=True)
        rank = (np.arange(len(self)) - np.repeat(first, sizes)) * count // np.repeat(sizes, sizes)
        is_first = np.append(True, np.diff(rank) != 0)[: len(self)]
        is_first[first] = True
        return self.select(is_first)


@dataclass(frozen=True, eq=False)
class CellClassifier(ABC):
    """Predicts classes from features.

    ``classes``: in the order of the probabilities. ``temperature``: divides the logits.
    """

    kind: ClassifierKind
    classes: tuple[str, ...]
    temperature: float

    @property
    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays to store, by name."""

    @abstractmethod
    def logits(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return logits before their division, float64 (cell, class); ``features``: float (cell, feature)."""

    def predict(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return probabilities, float32 (cell, class); ``features``: float (cell, feature)."""
        probability = np.empty((len(features), len(self.classes)), np.float32)
        for start in range(0, len(features), PREDICTED_AT_ONCE):
            part = slice(start, start + PREDICTED_AT_ONCE)
            probability[part] = softmax(self.logits(features[part]), self.temperature)
        return probability


@dataclass(frozen=True, eq=False)
class LinearClassifier(CellClassifier):
    """Logits that are linear in the features.

    ``weight``: float32 (feature, class). ``bias``: float64 (class,). ``center``: float32 (feature,), subtracted from
    the features, because their mean may be large compared with their spread.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float64]
    center: NDArray[np.float32]

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """See ``CellClassifier``."""
        return {"weight": self.weight, "bias": self.bias, "center": self.center}

    def logits(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """See ``CellClassifier``."""
        return (np.asarray(features, np.float32) - self.center) @ self.weight + self.bias


@dataclass(frozen=True, eq=False)
class ForestClassifier(CellClassifier):
    """Logarithms of the mean probabilities of trees, all nodes of which are in one table.

    ``feature``, ``left``, ``right``: int32 (node,); a leaf is its own child. ``threshold``: float32 (node,), up to
    which a value goes to the left. ``value``: float32 (node, class). ``roots``: int32 (tree,).
    """

    feature: NDArray[np.int32]
    threshold: NDArray[np.float32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: NDArray[np.float32]
    roots: NDArray[np.int32]

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """See ``CellClassifier``."""
        return {name: getattr(self, name) for name in ("feature", "threshold", "left", "right", "value", "roots")}

    def logits(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """See ``CellClassifier``."""
        values = np.asarray(features, np.float32)
        rows = np.arange(len(values))
        total = np.zeros((len(values), len(self.classes)))
        for root in self.roots.tolist():
            node = np.full(len(values), root, np.int32)
            for _ in range(TREE_DEPTH):
                below = values[rows, self.feature[node]] <= self.threshold[node]
                node = np.where(below, self.left[node], self.right[node])
            total += self.value[node]
        logarithms: NDArray[np.float64] = np.log(np.maximum(total / len(self.roots), MIN_PROBABILITY))
        return logarithms


def load_classifiers() -> None:
    """Import the libraries that fit classifiers, which takes up to two seconds."""
    import sklearn.linear_model  # noqa: F401
    import threadpoolctl  # noqa: F401


def fit_classifier(cells: TrainingCells, kind: ClassifierKind, temperature: float = 1.0) -> CellClassifier:
    """Fit a classifier on painted cells; the same cells give the same classifier.

    ``temperature``: as found by ``validate``. Raises ``InputError`` with advice if fewer than two classes have cells.
    """
    from threadpoolctl import threadpool_limits

    present = np.unique(cells.labels)
    advice = advise_painting([cells.classes[label] for label in present])
    if advice:
        raise InputError(f"a tissue classifier needs strokes of at least two classes. {advice}")
    if len(present) < len(cells.classes):
        labels = np.searchsorted(present, cells.labels)
        cells = replace(cells, labels=labels, classes=tuple(cells.classes[label] for label in present))
    with threadpool_limits(1):  # on a busy machine, several threads take 16 times as long for such small products
        return _FITS[kind](cells, temperature)


def _fit_nearest_mean(cells: TrainingCells, temperature: float) -> LinearClassifier:
    """Compare the distances from the class means, in units of the spread within classes."""
    weights = cells.weights
    means = np.stack(
        [
            np.average(cells.features[cells.labels == label], axis=0, weights=weights[cells.labels == label])
            for label in range(len(cells.classes))
        ]
    )
    spread = np.sqrt(np.average(np.square(cells.features - means[cells.labels]), axis=0, weights=weights))
    center, scale = means.mean(axis=0), np.maximum(spread, MIN_SPREAD)
    moved = (means - center) / scale
    size = np.sqrt(len(scale))  # the logits of many features, most of them correlated, would be too large
    bias = -np.square(moved).sum(axis=1) / (2 * size)
    weight = (moved / scale).T / size
    return LinearClassifier(
        "nearest_mean", cells.classes, temperature, weight.astype(np.float32), bias, center.astype(np.float32)
    )


def _fit_logistic(cells: TrainingCells, temperature: float) -> LinearClassifier:
    """Fit a multinomial logistic regression with weight decay on standardized features."""
    from sklearn.linear_model import LogisticRegression

    weights = cells.weights
    center = np.average(cells.features, axis=0, weights=weights)
    spread = np.sqrt(np.average(np.square(cells.features - center), axis=0, weights=weights))
    scale = np.maximum(spread, MIN_SPREAD).astype(np.float32)
    center = center.astype(np.float32)
    regression = LogisticRegression(C=cells.strength, tol=1e-3, max_iter=200)
    regression.fit((cells.features - center) / scale, cells.labels, sample_weight=weights)
    coefficients, bias = regression.coef_, regression.intercept_
    if len(cells.classes) == 2:  # one logit, that of the second class
        coefficients, bias = np.concatenate([0 * coefficients, coefficients]), np.append(0, bias)
    weight = (coefficients / scale).T
    return LinearClassifier(
        "logistic", cells.classes, temperature, weight.astype(np.float32), bias.astype(np.float64), center
    )


def _fit_forest(cells: TrainingCells, temperature: float) -> ForestClassifier:
    """Fit extremely randomized trees."""
    from sklearn.ensemble import ExtraTreesClassifier

    cells = cells.thin(CELLS_FOR_TREES)
    forest = ExtraTreesClassifier(TREES, max_depth=TREE_DEPTH, min_samples_leaf=LEAF_CELLS, random_state=0).fit(
        cells.features, cells.labels, sample_weight=cells.weights
    )
    trees = [estimator.tree_ for estimator in forest.estimators_]
    roots = np.cumsum([0, *(tree.node_count for tree in trees)])[:-1]
    itself = np.arange(sum(tree.node_count for tree in trees))
    children = [
        np.concatenate([np.where(side >= 0, side + root, -1) for side, root in zip(sides, roots, strict=True)])
        for sides in ([tree.children_left for tree in trees], [tree.children_right for tree in trees])
    ]
    left, right = (np.where(side >= 0, side, itself).astype(np.int32) for side in children)
    value = np.concatenate([tree.value[:, 0] for tree in trees])
    return ForestClassifier(
        "forest",
        cells.classes,
        temperature,
        np.maximum(np.concatenate([tree.feature for tree in trees]), 0).astype(np.int32),
        np.concatenate([tree.threshold for tree in trees]).astype(np.float32),
        left,
        right,
        (value / value.sum(axis=1, keepdims=True)).astype(np.float32),
        roots.astype(np.int32),
    )


_FITS: dict[ClassifierKind, Callable[[TrainingCells, float], CellClassifier]] = {
    "nearest_mean": _fit_nearest_mean,
    "logistic": _fit_logistic,
    "forest": _fit_forest,
}


def classifier_from_arrays(
    kind: ClassifierKind,
    classes: tuple[str, ...],
    temperature: float,
    arrays: Mapping[str, NDArray[Any]],
    features: int,
) -> CellClassifier:
    """Restore a classifier from stored arrays; raise BundleError if they do not fit each other.

    ``features``: length of the features of a cell.
    """
    classifier_type = ForestClassifier if kind == "forest" else LinearClassifier
    count = len(classes)
    try:
        if classifier_type is LinearClassifier:
            valid = arrays["weight"].shape == (features, count) and arrays["center"].shape == (features,)
            valid = valid and arrays["bias"].shape == (count,)
        else:
            nodes = len(arrays["feature"])
            valid = arrays["value"].shape == (nodes, count) and len(arrays["roots"]) > 0
            valid = valid and all(arrays[name].shape == (nodes,) for name in ("threshold", "left", "right"))
            limits = {"feature": features, "left": nodes, "right": nodes, "roots": nodes}
            valid = valid and all(
                arrays[name].min() >= 0 and arrays[name].max() < limit for name, limit in limits.items()
            )
        classifier = classifier_type(kind, classes, temperature, **arrays) if valid else None
    except (KeyError, TypeError, ValueError, IndexError):
        classifier = None
    if classifier is None:
        raise BundleError(
            f"the arrays of the tissue classifier do not fit its {count} classes and {features} features. Download or "
            "copy the bundle again."
        )
    return classifier


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
    names, own = cells.classes, cells.own
    strokes = tuple(np.bincount(own.of_strokes(own.labels), minlength=len(names)).tolist())
    sizes = tuple(np.bincount(own.labels, minlength=len(names)).tolist())
    advice = advise_painting([names[label] for label in np.unique(cells.labels)])
    if advice:
        return tuple(Validation(source, kind, names, strokes, sizes, advice=advice) for kind in kinds)
    thinned, validations = cells.thin(VALIDATED_CELLS), []
    for number, kind in enumerate(kinds):
        run.report(Progress(number, len(kinds), f"Validating {KIND_NAMES[kind]} on {source or 'features'}"))
        left_out = _predict_folds(thinned, kind, _stroke_folds(thinned), run)
        confusion = left_out.confusion
        validation = Validation(source, kind, names, strokes, sizes, left_out.estimate(), None, confusion)
        validation = replace(validation, temperature=left_out.temperature, warnings=_warnings(own, strokes))
        if len(np.unique(own.slide)) > 1:
            folds = [thinned.slide == slide for slide in np.unique(own.slide)]
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
    own, counts = cells.own, np.bincount(cells.of_strokes(cells.labels))
    labels = own.of_strokes(own.labels)
    strokes = own.strokes[np.argsort(labels, kind="stable")]  # those of a class are successive: in several folds
    strokes = strokes[counts[np.sort(labels)] > 1]
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
        tested = fold & np.isin(cells.labels, known) & (cells.origin == SCANNED)
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
    errors = [  # classes without a stroke are those of the model that the fit starts from
        ((1 - recall[name]) * count + 1) / (count + 2) if np.isfinite(recall[name]) else float(count > 0)
        for name, count in zip(names, strokes, strict=True)
    ]
    index = int(np.argmax(errors))
    if errors[index] < ENOUGH_ERROR:
        return "All classes are recognized. Paint where the map is wrong, or on another slide."
    name, count = names[index], format_count(strokes[index], "stroke")
    is_informative = recall[name] < WELL_RECOGNIZED  # false if it is unknown
    known = f"; {100 * recall[name]:.0f} % of its cells are recognized" if is_informative else ""
    return f"More strokes of '{name}' would help most ({count}{known})."
