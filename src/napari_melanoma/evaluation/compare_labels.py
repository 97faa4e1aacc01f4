"""Compare two multi-class segmentation models on the same images, class by class, with the same advice as for masks.

The pixels of all images are counted together, as in ``evaluate_labels``. The mean Jaccard index over classes decides,
and the lesion class has a veto.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.context import Cancelled, Milestone, RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.dataset import Sample
from napari_melanoma.evaluation.compare import (
    NEW_IMAGES,
    ComparedImage,
    ComparisonOptions,
    LargestChanges,
    measured_pairs,
    write_comparison,
)
from napari_melanoma.evaluation.comparison import Advice, ComparedModel, Comparison, DomainChange, advise
from napari_melanoma.evaluation.evaluate_labels import LabelModel, read_image_and_labels
from napari_melanoma.evaluation.mask_measurement import describe_failure
from napari_melanoma.evaluation.overlap import Overlap, images_to_measure, with_overlap
from napari_melanoma.evaluation.pages import metric_label
from napari_melanoma.lesion.modality import modality_warnings
from napari_melanoma.metrics.overlap import count_class_pairs, estimate_label_metrics, label_differences, label_metrics
from napari_melanoma.metrics.statistics import INTERVAL_METHOD
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.slides.lesions import default_lesion_class

if TYPE_CHECKING:
    from numpy.typing import NDArray

TWO_MODELS = "multi-class models are compared two at a time, the old one and the new one; {count} were named."
OTHER_CLASSES = (
    "'{old}' predicts {old_classes}, '{new}' predicts {new_classes}: no label images fit both. Compare models with the "
    "same classes in the same order."
)
LESION = "Lesion class '{name}': {change}."
WORSE_ON_LESIONS = "The new model is worse on '{name}', the lesion class: {change}."


@dataclass
class _LabelCounts:
    """One image under both models, with its pixel counts, int64 (true class, predicted class)."""

    pair: ComparedImage
    old: NDArray[np.int64] | None = None
    new: NDArray[np.int64] | None = None


def compare_label_models(
    models: Sequence[BundleInfo],
    samples: Sequence[Sample],
    out: Path,
    options: ComparisonOptions,
    *,
    run: RunContext,
    overlap: Overlap | None = None,
) -> Comparison:
    """Load an old and a new model of the same classes and compare them on the same images.

    ``JA`` and ``DI`` are means over classes, in addition to those of each class; paired, with intervals by bootstrap
    over patients or lesions (over slides if the data set names no patient).
    """
    from napari_melanoma.slides.tile_models import TissueSegmenter

    if len(models) != 2:
        raise InputError(TWO_MODELS.format(count=len(models)))
    check_same_classes(*models)
    return compare_loaded_label_models(
        [TissueSegmenter.load(info) for info in models], samples, out, options, run=run, overlap=overlap
    )


def check_same_classes(old: BundleInfo, new: BundleInfo) -> None:
    """Reject two models with different classes."""
    if old.config.classes != new.config.classes:
        named = {"old_classes": ", ".join(old.config.classes), "new_classes": ", ".join(new.config.classes)}
        raise InputError(OTHER_CLASSES.format(old=old.name, new=new.name, **named))


def compare_loaded_label_models(
    models: Sequence[LabelModel],
    samples: Sequence[Sample],
    out: Path,
    options: ComparisonOptions,
    *,
    run: RunContext,
    overlap: Overlap | None = None,
) -> Comparison:
    """Compare two loaded models; see ``compare_label_models``."""
    infos = [model.info for model in models]
    overlap = overlap or images_to_measure(infos, samples, run=run, include=options.include_seen)
    samples, warnings = overlap.measured, modality_warnings(infos, overlap.measured)
    for warning in warnings:
        run.report(Milestone(0, len(samples), f"Warning: {warning}"))
    extremes = LargestChanges()
    counted = [
        _measure_counts(sample, models, out, extremes)
        for sample in run.track(samples, "Comparing the old and the new model")
    ]
    pairs = [one.pair for one in counted]
    measured_pairs(pairs)  # raises if there are none
    comparison = with_overlap(_summarize_counts(models, counted, options), overlap, warnings)
    return write_comparison(comparison, pairs, extremes, out, overlap)


def _measure_counts(sample: Sample, models: Sequence[LabelModel], out: Path, extremes: LargestChanges) -> _LabelCounts:
    """Count the pixels of both models in one image; a failure is recorded and the other images continue."""
    classes = models[0].info.config.classes
    try:
        rgb, truth = read_image_and_labels(sample, classes)
        found = [model.predict_labels(rgb) for model in models]
    except Cancelled:
        raise
    except Exception as error:  # noqa: BLE001 - reported in the row of this image; the others continue
        return _LabelCounts(ComparedImage(sample, error=describe_failure(sample, error, out)))
    old, new = (count_class_pairs(labels, truth, len(classes)) for labels in found)
    before, after = ({name: float(one) for name, one in label_metrics(each, classes).items()} for each in (old, new))
    pair, lesion = ComparedImage(sample, before, after), classes.index(default_lesion_class(classes))
    extremes.add(pair, (found[0] == lesion, found[1] == lesion, truth == lesion), rgb)
    return _LabelCounts(pair, old, new)


def _summarize_counts(
    models: Sequence[LabelModel], counted: Sequence[_LabelCounts], options: ComparisonOptions
) -> Comparison:
    """Estimate all metrics and give the advice."""
    classes = models[0].info.config.classes
    measured = [one for one in counted if not one.pair.error]
    names = sorted({one.pair.sample.domain for one in measured})
    of = {name: [one for one in measured if one.pair.sample.domain == name] for name in names}
    domains = [_change(name, name in options.base, of[name], classes) for name in names]
    of_new = [one for one in measured if one.pair.sample.domain not in options.base] or measured
    advice, reason = _advise(
        _change(NEW_IMAGES, False, of_new, classes), domains, default_lesion_class(classes), options.remedy
    )
    whole = _change("all", False, measured, classes)
    old, new = (
        ComparedModel(model.info.name, model.info.fingerprint, model.info.config.threshold, metrics)
        for model, metrics in zip(models, (whole.old, whole.new), strict=True)
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
        failed=tuple((one.pair.sample.image_id, one.pair.error) for one in counted if one.pair.error),
        facts={
            "classes": list(classes),
            "lesion_class": default_lesion_class(classes),
            "interval": f"{INTERVAL_METHOD}; of differences paired",
            "provenance": collect_provenance(),
        },
    )


def _change(name: str, is_base: bool, counted: Sequence[_LabelCounts], classes: Sequence[str]) -> DomainChange:
    """Estimate both models and their difference over some images."""
    groups = [one.pair.sample.group for one in counted]
    old, new = (np.stack([getattr(one, which) for one in counted]) for which in ("old", "new"))
    return DomainChange(
        name,
        is_base,
        len(set(groups)),
        old=estimate_label_metrics(old, groups, classes),
        new=estimate_label_metrics(new, groups, classes),
        difference=label_differences(old, new, groups, classes),
    )


def _advise(new: DomainChange, domains: Sequence[DomainChange], lesion: str, remedy: str) -> tuple[Advice, str]:
    """Advise by the mean over classes; if the lesion class loses, keep the old model."""
    advice, reason = advise(new, domains, remedy=remedy)
    change = new.difference.get(f"JA {lesion}")
    if change is None or advice == "cannot tell":
        return advice, reason
    lesion_change = f"{metric_label('JA')} {change.mean:+.3f} ({change.format_interval(words='95 % interval ')})"
    if advice == "take over" and change.high < 0:
        return "keep", f"{WORSE_ON_LESIONS.format(name=lesion, change=lesion_change)} {reason}"
    return advice, f"{reason} {LESION.format(name=lesion, change=lesion_change)}"
