"""How well probabilities of classes hold: named estimates over images, and differences of two models on the same ones.

One place for all that judge a classifier: the evaluation, the comparison, the gate of a run and the papers' tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_melanoma.analysis.class_metrics import Drawn, class_recalls
from napari_melanoma.analysis.resampling import draws, interval
from napari_melanoma.analysis.statistics import Estimate

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

METRICS = {
    "AUC": "area under the ROC curve: how often the positive one of a pair has the higher probability",
    "AUC_within": "the same, of pairs within one data set alone: to know the data set is of no use",
    "AP": "average precision: area under the curve of precision over sensitivity",
    "pAUC": "area under the ROC curve above 80 % sensitivity, at most 0.2, by chance 0.02 (ISIC 2024)",
    "sensitivity": "share of the positives at or above the cut",
    "specificity": "share of the others below the cut",
    "precision": "share of positives among those at or above the cut",
    "F1": "harmonic mean of sensitivity and precision",
    "accuracy": "share that is on its side of the cut",
    "balanced_accuracy": "mean of sensitivity and specificity",
    "ECE": "expected calibration error of the positive class, 15 bins of as many images",
    "Brier": "mean squared distance of the probability from the truth",
    "macro_AUC": "mean over the classes of each one's area against the rest",
    "class_accuracy": "share whose likeliest class is the true one",
    "class_balanced_accuracy": "mean over the classes of the share of each that is said to be it",
}
LESS_IS_BETTER = ("ECE", "Brier")
MOST = {"pAUC": 0.2}  # what a metric can be at most, where that is not 1


@dataclass(frozen=True, eq=False)
class Told:
    """What a model said of images, and what they are.

    ``probabilities`` is float64 (image, class), calibrated; ``labels`` int (image,), places in ``classes``; ``groups``
    names the patient or lesion of each, ``domains`` the data set. At or above ``cut`` the positive class is said.
    """

    probabilities: NDArray[np.float64]
    labels: NDArray[np.intp]
    groups: NDArray[Any]
    classes: tuple[str, ...]
    positive: str
    cut: float = 0.5
    domains: NDArray[Any] | None = None

    @property
    def scores(self) -> NDArray[np.float64]:
        """Probability of the positive class, float64 (image,)."""
        return self.probabilities[:, self.classes.index(self.positive)]

    @property
    def truth(self) -> NDArray[np.bool_]:
        """Bool (image,): whether it is of the positive class."""
        return self.labels == self.classes.index(self.positive)

    @property
    def said(self) -> NDArray[np.intp]:
        """The class that is said: of two by the cut, of more the likeliest; int (image,)."""
        if len(self.classes) > 2:
            return self.probabilities.argmax(axis=1)
        positive = self.classes.index(self.positive)
        return np.where(self.scores >= self.cut, positive, 1 - positive)

    def take(self, places: ArrayLike) -> Self:
        """Take some of the images.

        ``places``: int or bool (image,). In that order.
        """
        where = np.asarray(places)
        domains = None if self.domains is None else self.domains[where]
        parts = {"probabilities": self.probabilities[where], "labels": self.labels[where]}
        return replace(self, **parts, groups=self.groups[where], domains=domains)


def class_estimates(told: Told) -> dict[str, Estimate]:
    """Estimate each metric with a 95 % interval for which patients or lesions are drawn.

    Name of ``METRICS`` to estimate; one that these images cannot have, such as an AUC without a positive, is not in it.
    ``count`` is the number of images that it is about: of sensitivity the positives, of specificity the others. Metrics
    over several classes are there from three classes on, ``AUC_within`` from two data sets on.
    """
    if not len(told.labels):
        raise ValueError("an estimate needs at least one image; found none.")
    whole, counts = _figures(told, np.ones((1, len(told.labels)))), _counts(told)
    drawn = _over_draws(told, lambda times: _figures(told, times))
    return {
        name: _estimate(name, float(value[0]), drawn, counts[name])
        for name, value in whole.items()
        if np.isfinite(value[0])
    }


def class_differences(old: Told, new: Told) -> dict[str, Estimate]:
    """Estimate by how much each metric of a new model differs from an old one's, paired: both on the same draws.

    Name to new less old; what one of the two cannot have is not in it.
    """
    if not np.array_equal(old.labels, new.labels) or not np.array_equal(old.groups, new.groups):
        raise ValueError("a paired difference needs the same images in the same order; labels or groups differ.")

    def change(times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        before, after = _figures(old, times), _figures(new, times)
        return {name: after[name] - before[name] for name in after if name in before}

    whole, counts = change(np.ones((1, len(old.labels)))), _counts(old)
    drawn = _over_draws(old, change)
    return {
        name: _estimate(name, float(value[0]), drawn, counts[name], least=-MOST.get(name, 1.0))
        for name, value in whole.items()
        if np.isfinite(value[0])
    }


def knowing_the_domain(told: Told) -> float:
    """Say which AUC one would have who knew of each image nothing but its data set.

    0.5 where positives are equally frequent in all of them; NaN where there is one class.
    """
    assert told.domains is not None
    names, index = np.unique(told.domains, return_inverse=True)
    shares = np.bincount(index, told.truth, len(names)) / np.bincount(index, minlength=len(names))
    return float(Drawn(shares[index], told.truth, np.ones((1, len(index)))).auc()[0])


def _figures(told: Told, times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Each metric of each draw, float64 (draw,); in the order of ``METRICS``."""
    drawn = Drawn(told.scores, told.truth, times)
    found = {"AUC": drawn.auc()}
    if told.domains is not None and len(np.unique(told.domains)) > 1:
        found["AUC_within"] = _within(told, times)
    found |= {"AP": drawn.average_precision(), "pAUC": drawn.partial_auc(), **drawn.decisions(told.cut)}
    found |= {"ECE": drawn.calibration_error(), "Brier": drawn.brier()}
    return found | (_of_classes(told, times) if len(told.classes) > 2 else {})


def _within(told: Told, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the pairs within a data set that are in the right order."""
    assert told.domains is not None
    right, pairs = np.zeros(len(times)), np.zeros(len(times))
    for domain in np.unique(told.domains):
        here = told.domains == domain
        part = Drawn(told.scores[here], told.truth[here], times[:, here])
        right += part.concordant()
        pairs += part.positives * part.others
    return np.divide(right, pairs, out=np.full(len(times), np.nan), where=pairs > 0)


def _of_classes(told: Told, times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Metrics over all classes; a class without an image has no say."""
    said, there = told.probabilities.argmax(axis=1), np.unique(told.labels)
    areas = [Drawn(told.probabilities[:, one], told.labels == one, times).auc() for one in there]
    return {
        "macro_AUC": np.mean(areas, axis=0),
        "class_accuracy": times @ (said == told.labels) / times.sum(axis=1),
        "class_balanced_accuracy": class_recalls(said, told.labels, len(told.classes), times)[:, there].mean(axis=1),
    }


def _counts(told: Told) -> dict[str, tuple[int, int]]:
    """How many images each metric is about, and how many patients or lesions say how sure it is."""
    truth, said = told.truth, told.scores >= told.cut
    every = np.ones(len(truth), bool)
    positives, others = _size(told.groups[truth]), _size(told.groups[~truth])
    scarce = (len(truth), min(positives, others))
    found = dict.fromkeys(METRICS, scarce)
    found |= dict.fromkeys(("accuracy", "ECE", "Brier", "class_accuracy"), (len(truth), _size(told.groups[every])))
    found["sensitivity"], found["specificity"] = (int(truth.sum()), positives), (int((~truth).sum()), others)
    found["precision"] = (int(said.sum()), _size(told.groups[said]))
    if len(told.classes) > 2:
        rarest = min(_size(told.groups[told.labels == one]) for one in np.unique(told.labels))
        found |= dict.fromkeys(("macro_AUC", "class_balanced_accuracy"), (len(truth), rarest))
    return found


def _size(groups: NDArray[Any]) -> int:
    """How many different groups there are."""
    return len(np.unique(groups))


def _over_draws(
    told: Told, figures: Callable[[NDArray[np.float64]], Mapping[str, NDArray[np.float64]]]
) -> dict[str, NDArray[np.float64]]:
    """Each metric over all draws; empty where one patient is all there is."""
    parts = [figures(times) for times in draws(told.groups)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}


def _estimate(
    name: str, value: float, drawn: Mapping[str, NDArray[np.float64]], count: tuple[int, int], least: float = 0.0
) -> Estimate:
    """A metric with its interval, which stays within what it can be."""
    bounds = (least, MOST.get(name, 1.0))
    found = drawn.get(name, np.array([]))
    return Estimate(value, *interval(value, found, count[1], bounds=bounds, biased=name in LESS_IS_BETTER), count[0])
