"""Metrics of class probabilities, with intervals by bootstrap over patients or lesions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_melanoma.metrics.metric_table import CLASS_METRICS
from napari_melanoma.metrics.roc_curves import (
    ResampledScores,
    class_recalls,
    cohen_kappa,
    count_classes,
    matthews_correlation,
)
from napari_melanoma.metrics.statistics import Estimate, bootstrap_interval, draw_statistics

BIASED = ("ECE", "Brier")  # greater in bootstrap samples than in all images


@dataclass(frozen=True, eq=False)
class ClassPredictions:
    """Predictions of a classifier for images, with their true classes.

    ``probabilities`` is float64 (image, class), calibrated; ``labels`` int (image,), indices into ``classes``;
    ``groups`` names the patient or lesion of each image, ``domains`` the data set. At or above ``threshold`` the
    positive class is predicted.
    """

    probabilities: NDArray[np.float64]
    labels: NDArray[np.intp]
    groups: NDArray[Any]
    classes: tuple[str, ...]
    positive: str
    threshold: float = 0.5
    domains: NDArray[Any] | None = None

    @property
    def scores(self) -> NDArray[np.float64]:
        """Probability of the positive class, float64 (image,)."""
        return self.probabilities[:, self.classes.index(self.positive)]

    @property
    def truth(self) -> NDArray[np.bool_]:
        """Whether each image is of the positive class, bool (image,)."""
        return self.labels == self.classes.index(self.positive)

    @property
    def predicted(self) -> NDArray[np.intp]:
        """Predicted class, int (image,): of two classes by the threshold, of more the most probable one."""
        if len(self.classes) > 2:
            return self.probabilities.argmax(axis=1)
        positive = self.classes.index(self.positive)
        return np.where(self.scores >= self.threshold, positive, 1 - positive)

    def subset(self, indices: ArrayLike) -> Self:
        """Return the predictions of some images; ``indices``: int or bool (image,)."""
        where = np.asarray(indices)
        domains = None if self.domains is None else self.domains[where]
        parts = {"probabilities": self.probabilities[where], "labels": self.labels[where]}
        return replace(self, **parts, groups=self.groups[where], domains=domains)


def class_estimates(predictions: ClassPredictions) -> dict[str, Estimate]:
    """Estimate each metric with a 95 % interval, by bootstrap over patients or lesions.

    Returns name of ``CLASS_METRICS`` to estimate; a metric that is undefined for these images, such as an AUC without
    positives, is omitted. ``count`` is the number of images that a metric refers to: the positives for sensitivity, the
    others for specificity. Multi-class metrics need three classes, ``AUC_within`` two data sets.
    """
    if not len(predictions.labels):
        raise ValueError("an estimate needs at least one image; found none.")
    return _estimates(predictions, lambda weights: _metrics(predictions, weights))


def class_differences(old: ClassPredictions, new: ClassPredictions) -> dict[str, Estimate]:
    """Estimate the difference of each metric between two models, paired on the same bootstrap samples.

    Returns name to new minus old; a metric that is undefined for one of the models is omitted.
    """
    if (old.classes, old.positive) != (new.classes, new.positive):
        raise ValueError(
            f"a paired difference needs the same classes and positive class; found {old.positive} of "
            f"{', '.join(old.classes)} and {new.positive} of {', '.join(new.classes)}."
        )
    if not np.array_equal(old.labels, new.labels) or not np.array_equal(old.groups, new.groups):
        raise ValueError("a paired difference needs the same images in the same order; labels or groups differ.")

    def change(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        old_metrics, new_metrics = _metrics(old, weights), _metrics(new, weights)
        return {name: new_metrics[name] - old_metrics[name] for name in new_metrics if name in old_metrics}

    return _estimates(old, change, signed=True)


def domain_auc(predictions: ClassPredictions) -> float:
    """Return the AUC of a predictor that uses only the data set of each image.

    0.5 if positives are equally frequent in all data sets; NaN if there is only one class.
    """
    assert predictions.domains is not None
    names, index = np.unique(predictions.domains, return_inverse=True)
    shares = np.bincount(index, predictions.truth, len(names)) / np.bincount(index, minlength=len(names))
    return float(ResampledScores(shares[index], predictions.truth, np.ones((1, len(index)))).auc()[0])


def _metrics(predictions: ClassPredictions, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return each metric for each bootstrap sample, float64 (sample,), in the order of ``CLASS_METRICS``.

    ``weights``: float64 (sample, image), the number of times that a sample contains an image.
    """
    resampled = ResampledScores(predictions.scores, predictions.truth, weights)
    metrics = {"AUC": resampled.auc()}
    if predictions.domains is not None and len(np.unique(predictions.domains)) > 1:
        metrics["AUC_within"] = _auc_within_domains(predictions, weights)
    metrics |= {
        "AP": resampled.average_precision(),
        "pAUC": resampled.partial_auc(),
        **resampled.threshold_metrics(predictions.threshold),
    }
    metrics |= {"ECE": resampled.calibration_error(), "Brier": resampled.brier_score()}
    return metrics | (_multi_class_metrics(predictions, weights) if len(predictions.classes) > 2 else {})


def _auc_within_domains(predictions: ClassPredictions, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of the pairs within a data set that are ranked correctly, float64 (sample,)."""
    assert predictions.domains is not None
    concordant, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for domain in np.unique(predictions.domains):
        in_domain = predictions.domains == domain
        part = ResampledScores(predictions.scores[in_domain], predictions.truth[in_domain], weights[:, in_domain])
        concordant += part.count_concordant_pairs()
        pairs += part.positives * part.negatives
    return np.divide(concordant, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def _multi_class_metrics(predictions: ClassPredictions, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return the metrics over all classes that have an image, float64 (sample,) each."""
    predicted, present = predictions.probabilities.argmax(axis=1), np.unique(predictions.labels)
    areas = [
        ResampledScores(predictions.probabilities[:, label], predictions.labels == label, weights).auc()
        for label in present
    ]
    table = count_classes(predicted, predictions.labels, len(predictions.classes), weights)
    return {
        "macro_AUC": np.mean(areas, axis=0),
        "class_accuracy": weights @ (predicted == predictions.labels) / weights.sum(axis=1),
        "class_balanced_accuracy": class_recalls(predicted, predictions.labels, len(predictions.classes), weights)[
            :, present
        ].mean(axis=1),
        "class_MCC": matthews_correlation(table),
        "class_kappa": cohen_kappa(table),
    }


def _counts(predictions: ClassPredictions) -> dict[str, tuple[int, int]]:
    """Return, for each metric, how many images it refers to and how many patients or lesions limit its interval."""
    truth, predicted = predictions.truth, predictions.scores >= predictions.threshold
    positives, negatives = _count_groups(predictions.groups[truth]), _count_groups(predictions.groups[~truth])
    counts = dict.fromkeys(CLASS_METRICS, (len(truth), min(positives, negatives)))
    counts |= dict.fromkeys(
        ("accuracy", "ECE", "Brier", "class_accuracy"), (len(truth), _count_groups(predictions.groups))
    )
    counts["sensitivity"], counts["specificity"] = (int(truth.sum()), positives), (int((~truth).sum()), negatives)
    counts["precision"] = (int(predicted.sum()), _count_groups(predictions.groups[predicted]))
    if len(predictions.classes) > 2:
        rarest = min(
            _count_groups(predictions.groups[predictions.labels == label]) for label in np.unique(predictions.labels)
        )
        of_all_classes = ("macro_AUC", "class_balanced_accuracy", "class_MCC", "class_kappa")
        counts |= dict.fromkeys(of_all_classes, (len(truth), rarest))
    return counts


def _count_groups(groups: NDArray[Any]) -> int:
    return len(np.unique(groups))


def _estimates(
    predictions: ClassPredictions,
    metrics: Callable[[NDArray[np.float64]], Mapping[str, NDArray[np.float64]]],
    *,
    signed: bool = False,
) -> dict[str, Estimate]:
    """Estimate metrics, or with ``signed`` their differences, with intervals clipped to the possible values.

    ``metrics``: as for ``metrics.statistics.draw_statistics``.
    """
    counts, estimates = _counts(predictions), {}
    for name, (value, drawn) in draw_statistics(metrics, predictions.groups).items():
        if np.isfinite(value):
            (images, groups), (low, high) = counts[name], CLASS_METRICS[name].limits
            bounds = (low - high, high - low) if signed else (low, high)
            ends = bootstrap_interval(value, drawn, groups, bounds=bounds, biased=name in BIASED)
            estimates[name] = Estimate(value, *ends, images)
    return estimates
