"""Metrics of class probabilities, and the images that classifiers are judged on."""

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
MAX_VALUE = {"pAUC": 0.2}  # what a metric can be at most, where that is not 1


@dataclass(frozen=True, eq=False)
class ClassPredictions:
    """What a model said of images, and what they are.

    ``probabilities`` is float64 (image, class), calibrated; ``labels`` int (image,), places in ``classes``; ``groups``
    names the patient or lesion of each, ``domains`` the data set. At or above ``cut`` the positive class is said.
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
        """Bool (image,): whether it is of the positive class."""
        return self.labels == self.classes.index(self.positive)

    @property
    def predicted(self) -> NDArray[np.intp]:
        """The class that is said: of two by the cut, of more the likeliest; int (image,)."""
        if len(self.classes) > 2:
            return self.probabilities.argmax(axis=1)
        positive = self.classes.index(self.positive)
        return np.where(self.scores >= self.threshold, positive, 1 - positive)

    def subset(self, places: ArrayLike) -> Self:
        """Take some of the images.

        ``places``: int or bool (image,). In that order.
        """
        where = np.asarray(places)
        domains = None if self.domains is None else self.domains[where]
        parts = {"probabilities": self.probabilities[where], "labels": self.labels[where]}
        return replace(self, **parts, groups=self.groups[where], domains=domains)


def class_estimates(predictions: ClassPredictions) -> dict[str, Estimate]:
    """Estimate each metric with a 95 % interval for which patients or lesions are drawn.

    Name of ``METRICS`` to estimate; one that these images cannot have, such as an AUC without a positive, is not in it.
    ``count`` is the number of images that it is about: of sensitivity the positives, of specificity the others. Metrics
    over several classes are there from three classes on, ``AUC_within`` from two data sets on.
    """
    if not len(predictions.labels):
        raise ValueError("an estimate needs at least one image; found none.")
    whole, counts = _metrics(predictions, np.ones((1, len(predictions.labels)))), _counts(predictions)
    drawn = _bootstrap(predictions, lambda times: _metrics(predictions, times))
    return {
        name: _estimate(name, float(value[0]), drawn, counts[name])
        for name, value in whole.items()
        if np.isfinite(value[0])
    }


def class_differences(old: ClassPredictions, new: ClassPredictions) -> dict[str, Estimate]:
    """Estimate by how much each metric of a new model differs from an old one's, paired: both on the same draws.

    Name to new less old; what one of the two cannot have is not in it.
    """
    if not np.array_equal(old.labels, new.labels) or not np.array_equal(old.groups, new.groups):
        raise ValueError("a paired difference needs the same images in the same order; labels or groups differ.")

    def change(times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        before, after = _metrics(old, times), _metrics(new, times)
        return {name: after[name] - before[name] for name in after if name in before}

    whole, counts = change(np.ones((1, len(old.labels)))), _counts(old)
    drawn = _bootstrap(old, change)
    return {
        name: _estimate(name, float(value[0]), drawn, counts[name], least=-MAX_VALUE.get(name, 1.0))
        for name, value in whole.items()
        if np.isfinite(value[0])
    }


def domain_auc(predictions: ClassPredictions) -> float:
    """Say which AUC one would have who knew of each image nothing but its data set.

    0.5 where positives are equally frequent in all of them; NaN where there is one class.
    """
    assert predictions.domains is not None
    names, index = np.unique(predictions.domains, return_inverse=True)
    shares = np.bincount(index, predictions.truth, len(names)) / np.bincount(index, minlength=len(names))
    return float(ResampledScores(shares[index], predictions.truth, np.ones((1, len(index)))).auc()[0])


def _metrics(told: ClassPredictions, times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Each metric of each draw, float64 (draw,); in the order of ``METRICS``."""
    drawn = ResampledScores(told.scores, told.truth, times)
    found = {"AUC": drawn.auc()}
    if told.domains is not None and len(np.unique(told.domains)) > 1:
        found["AUC_within"] = _auc_within_domains(told, times)
    found |= {"AP": drawn.average_precision(), "pAUC": drawn.partial_auc(), **drawn.threshold_metrics(told.threshold)}
    found |= {"ECE": drawn.calibration_error(), "Brier": drawn.brier_score()}
    return found | (_multi_class_metrics(told, times) if len(told.classes) > 2 else {})


def _auc_within_domains(told: ClassPredictions, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the pairs within a data set that are in the right order."""
    assert told.domains is not None
    right, pairs = np.zeros(len(times)), np.zeros(len(times))
    for domain in np.unique(told.domains):
        here = told.domains == domain
        part = ResampledScores(told.scores[here], told.truth[here], times[:, here])
        right += part.count_concordant_pairs()
        pairs += part.positives * part.negatives
    return np.divide(right, pairs, out=np.full(len(times), np.nan), where=pairs > 0)


def _multi_class_metrics(told: ClassPredictions, times: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Metrics over all classes; a class without an image has no say."""
    said, there = told.probabilities.argmax(axis=1), np.unique(told.labels)
    areas = [ResampledScores(told.probabilities[:, one], told.labels == one, times).auc() for one in there]
    return {
        "macro_AUC": np.mean(areas, axis=0),
        "class_accuracy": times @ (said == told.labels) / times.sum(axis=1),
        "class_balanced_accuracy": class_recalls(said, told.labels, len(told.classes), times)[:, there].mean(axis=1),
    }


def _counts(told: ClassPredictions) -> dict[str, tuple[int, int]]:
    """How many images each metric is about, and how many patients or lesions say how sure it is."""
    truth, said = told.truth, told.scores >= told.threshold
    every = np.ones(len(truth), bool)
    positives, others = _count_groups(told.groups[truth]), _count_groups(told.groups[~truth])
    scarce = (len(truth), min(positives, others))
    found = dict.fromkeys(METRICS, scarce)
    found |= dict.fromkeys(
        ("accuracy", "ECE", "Brier", "class_accuracy"), (len(truth), _count_groups(told.groups[every]))
    )
    found["sensitivity"], found["specificity"] = (int(truth.sum()), positives), (int((~truth).sum()), others)
    found["precision"] = (int(said.sum()), _count_groups(told.groups[said]))
    if len(told.classes) > 2:
        rarest = min(_count_groups(told.groups[told.labels == one]) for one in np.unique(told.labels))
        found |= dict.fromkeys(("macro_AUC", "class_balanced_accuracy"), (len(truth), rarest))
    return found


def _count_groups(groups: NDArray[Any]) -> int:
    """How many different groups there are."""
    return len(np.unique(groups))


def _bootstrap(
    told: ClassPredictions, figures: Callable[[NDArray[np.float64]], Mapping[str, NDArray[np.float64]]]
) -> dict[str, NDArray[np.float64]]:
    """Each metric over all draws; empty where one patient is all there is."""
    parts = [figures(times) for times in iter_bootstrap_weights(told.groups)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}


def _estimate(
    name: str, value: float, drawn: Mapping[str, NDArray[np.float64]], count: tuple[int, int], least: float = 0.0
) -> Estimate:
    """A metric with its interval, which stays within what it can be."""
    bounds = (least, MAX_VALUE.get(name, 1.0))
    found = drawn.get(name, np.array([]))
    return Estimate(
        value, *bootstrap_interval(value, found, count[1], bounds=bounds, biased=name in LESS_IS_BETTER), count[0]
    )


DIAGNOSIS = "diagnosis"


@dataclass(frozen=True, eq=False)
class LabeledImages:
    """The images of an evaluation with their answers.

    ``labels``: int (image,), places among ``classes``.
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
        """Leave out the images that any of the models was trained on, unless the options include them.

        With its overlap; itself where that is known.
        """
        if self.overlap is not None:
            return self
        overlap = images_to_measure(models, self.samples, run=run, include=options.include_seen, digest=digest)
        return replace(self, samples=overlap.measured, labels=self.labels[overlap.is_measured], overlap=overlap)


def find_labeled_images(
    datasets: Sequence[Path], model: ClassifierModel, options: ClassEvaluationOptions
) -> LabeledImages:
    """Find the images whose class is known to the model.

    Where the model looks at the square around a reference mask, images with such a mask alone.
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
            f"no table has a column '{target}' (found: {', '.join(sorted(columns))}). Name the column that holds the "
            "answer: --target."
        )
    needs_masks = config.classifier.view.region == "roi" and options.masks == "reference"
    found = [sample for folder in datasets for sample in _usable(folder, options.split, masks=needs_masks)]
    classes, answers = _classes_and_labels(config, rows, target)
    places = {word: place for place, word in enumerate(classes)}
    samples = [sample for sample in found if answers.get((sample.domain, sample.image_id)) in places]
    if not samples:
        words = ", ".join(sorted(set(answers.values()))[:12]) or "nothing"
        raise DataSetError(
            f"none of {len(found)} images has one of the classes of '{model.info.name}' "
            f"({', '.join(config.classes)}) in the column '{target}', which holds {words}. Name another: --target."
        )
    labels = np.array([places[answers[sample.domain, sample.image_id]] for sample in samples], np.intp)
    return LabeledImages(samples, rows, labels, target, len(found) - len(samples), classes)


def _default_target(config: BundleConfig, rows: Rows, columns: set[str]) -> str:
    """The column that a model was trained on, where it holds its classes; else the one called like the positive one."""
    assert config.classifier is not None
    learnt = (config.provenance.get("recipe", {}).get("classification") or {}).get("target", DIAGNOSIS)
    if len(set(row_labels(rows, learnt).values()) & set(config.classes)) > 1:
        return str(learnt)
    return config.classifier.positive if config.classifier.positive in columns else DIAGNOSIS


def _classes_and_labels(config: BundleConfig, rows: Rows, target: str) -> tuple[tuple[str, ...], Mapping[Key, str]]:
    """The classes that the answers are of, and the answer of each row."""
    assert config.classifier is not None
    answers, one = row_labels(rows, target), config.classifier.positive
    if set(config.classes) == {OTHER, one} and target == DIAGNOSIS:  # against the rest, whatever that is called
        return config.classes, {key: one if diagnosis_includes(word, one) else OTHER for key, word in answers.items()}
    if OTHER not in config.classes and {OTHER, one}.issuperset(answers.values()):
        return (OTHER, one), answers
    return config.classes, answers


def _usable(folder: Path, split: str | None, *, masks: bool) -> list[Sample]:
    """Images of a data set, of one split where one is named."""
    samples = read_dataset(folder)
    if masks:
        return select_for_split(samples, split)
    return [sample for sample in samples if split in (None, sample.split)]
