"""Classifiers that predict the class of a cell from its features, fitted from scratch on the painted cells.

A classifier is a few arrays: it is stored without code, and predicts the same on every machine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import BundleError, InputError
from napari_melanoma.metrics.calibration import softmax

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
LOGISTIC_STRENGTH = 1.0  # of the data against the weight decay, for each stroke, with standardized features
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
    """

    features: NDArray[np.float32]
    labels: NDArray[np.intp]
    stroke: NDArray[np.intp]
    slide: NDArray[np.intp]
    classes: tuple[str, ...]

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

        Equal for all classes, and for the strokes of a class; the sum is the number of strokes.
        """
        of_stroke = 1 / np.bincount(self.stroke)[self.stroke]
        weights: NDArray[np.float64] = of_stroke / np.bincount(self.labels, weights=of_stroke)[self.labels]
        return weights * len(self.strokes) / weights.sum()

    def select(self, chosen: NDArray[np.bool_]) -> TrainingCells:
        """Return some of the cells; ``classes`` stays the same. ``chosen``: bool (cell,)."""
        return replace(
            self,
            features=self.features[chosen],
            labels=self.labels[chosen],
            stroke=self.stroke[chosen],
            slide=self.slide[chosen],
        )

    def thin(self, count: int) -> TrainingCells:
        """Return at most ``count`` cells of each stroke, evenly spaced."""
        _, first, sizes = np.unique(self.stroke, return_index=True, return_counts=True)
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
    regression = LogisticRegression(C=LOGISTIC_STRENGTH, tol=1e-3, max_iter=200)
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
