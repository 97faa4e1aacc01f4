"""Metrics of class probabilities, and the labeled images that classifiers are evaluated on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.data.dataset import (
    DatasetEntry,
    Sample,
    check_dataset_names,
    iter_entries,
    read_dataset,
    select_for_split,
)
from napari_melanoma.data.training_images import DigestFunction, hash_image_file
from napari_melanoma.evaluation.class_measurement import ClassEvaluationOptions, Rows
from napari_melanoma.evaluation.overlap import Overlap, images_to_measure
from napari_melanoma.metrics.ranking import ResampledScores, class_recalls
from napari_melanoma.metrics.statistics import Estimate, bootstrap_interval, iter_bootstrap_weights
from napari_melanoma.training.data_selection import OTHER, Key, diagnosis_includes, row_labels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_melanoma.classification.classify import ClassifierModel
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.models.bundle import BundleConfig, BundleInfo

METRICS = {
    "AUC": "area under the ROC curve: how often the positive image of a pair has the higher probability",
    "AUC_within": "AUC of pairs within the same data set: recognizing the data set does not help",
    "AP": "average precision: area under the precision-recall curve",
    "pAUC": "area under the ROC curve above 80 % sensitivity, at most 0.2, chance level 0.02 (ISIC 2024)",
    "sensitivity": "share of the positives at or above the decision threshold",
    "specificity": "share of the others below the decision threshold",
    "precision": "share of positives among the images at or above the decision threshold",
    "F1": "harmonic mean of sensitivity and precision",
    "accuracy": "share of correct decisions at the threshold",
    "balanced_accuracy": "mean of sensitivity and specificity",
    "ECE": "expected calibration error of the positive class, 15 bins with equal numbers of images",
    "Brier": "mean squared difference between probability and truth",
    "macro_AUC": "mean over the classes of the AUC of each class against the rest",
    "class_accuracy": "share whose most probable class is the true one",
    "class_balanced_accuracy": "mean over the classes of the share that is predicted correctly",
}
LESS_IS_BETTER = ("ECE", "Brier")
MAX_VALUE = {"pAUC": 0.2}  # of metrics whose maximum is not 1
DIAGNOSIS = "diagnosis"


@dataclass(frozen=True, eq=False)
class ClassPredictions:
    """Predictions of a model for images, with their true classes.

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

    Returns name of ``METRICS`` to estimate; a metric that is undefined for these images, such as an AUC without
    positives, is omitted. ``count`` is the number of images that a metric is about: the positives for sensitivity, the
    others for specificity. Multi-class metrics need three classes, ``AUC_within`` two data sets.
    """
    if not len(predictions.labels):
        raise ValueError("an estimate needs at least one image; found none.")
    whole, counts = _metrics(predictions, np.ones((1, len(predictions.labels)))), _counts(predictions)
    samples = _bootstrap(predictions, lambda times: _metrics(predictions, times))
    return {
        name: _estimate(name, float(value[0]), samples, counts[name])
        for name, value in whole.items()
        if np.isfinite(value[0])
    }


def class_differences(old: ClassPredictions, new: ClassPredictions) -> dict[str, Estimate]:
    """Estimate the difference of each metric between two models, paired on the same bootstrap samples.

    Returns name to new minus old; a metric that is undefined for one of the models is omitted.
    """
    if not np.array_equal(old.labels, new.labels) or not np.array_equal(old.groups, new.groups):
        raise ValueError("a paired difference needs the same images in the same order; labels or groups differ.")

    def change(times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        before, after = _metrics(old, times), _metrics(new, times)
        return {name: after[name] - before[name] for name in after if name in before}

    whole, counts = change(np.ones((1, len(old.labels)))), _counts(old)
    samples = _bootstrap(old, change)
    return {
        name: _estimate(name, float(value[0]), samples, counts[name], least=-MAX_VALUE.get(name, 1.0))
        for name, value in whole.items()
        if np.isfinite(value[0])
    }


def domain_auc(predictions: ClassPredictions) -> float:
    """Return the AUC of a predictor that uses only the data set of each image.

    0.5 if positives are equally frequent in all data sets; NaN if there is only one class.
    """
    assert predictions.domains is not None
    names, index = np.unique(predictions.domains, return_inverse=True)
    shares = np.bincount(index, predictions.truth, len(names)) / np.bincount(index, minlength=len(names))
    return float(ResampledScores(shares[index], predictions.truth, np.ones((1, len(index)))).auc()[0])


def _metrics(predictions: ClassPredictions, times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return each metric for each bootstrap sample, float64 (sample,), in the order of ``METRICS``."""
    resampled = ResampledScores(predictions.scores, predictions.truth, times)
    found = {"AUC": resampled.auc()}
    if predictions.domains is not None and len(np.unique(predictions.domains)) > 1:
        found["AUC_within"] = _auc_within_domains(predictions, times)
    found |= {
        "AP": resampled.average_precision(),
        "pAUC": resampled.partial_auc(),
        **resampled.threshold_metrics(predictions.threshold),
    }
    found |= {"ECE": resampled.calibration_error(), "Brier": resampled.brier_score()}
    return found | (_multi_class_metrics(predictions, times) if len(predictions.classes) > 2 else {})


def _auc_within_domains(predictions: ClassPredictions, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the pairs within a data set that are ranked correctly."""
    assert predictions.domains is not None
    right, pairs = np.zeros(len(times)), np.zeros(len(times))
    for domain in np.unique(predictions.domains):
        here = predictions.domains == domain
        part = ResampledScores(predictions.scores[here], predictions.truth[here], times[:, here])
        right += part.count_concordant_pairs()
        pairs += part.positives * part.negatives
    return np.divide(right, pairs, out=np.full(len(times), np.nan), where=pairs > 0)


def _multi_class_metrics(predictions: ClassPredictions, times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Metrics over all classes that have an image."""
    predicted, there = predictions.probabilities.argmax(axis=1), np.unique(predictions.labels)
    areas = [
        ResampledScores(predictions.probabilities[:, one], predictions.labels == one, times).auc() for one in there
    ]
    return {
        "macro_AUC": np.mean(areas, axis=0),
        "class_accuracy": times @ (predicted == predictions.labels) / times.sum(axis=1),
        "class_balanced_accuracy": class_recalls(predicted, predictions.labels, len(predictions.classes), times)[
            :, there
        ].mean(axis=1),
    }


def _counts(predictions: ClassPredictions) -> dict[str, tuple[int, int]]:
    """Count the images that each metric is about, and the patients or lesions behind its interval."""
    truth, predicted = predictions.truth, predictions.scores >= predictions.threshold
    every = np.ones(len(truth), bool)
    positives, others = _count_groups(predictions.groups[truth]), _count_groups(predictions.groups[~truth])
    scarce = (len(truth), min(positives, others))
    found = dict.fromkeys(METRICS, scarce)
    found |= dict.fromkeys(
        ("accuracy", "ECE", "Brier", "class_accuracy"), (len(truth), _count_groups(predictions.groups[every]))
    )
    found["sensitivity"], found["specificity"] = (int(truth.sum()), positives), (int((~truth).sum()), others)
    found["precision"] = (int(predicted.sum()), _count_groups(predictions.groups[predicted]))
    if len(predictions.classes) > 2:
        rarest = min(
            _count_groups(predictions.groups[predictions.labels == one]) for one in np.unique(predictions.labels)
        )
        found |= dict.fromkeys(("macro_AUC", "class_balanced_accuracy"), (len(truth), rarest))
    return found


def _count_groups(groups: NDArray[Any]) -> int:
    """Number of different groups."""
    return len(np.unique(groups))


def _bootstrap(
    predictions: ClassPredictions, figures: Callable[[NDArray[np.float64]], Mapping[str, NDArray[np.float64]]]
) -> dict[str, NDArray[np.float64]]:
    """Each metric for all bootstrap samples; empty if there is only one patient."""
    parts = [figures(times) for times in iter_bootstrap_weights(predictions.groups)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}


def _estimate(
    name: str, value: float, samples: Mapping[str, NDArray[np.float64]], count: tuple[int, int], least: float = 0.0
) -> Estimate:
    """Estimate of a metric, with its interval clipped to the possible values."""
    bounds = (least, MAX_VALUE.get(name, 1.0))
    found = samples.get(name, np.array([]))
    return Estimate(
        value, *bootstrap_interval(value, found, count[1], bounds=bounds, biased=name in LESS_IS_BETTER), count[0]
    )


@dataclass(frozen=True, eq=False)
class LabeledImages:
    """The images of an evaluation with their true classes.

    ``labels``: int (image,), indices into ``classes``.
    """

    samples: list[Sample]
    rows: Rows
    labels: NDArray[np.intp]
    target: str
    left_out: int
    classes: tuple[str, ...]
    overlap: Overlap | None = None

    def without_training_images(
        self,
        models: Sequence[BundleInfo],
        options: ClassEvaluationOptions,
        *,
        run: RunContext,
        digest: DigestFunction = hash_image_file,
    ) -> LabeledImages:
        """Leave out the images that any of the models was trained on, unless the options include them."""
        if self.overlap is not None:
            return self
        overlap = images_to_measure(models, self.samples, run=run, include=options.include_seen, digest=digest)
        return replace(self, samples=overlap.measured, labels=self.labels[overlap.is_measured], overlap=overlap)


def find_labeled_images(
    datasets: Sequence[Path], model: ClassifierModel, options: ClassEvaluationOptions
) -> LabeledImages:
    """Find the images whose label is a class of the model.

    If the model uses the region around a reference mask, only images with such a mask are included.
    """
    check_dataset_names(datasets)
    config = model.info.config
    assert config.classifier is not None
    rows = {
        (folder.name, entry.image_id): entry.row
        for folder in datasets
        for entry in iter_entries(folder)
        if isinstance(entry, DatasetEntry)
    }
    columns = {column for row in rows.values() for column in row}
    target = options.target or _default_target(config, rows, columns)
    if target not in columns:
        raise DataSetError(
            f"no table has a column '{target}' (found: {', '.join(sorted(columns))}). Name the column that contains "
            "the class: --target."
        )
    needs_masks = config.classifier.view.region == "roi" and options.masks == "reference"
    found = [sample for folder in datasets for sample in _usable(folder, options.split, masks=needs_masks)]
    classes, known = _classes_and_labels(config, rows, target)
    samples = [sample for sample in found if known.get((sample.domain, sample.image_id)) in classes]
    if not samples:
        values = ", ".join(sorted(set(known.values()))[:12]) or "nothing"
        raise DataSetError(
            f"none of {len(found)} images has one of the classes of '{model.info.name}' "
            f"({', '.join(config.classes)}) in the column '{target}', which contains {values}. Name another column: "
            "--target."
        )
    labels = np.array([classes.index(known[sample.domain, sample.image_id]) for sample in samples], np.intp)
    return LabeledImages(samples, rows, labels, target, len(found) - len(samples), classes)


def _default_target(config: BundleConfig, rows: Rows, columns: set[str]) -> str:
    """The column that the model was trained on, if it contains its classes; else that of the positive class."""
    assert config.classifier is not None
    trained_target = (config.provenance.get("recipe", {}).get("classification") or {}).get("target", DIAGNOSIS)
    if len(set(row_labels(rows, trained_target).values()) & set(config.classes)) > 1:
        return str(trained_target)
    return config.classifier.positive if config.classifier.positive in columns else DIAGNOSIS


def _classes_and_labels(config: BundleConfig, rows: Rows, target: str) -> tuple[tuple[str, ...], Mapping[Key, str]]:
    """The classes of the labels, and the label of each row."""
    assert config.classifier is not None
    labels, positive = row_labels(rows, target), config.classifier.positive
    if set(config.classes) == {OTHER, positive} and target == DIAGNOSIS:  # against all other diagnoses
        includes = {key: diagnosis_includes(word, positive) for key, word in labels.items()}
        return config.classes, {key: positive if included else OTHER for key, included in includes.items()}
    if OTHER not in config.classes and {OTHER, positive}.issuperset(labels.values()):
        return (OTHER, positive), labels
    return config.classes, labels


def _usable(folder: Path, split: str | None, *, masks: bool) -> list[Sample]:
    """Images of a data set, optionally of one split."""
    samples = read_dataset(folder)
    if masks:
        return select_for_split(samples, split)
    return [sample for sample in samples if split in (None, sample.split)]
