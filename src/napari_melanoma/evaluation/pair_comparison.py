"""Compare an old and a new segmentation model on the same images, and advise which one to use.

``compare_pair`` is the whole of it; what depends on the task is in ``MaskPair`` and ``LabelPair``. For models of one
class, the mean Jaccard index over images decides. For models of several classes, the pixels of all images are counted
together, as in ``evaluate_labels``; the mean Jaccard index over classes decides, and the new model is not recommended
if it is worse on the lesion class.
"""

from __future__ import annotations

import logging
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.paths import free_name, safe_name
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.partial_results import remove_partial_results
from napari_melanoma.evaluation.comparison import (
    SHOWN,
    Advice,
    ComparedModel,
    Comparison,
    DomainChange,
    ImageChange,
    comparison_page,
)
from napari_melanoma.evaluation.labels import LabelModel, LabelTask, pixel_counts, read_image_and_labels
from napari_melanoma.evaluation.masks import EvaluationOptions, MaskTask, measure_sample
from napari_melanoma.evaluation.pages import write_comparison_page
from napari_melanoma.evaluation.pipeline import ImageMetrics, interval_text, measure_images, select_images
from napari_melanoma.evaluation.recommendation import advise
from napari_melanoma.evaluation.training_overlap import Overlap, mark_training_rows, with_overlap
from napari_melanoma.figures.evaluation import draw_contours, plot_changes
from napari_melanoma.io.results import write_rgb, write_table
from napari_melanoma.metrics.metric_table import metric_label
from napari_melanoma.metrics.overlap import estimate_label_metrics, label_differences, label_metrics
from napari_melanoma.metrics.statistics import Estimate, bootstrap_mean, paired_difference
from napari_melanoma.slides.lesions import default_lesion_class

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.data.dataset import Sample
    from napari_melanoma.lesion.segmentation import Segmenter
    from napari_melanoma.models.bundle import BundleInfo

    Mask = NDArray[np.bool_]
    ContourImages = tuple[NDArray[np.uint8], Mask, Mask, Mask]

NEW_IMAGES = "new images"  # name for the images that belong to no replay data set
MAX_PICTURES = 12  # images with the largest change, in each direction
PAGE_NAME = "comparison.html"
MIN_CHANGE = 0.005  # smaller changes of an image's Jaccard index are not shown
TWO_MODELS = "these models are compared two at a time, the old one and the new one; {count} were named."
OTHER_CLASSES = (
    "'{old}' predicts {old_classes}, '{new}' predicts {new_classes}: no label images fit both. Compare models with the "
    "same classes in the same order."
)
LESION = "Lesion class '{name}': {change}."
WORSE_ON_LESIONS = "The new model is worse on '{name}', the lesion class: {change}."
log = logging.getLogger(__name__)


class ComparisonOptions(EvaluationOptions):
    """Which images are compared, and how masks are made."""

    replay: tuple[str, ...] = Field((), description="names of data sets on which the new model must not do worse")
    notes: tuple[str, ...] = Field(
        (), description="sentences on the images or models, appended to the reason of the advice"
    )
    remedy: str = Field("", description="what to do if too few images could be compared; empty: the default sentence")


def compare_segmenters(
    models: Sequence[BundleInfo],
    samples: Sequence[Sample],
    out: Path,
    options: ComparisonOptions,
    *,
    run: RunContext,
    overlap: Overlap | None = None,
) -> Comparison:
    """Load an old and a new segmentation model and compare them on the same images.

    Differences are paired by image, with intervals by bootstrap over patients or lesions (over slides if the data set
    names no patient). For models of several classes, ``JA`` and ``DI`` are means over classes, in addition to those of
    each class. ``overlap``: which of the images the models were trained on; determined if None.
    """
    from napari_melanoma.lesion.segmentation import Segmenter
    from napari_melanoma.slides.tissue_segmenter import TissueSegmenter

    if len(models) != 2:
        raise InputError(TWO_MODELS.format(count=len(models)))
    pair: ModelPair
    if all(info.config.segments_one_class for info in models):
        pair = MaskPair([Segmenter.load(info) for info in models], options)
    else:
        old, new = models
        if old.config.classes != new.config.classes:
            named = {"old_classes": ", ".join(old.config.classes), "new_classes": ", ".join(new.config.classes)}
            raise InputError(OTHER_CLASSES.format(old=old.name, new=new.name, **named))
        pair = LabelPair([TissueSegmenter.load(info) for info in models], options)
    return compare_pair(pair, samples, out, options, run=run, overlap=overlap)


@dataclass(frozen=True)
class PairMetrics:
    """The values of each image under the old and the new model, and those of ``SHOWN`` by metric, (image,) each."""

    old: ImageMetrics
    new: ImageMetrics
    old_shown: Mapping[str, NDArray[np.float64]]
    new_shown: Mapping[str, NDArray[np.float64]]

    @property
    def changes(self) -> NDArray[np.float64]:
        """Jaccard index of the new model minus that of the old one, float64 (image,); NaN for failed images."""
        return self.new_shown["JA"] - self.old_shown["JA"]

    def rows(self) -> Iterator[dict[str, object]]:
        """Yield the rows of ``per_image.csv``."""
        for index, row in enumerate(self.old.rows()):
            about = {name: row[name] for name in ("image_id", "domain", "group", "diagnosis", "status", "error")}
            for metric in SHOWN:
                old, new = float(self.old_shown[metric][index]), float(self.new_shown[metric][index])
                about |= {f"{metric}_old": old, f"{metric}_new": new, f"{metric}_difference": new - old}
            yield about


def compare_pair(
    pair: ModelPair,
    samples: Sequence[Sample],
    out: Path,
    options: ComparisonOptions,
    *,
    run: RunContext,
    overlap: Overlap | None = None,
) -> Comparison:
    """Compare two models on the same images and write all files, or resume where an earlier call was stopped."""
    task = pair.task
    overlap, warnings = select_images(task, samples, include_seen=options.include_seen, overlap=overlap, run=run)
    message = "Comparing the old and the new model"
    old, new = measure_images(task, overlap.measured, out, message=message, run=run)
    metrics = PairMetrics(old, new, pair.image_values(old), pair.image_values(new))
    comparison = with_overlap(_summarize(pair, metrics, options), overlap, warnings)
    shutil.rmtree(out / "thumbnails", ignore_errors=True)  # of an earlier comparison
    better, worse = _draw_largest_changes(pair, metrics, out / "thumbnails", run)
    rows = mark_training_rows(metrics.rows(), old.samples, overlap)
    write_table(out / "per_image.csv", list(rows))
    comparison = replace(comparison, better=better, worse=worse, path=out)
    jaccard = [
        (old.samples[index].domain, float(metrics.old_shown["JA"][index]), float(metrics.new_shown["JA"][index]))
        for index in old.measured
    ]
    intervals = {domain.name: domain.difference["JA"] for domain in comparison.domains}
    plot_changes(jaccard, intervals, out / "changes.png")
    write_comparison_page(comparison_page(comparison), out / "changes.png", out / PAGE_NAME)
    comparison.write(out)  # last: its presence marks the comparison as complete
    remove_partial_results(out)
    return comparison


def _summarize(pair: ModelPair, metrics: PairMetrics, options: ComparisonOptions) -> Comparison:
    """Estimate all metrics and give the advice."""
    measured = metrics.old.measured_samples
    sample_domains = np.array([sample.domain for sample in measured])

    def estimate(name: str, selected: NDArray[np.bool_]) -> DomainChange:
        indices = metrics.old.measured[selected]
        groups = [metrics.old.samples[index].group for index in indices]
        return DomainChange(name, name in options.replay, len(set(groups)), *pair.estimate(metrics, indices, groups))

    domains = [estimate(str(name), sample_domains == name) for name in np.unique(sample_domains)]
    is_new = ~np.isin(sample_domains, options.replay)
    new_images = estimate(NEW_IMAGES, is_new if is_new.any() else ~is_new)
    advice, reason = pair.advise(new_images, domains, options.remedy)
    whole = estimate("all", np.ones(len(measured), bool))
    old, new = (
        ComparedModel(info.name, info.fingerprint, threshold, estimates)
        for info, threshold, estimates in zip(pair.task.infos, pair.thresholds, (whole.old, whole.new), strict=True)
    )
    return Comparison(
        old=old,
        new=new,
        difference=whole.difference,
        domains=tuple(domains),
        better=(),
        worse=(),
        advice=advice,
        reason=" ".join([reason, *options.notes]),
        images=len(measured),
        patients=whole.patients,
        failed=tuple((item.sample.image_id, item.error) for item in metrics.old.failed),
        facts={
            **pair.facts,
            "interval": f"{interval_text(measured)}; of differences paired",
            "provenance": collect_provenance(),
        },
    )


def _draw_largest_changes(
    pair: ModelPair, metrics: PairMetrics, folder: Path, run: RunContext
) -> tuple[tuple[ImageChange, ...], tuple[ImageChange, ...]]:
    """Draw the images that the new model improves most, and those that it makes worse most, the largest change first.

    They are predicted again, since the pixels of all images do not fit into memory.
    """
    names: set[str] = set()
    sides = []
    for changes in (metrics.changes, -metrics.changes):
        order = np.argsort(-changes, kind="stable")
        side = []
        for index in [each for each in order if changes[each] >= MIN_CHANGE][:MAX_PICTURES]:
            run.check()
            sample = metrics.old.samples[index]
            jaccard, dice = (
                (float(metrics.old_shown[name][index]), float(metrics.new_shown[name][index])) for name in SHOWN
            )
            picture = _draw_contours(pair, sample)
            path = None if picture is None else _picture_path(sample, folder, names)
            if path is not None and picture is not None:
                write_rgb(path, picture)
            side.append(ImageChange(sample.image_id, sample.domain, sample.image, *jaccard, *dice, path))
        sides.append(tuple(side))
    return sides[0], sides[1]


def _draw_contours(pair: ModelPair, sample: Sample) -> NDArray[np.uint8] | None:
    """Draw the contours of both models and of the reference; None if that fails."""
    try:
        return draw_contours(*pair.predict_masks(sample))
    except Cancelled:
        raise
    except Exception:  # any error: the image has its metrics and is not drawn
        log.debug("%s could not be drawn", sample.image, exc_info=True)
        return None


def _picture_path(sample: Sample, folder: Path, names: set[str]) -> Path:
    """Choose a file name that is not in ``names``; data sets may contain images with the same name."""
    image, domain = safe_name(sample.image_id), safe_name(sample.domain)
    name = free_name(image if image.lower() not in names else f"{domain}-{image}", names)
    names.add(name.lower())
    return folder / f"{name}.png"


class ModelPair(ABC):
    """An old and a new model: what a comparison has to know of their task. Sequences have the old model first.

    ``task``: measures both. ``thresholds``: their decision thresholds. ``facts``: stored with the comparison.
    """

    task: MaskTask | LabelTask
    thresholds: Sequence[float]
    facts: Mapping[str, Any]

    @abstractmethod
    def image_values(self, metrics: ImageMetrics) -> Mapping[str, NDArray[np.float64]]:
        """Return the metrics of ``SHOWN`` of every image, float64 (image,); NaN for failed images."""

    @abstractmethod
    def estimate(
        self, metrics: PairMetrics, indices: NDArray[np.intp], groups: Sequence[str]
    ) -> tuple[dict[str, Estimate], ...]:
        """Return three dictionaries: the estimates of the old model, of the new model, and of the differences.

        ``indices``: int (image,). ``groups``: the patient or lesion of each of these images.
        """

    @abstractmethod
    def predict_masks(self, sample: Sample) -> ContourImages:
        """Return an image, uint8 (row, column, channel), and the masks of old model, new model and reference."""

    def advise(self, new: DomainChange, domains: Sequence[DomainChange], remedy: str) -> tuple[Advice, str]:
        """Return the advice and its reason.

        ``new``: on the images of no replay data set. ``domains``: on each data set. ``remedy``: what to do if too few
        images could be compared; "": the default sentence.
        """
        return advise(new, domains, remedy=remedy)


class MaskPair(ModelPair):
    """Two segmentation models: the mean Jaccard index over images decides."""

    task: MaskTask

    def __init__(self, models: Sequence[Segmenter], options: EvaluationOptions) -> None:
        self.task = MaskTask(models, options.model_copy(update={"difficulty": False}))
        self.thresholds = self.task.thresholds
        self.facts = {"options": options.model_dump(mode="json")}

    def image_values(self, metrics: ImageMetrics) -> dict[str, NDArray[np.float64]]:
        return {name: metrics.column(name) for name in SHOWN}

    def estimate(
        self, metrics: PairMetrics, indices: NDArray[np.intp], groups: Sequence[str]
    ) -> tuple[dict[str, Estimate], ...]:
        old, new = (
            {name: values[name][indices] for name in SHOWN} for values in (metrics.old_shown, metrics.new_shown)
        )
        means = (
            {name: bootstrap_mean(values, groups, bounds=(0, 1)) for name, values in one.items()} for one in (old, new)
        )
        return (*means, {name: paired_difference(old[name], new[name], groups) for name in SHOWN})

    def predict_masks(self, sample: Sample) -> ContourImages:
        options = self.task.options
        cases = [
            measure_sample(sample, model, threshold, options.refinement, flips=options.flips)[0]
            for model, threshold in zip(self.task.models, self.thresholds, strict=True)
        ]
        return cases[0].rgb, cases[0].mask, cases[1].mask, cases[0].reference


class LabelPair(ModelPair):
    """Two multi-class models: the mean Jaccard index over classes decides, and the lesion class has a veto."""

    task: LabelTask

    def __init__(self, models: Sequence[LabelModel], options: EvaluationOptions) -> None:
        self.task = LabelTask(models, options)
        self.thresholds = [info.config.threshold for info in self.task.infos]
        self._lesion = default_lesion_class(self.task.classes)
        self.facts = {"classes": list(self.task.classes), "lesion_class": self._lesion}

    def image_values(self, metrics: ImageMetrics) -> dict[str, NDArray[np.float64]]:
        values = label_metrics(pixel_counts(metrics), self.task.classes)
        return {name: values[name] for name in SHOWN}

    def estimate(
        self, metrics: PairMetrics, indices: NDArray[np.intp], groups: Sequence[str]
    ) -> tuple[dict[str, Estimate], ...]:
        old, new = (pixel_counts(each)[indices] for each in (metrics.old, metrics.new))
        means = (estimate_label_metrics(counts, groups, self.task.classes) for counts in (old, new))
        return (*means, label_differences(old, new, groups, self.task.classes))

    def predict_masks(self, sample: Sample) -> ContourImages:
        rgb, truth = read_image_and_labels(sample, self.task.classes)
        lesion = self.task.classes.index(self._lesion)
        predictions = [model.predict_labels(rgb) for model in self.task.models]
        return rgb, predictions[0] == lesion, predictions[1] == lesion, truth == lesion

    def advise(self, new: DomainChange, domains: Sequence[DomainChange], remedy: str) -> tuple[Advice, str]:
        advice, reason = super().advise(new, domains, remedy)
        change = new.difference.get(f"JA {self._lesion}")
        if change is None or advice == "inconclusive":
            return advice, reason
        words = f"{metric_label('JA')} {change.mean:+.3f} ({change.format_interval(words='95 % interval ')})"
        if advice == "activate" and change.high < 0:
            return "keep", f"{WORSE_ON_LESIONS.format(name=self._lesion, change=words)} {reason}"
        return advice, f"{reason} {LESION.format(name=self._lesion, change=words)}"
