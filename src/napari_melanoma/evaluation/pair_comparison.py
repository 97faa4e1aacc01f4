"""Compare an old and a new segmentation model on the same images, and advise which one to use.

For models of one class, the mean Jaccard index over images decides. For models of several classes, the pixels of all
images are counted together, as in ``evaluate_labels``; the mean Jaccard index over classes decides, and the new model
is not recommended if it is worse on the lesion class.
"""

from __future__ import annotations

import heapq
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.core.paths import free_name, safe_name
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.dataset import Sample
from napari_melanoma.evaluation.comparison import (
    SHOWN,
    Advice,
    ComparedModel,
    Comparison,
    DomainChange,
    ImageChange,
    advise,
    comparison_page,
)
from napari_melanoma.evaluation.evaluate import LabelModel, read_image_and_labels
from napari_melanoma.evaluation.mask_measurement import describe_failure, measure_sample, measurement_threshold
from napari_melanoma.evaluation.mask_results import ComparisonOptions, EvaluationOptions
from napari_melanoma.evaluation.metrics_files import describe_intervals
from napari_melanoma.evaluation.pages import metric_label, write_comparison_page
from napari_melanoma.evaluation.training_overlap import Overlap, mark_training_rows, select_images, with_overlap
from napari_melanoma.figures.evaluation import draw_contours, plot_changes
from napari_melanoma.io.results import write_rgb, write_table
from napari_melanoma.metrics.overlap import count_class_pairs, estimate_label_metrics, label_differences, label_metrics
from napari_melanoma.metrics.statistics import Estimate, bootstrap_mean, paired_difference
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.slides.lesions import default_lesion_class

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.lesion.analysis import ProbabilityModel

    Masks = tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]  # of old model, new model and reference


NEW_IMAGES = "new images"  # name for the images that belong to no base data set
MAX_PICTURES = 12  # images with the largest change, in each direction
PAGE_NAME = "comparison.html"
MIN_CHANGE = 0.005  # smaller changes of an image's Jaccard index are not shown


class MeasuredPair(NamedTuple):
    """Metrics of the old and the new model on an image, the masks to draw, and the image.

    ``masks``: bool (row, column): of old model, new model and reference. ``rgb``: uint8 (row, column, channel).
    ``counts``: pixels for multi-class models, int64 (model, true class, predicted class).
    """

    old: dict[str, float]
    new: dict[str, float]
    masks: Masks
    rgb: NDArray[np.uint8]
    counts: NDArray[np.int64] | None = None


class PairTask(Protocol):
    """The parts of a comparison that depend on the task of the models. Sequences have the old model first."""

    @property
    def infos(self) -> Sequence[BundleInfo]:
        """The bundles of both models."""

    @property
    def thresholds(self) -> Sequence[float]:
        """The decision thresholds of both models."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """Facts that are stored with the comparison."""

    def measure(self, sample: Sample) -> MeasuredPair:
        """Measure both models on one image."""

    def estimate(self, pairs: Sequence[ComparedImage]) -> tuple[dict[str, Estimate], ...]:
        """Return three dictionaries: the estimates of the old model, of the new model, and of the differences."""

    def advise(self, new: DomainChange, domains: Sequence[DomainChange], remedy: str) -> tuple[Advice, str]:
        """Return the advice and its reason.

        ``new``: on the images of no base data set. ``domains``: on each data set. ``remedy``: what to do if too few
        images could be compared; "": the default sentence.
        """


@dataclass
class ComparedImage:
    """Metrics of one image under both models, or ``error`` if it could not be measured."""

    sample: Sample
    old: dict[str, float] = field(default_factory=dict)
    new: dict[str, float] = field(default_factory=dict)
    error: str = ""
    counts: NDArray[np.int64] | None = None

    @property
    def change(self) -> float:
        """The Jaccard index of the new model minus that of the old model."""
        return self.new["JA"] - self.old["JA"]

    def row(self) -> dict[str, object]:
        """Return the row of ``per_image.csv``."""
        about = {name: getattr(self.sample, name) for name in ("image_id", "domain", "group", "diagnosis")}
        values: dict[str, object] = {"status": "failed" if self.error else "done", "error": self.error}
        for metric in SHOWN:
            old, new = self.old.get(metric), self.new.get(metric)
            change = None if old is None or new is None else new - old
            values |= {f"{metric}_old": old, f"{metric}_new": new, f"{metric}_difference": change}
        return {**about, **values}


class LargestChanges:
    """Pictures of the images that changed most: 12 that the new model improves, and 12 that it makes worse."""

    def __init__(self) -> None:
        # Direction (1 for improved, -1 for worse) to heap of absolute change, negative order, image and picture.
        self._heaps: dict[int, list[tuple[float, int, ComparedImage, NDArray[np.uint8]]]] = {1: [], -1: []}
        self._count = 0
        self._names: set[str] = set()

    def add(self, pair: ComparedImage, masks: Masks, rgb: NDArray[np.uint8]) -> None:
        """Draw and store an image if it is among those that changed most in its direction.

        ``masks``: bool (row, column): of the old model, of the new one, and the reference. ``rgb``: uint8 (row, column,
        channel).
        """
        if abs(pair.change) < MIN_CHANGE:
            return
        heap, change = self._heaps[1 if pair.change > 0 else -1], abs(pair.change)
        if len(heap) == MAX_PICTURES and change <= heap[0][0]:
            return
        self._count += 1
        item = (change, -self._count, pair, draw_contours(rgb, *masks))
        if len(heap) < MAX_PICTURES:
            heapq.heappush(heap, item)
        else:
            heapq.heapreplace(heap, item)

    def write(self, direction: int, folder: Path) -> tuple[ImageChange, ...]:
        """Write the pictures of one direction (1 or -1) and return their images, the largest change first."""
        changes = []
        for *_, pair, picture in sorted(self._heaps[direction], key=lambda item: item[:2], reverse=True):
            sample = pair.sample
            path = self._path(sample, folder / "thumbnails")
            write_rgb(path, picture)
            metrics = (pair.old["JA"], pair.new["JA"], pair.old["DI"], pair.new["DI"])
            changes.append(ImageChange(sample.image_id, sample.domain, sample.image, *metrics, path))
        return tuple(changes)

    def _path(self, sample: Sample, folder: Path) -> Path:
        """Choose a file name for the picture of an image; data sets may contain images with the same name."""
        image, domain = safe_name(sample.image_id), safe_name(sample.domain)
        name = free_name(image if image.lower() not in self._names else f"{domain}-{image}", self._names)
        self._names.add(name.lower())
        return folder / f"{name}.png"


def compare_pair(
    task: PairTask,
    samples: Sequence[Sample],
    out: Path,
    options: ComparisonOptions,
    *,
    run: RunContext,
    overlap: Overlap | None = None,
) -> Comparison:
    """Compare two models on the same images and write all files."""
    overlap, warnings = select_images(task.infos, samples, run=run, include=options.include_seen, overlap=overlap)
    extremes = LargestChanges()
    pairs = [
        _measure_pair(task, sample, out, extremes)
        for sample in run.track(overlap.measured, "Comparing the old and the new model")
    ]
    comparison = with_overlap(_summarize_pairs(task, pairs, options), overlap, warnings)
    return _write_comparison(comparison, pairs, extremes, out, overlap)


def _measure_pair(task: PairTask, sample: Sample, out: Path, extremes: LargestChanges) -> ComparedImage:
    """Measure both models on one image; a failure is recorded in the result."""
    try:
        measured = task.measure(sample)
    except Cancelled:
        raise
    except Exception as error:  # noqa: BLE001 - reported in the row of this image; the others continue
        return ComparedImage(sample, error=describe_failure(sample, error, out))
    pair = ComparedImage(sample, measured.old, measured.new, counts=measured.counts)
    extremes.add(pair, measured.masks, measured.rgb)
    return pair


def _summarize_pairs(task: PairTask, pairs: Sequence[ComparedImage], options: ComparisonOptions) -> Comparison:
    """Estimate all metrics and give the advice."""
    measured = _measured_pairs(pairs)
    names = sorted({pair.sample.domain for pair in measured})
    by_domain = {name: [pair for pair in measured if pair.sample.domain == name] for name in names}
    domains = [_estimate_change(task, name, name in options.base, by_domain[name]) for name in names]
    new_pairs = [pair for pair in measured if pair.sample.domain not in options.base] or measured
    advice, reason = task.advise(_estimate_change(task, NEW_IMAGES, False, new_pairs), domains, options.remedy)
    all_images = _estimate_change(task, "all", False, measured)
    old, new = (
        ComparedModel(info.name, info.fingerprint, threshold, metrics)
        for info, threshold, metrics in zip(task.infos, task.thresholds, (all_images.old, all_images.new), strict=True)
    )
    return Comparison(
        old=old,
        new=new,
        difference=all_images.difference,
        domains=tuple(domains),
        better=(),
        worse=(),
        advice=advice,
        reason=" ".join([reason, *options.notes]),
        images=len(measured),
        patients=all_images.patients,
        failed=tuple((pair.sample.image_id, pair.error) for pair in pairs if pair.error),
        facts={
            **task.facts,
            "interval": f"{describe_intervals([pair.sample for pair in measured])}; of differences paired",
            "provenance": collect_provenance(),
        },
    )


def _estimate_change(task: PairTask, name: str, is_base: bool, pairs: Sequence[ComparedImage]) -> DomainChange:
    """Estimate both models and their difference over some images."""
    return DomainChange(name, is_base, len({pair.sample.group for pair in pairs}), *task.estimate(pairs))


def _measured_pairs(pairs: Sequence[ComparedImage]) -> list[ComparedImage]:
    """Return the images that could be measured; raise an error if there are none."""
    measured = [pair for pair in pairs if not pair.error]
    if not measured:
        why = f"; '{pairs[0].sample.image_id}': {pairs[0].error}" if pairs else ""
        raise DataSetError(f"none of {len(pairs)} images could be compared{why}")
    return measured


def _write_comparison(
    comparison: Comparison,
    pairs: Sequence[ComparedImage],
    extremes: LargestChanges,
    out: Path,
    overlap: Overlap,
) -> Comparison:
    shutil.rmtree(out / "thumbnails", ignore_errors=True)  # of an earlier comparison
    rows = mark_training_rows((pair.row() for pair in pairs), [pair.sample for pair in pairs], overlap)
    write_table(out / "per_image.csv", list(rows))
    written = replace(comparison, better=extremes.write(1, out), worse=extremes.write(-1, out), path=out)
    jaccard = [(pair.sample.domain, pair.old["JA"], pair.new["JA"]) for pair in _measured_pairs(pairs)]
    intervals = {domain.name: domain.difference["JA"] for domain in written.domains}
    plot_changes(jaccard, intervals, out / "changes.png")
    write_comparison_page(comparison_page(written), out / "changes.png", out / PAGE_NAME)
    written.write(out)  # last: its presence marks the comparison as complete
    return written


TWO_MODELS = "these models are compared two at a time, the old one and the new one; {count} were named."
OTHER_CLASSES = (
    "'{old}' predicts {old_classes}, '{new}' predicts {new_classes}: no label images fit both. Compare models with the "
    "same classes in the same order."
)
LESION = "Lesion class '{name}': {change}."
WORSE_ON_LESIONS = "The new model is worse on '{name}', the lesion class: {change}."


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
    if len(models) != 2:
        raise InputError(TWO_MODELS.format(count=len(models)))
    one_class = all(info.config.segments_one_class for info in models)
    task = _load(models, options) if one_class else _load_labels(models)
    return compare_pair(task, samples, out, options, run=run, overlap=overlap)


def _load(models: Sequence[BundleInfo], options: EvaluationOptions) -> PairTask:
    from napari_melanoma.lesion.segmentation import Segmenter

    return MaskPair([Segmenter.load(info) for info in models], options)


def _load_labels(models: Sequence[BundleInfo]) -> PairTask:
    """Load models of several classes; reject models with different classes."""
    from napari_melanoma.slides.tile_models import TissueSegmenter

    old, new = models
    if old.config.classes != new.config.classes:
        named = {"old_classes": ", ".join(old.config.classes), "new_classes": ", ".join(new.config.classes)}
        raise InputError(OTHER_CLASSES.format(old=old.name, new=new.name, **named))
    return LabelPair([TissueSegmenter.load(info) for info in models])


@dataclass(frozen=True)
class MaskPair:
    """Two segmentation models: the mean Jaccard index over images decides."""

    models: Sequence[ProbabilityModel]
    options: EvaluationOptions

    @property
    def infos(self) -> list[BundleInfo]:
        return [model.info for model in self.models]

    @property
    def thresholds(self) -> list[float]:
        return [measurement_threshold(model, self.options) for model in self.models]

    @property
    def facts(self) -> dict[str, Any]:
        return {"options": self.options.model_dump(mode="json")}

    def measure(self, sample: Sample) -> MeasuredPair:
        refinement, flips = self.options.refinement, self.options.flips
        (first, old), (second, new) = (
            measure_sample(sample, model, threshold, refinement, flips=flips)
            for model, threshold in zip(self.models, self.thresholds, strict=True)
        )
        return MeasuredPair(old, new, (first.mask, second.mask, first.reference), first.rgb)

    def estimate(self, pairs: Sequence[ComparedImage]) -> tuple[dict[str, Estimate], ...]:
        groups = [pair.sample.group for pair in pairs]
        old = {name: [pair.old[name] for pair in pairs] for name in SHOWN}
        new = {name: [pair.new[name] for pair in pairs] for name in SHOWN}
        means = (
            {name: bootstrap_mean(values, groups, bounds=(0, 1)) for name, values in metrics.items()}
            for metrics in (old, new)
        )
        return (*means, {name: paired_difference(old[name], new[name], groups) for name in SHOWN})

    def advise(self, new: DomainChange, domains: Sequence[DomainChange], remedy: str) -> tuple[Advice, str]:
        return advise(new, domains, remedy=remedy)


@dataclass(frozen=True)
class LabelPair:
    """Two multi-class models: the mean Jaccard index over classes decides, and the lesion class has a veto."""

    models: Sequence[LabelModel]

    @property
    def infos(self) -> list[BundleInfo]:
        return [model.info for model in self.models]

    @property
    def thresholds(self) -> list[float]:
        return [info.config.threshold for info in self.infos]

    @property
    def facts(self) -> dict[str, Any]:
        return {"classes": list(self._classes), "lesion_class": default_lesion_class(self._classes)}

    @property
    def _classes(self) -> tuple[str, ...]:
        return self.models[0].info.config.classes

    def measure(self, sample: Sample) -> MeasuredPair:
        classes = self._classes
        rgb, truth = read_image_and_labels(sample, classes)
        predictions = [model.predict_labels(rgb) for model in self.models]
        counts = np.stack([count_class_pairs(labels, truth, len(classes)) for labels in predictions])
        old, new = ({name: float(value) for name, value in label_metrics(table, classes).items()} for table in counts)
        lesion = classes.index(default_lesion_class(classes))
        return MeasuredPair(
            old, new, (predictions[0] == lesion, predictions[1] == lesion, truth == lesion), rgb, counts
        )

    def estimate(self, pairs: Sequence[ComparedImage]) -> tuple[dict[str, Estimate], ...]:
        classes, groups = self._classes, [pair.sample.group for pair in pairs]
        counts = np.stack([pair.counts for pair in pairs if pair.counts is not None])
        old, new = counts[:, 0], counts[:, 1]
        means = (estimate_label_metrics(table, groups, classes) for table in (old, new))
        return (*means, label_differences(old, new, groups, classes))

    def advise(self, new: DomainChange, domains: Sequence[DomainChange], remedy: str) -> tuple[Advice, str]:
        advice, reason = advise(new, domains, remedy=remedy)
        lesion = default_lesion_class(self._classes)
        change = new.difference.get(f"JA {lesion}")
        if change is None or advice == "inconclusive":
            return advice, reason
        words = f"{metric_label('JA')} {change.mean:+.3f} ({change.format_interval(words='95 % interval ')})"
        if advice == "activate" and change.high < 0:
            return "keep", f"{WORSE_ON_LESIONS.format(name=lesion, change=words)} {reason}"
        return advice, f"{reason} {LESION.format(name=lesion, change=words)}"
