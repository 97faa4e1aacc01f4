"""Compare two multi-class segmentation models on the same images, class by class, with the same advice as for masks.

The pixels of all images are counted together, as in ``evaluate_labels``. The mean Jaccard index over classes decides,
and the lesion class has a veto.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.data.dataset import Sample
from napari_melanoma.evaluation.comparison import Advice, Comparison, DomainChange, advise
from napari_melanoma.evaluation.evaluate_labels import LabelModel, read_image_and_labels
from napari_melanoma.evaluation.overlap import Overlap
from napari_melanoma.evaluation.pages import metric_label
from napari_melanoma.evaluation.pair_comparison import ComparedImage, MeasuredPair, compare_pair
from napari_melanoma.evaluation.results import ComparisonOptions
from napari_melanoma.metrics.overlap import count_class_pairs, estimate_label_metrics, label_differences, label_metrics
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.slides.lesions import default_lesion_class

TWO_MODELS = "multi-class models are compared two at a time, the old one and the new one; {count} were named."
OTHER_CLASSES = (
    "'{old}' predicts {old_classes}, '{new}' predicts {new_classes}: no label images fit both. Compare models with the "
    "same classes in the same order."
)
LESION = "Lesion class '{name}': {change}."
WORSE_ON_LESIONS = "The new model is worse on '{name}', the lesion class: {change}."


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
    return compare_pair(_LabelPair(models), samples, out, options, run=run, overlap=overlap)


@dataclass(frozen=True)
class _LabelPair:
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
        found = [model.predict_labels(rgb) for model in self.models]
        counts = np.stack([count_class_pairs(labels, truth, len(classes)) for labels in found])
        old, new = ({name: float(one) for name, one in label_metrics(each, classes).items()} for each in counts)
        lesion = classes.index(default_lesion_class(classes))
        return MeasuredPair(old, new, (found[0] == lesion, found[1] == lesion, truth == lesion), rgb, counts)

    def estimate(self, pairs: Sequence[ComparedImage]) -> tuple[dict[str, Estimate], ...]:
        classes, groups = self._classes, [pair.sample.group for pair in pairs]
        counts = np.stack([pair.counts for pair in pairs if pair.counts is not None])
        old, new = counts[:, 0], counts[:, 1]
        means = (estimate_label_metrics(each, groups, classes) for each in (old, new))
        return (*means, label_differences(old, new, groups, classes))

    def advise(self, new: DomainChange, domains: Sequence[DomainChange], remedy: str) -> tuple[Advice, str]:
        advice, reason = advise(new, domains, remedy=remedy)
        lesion = default_lesion_class(self._classes)
        change = new.difference.get(f"JA {lesion}")
        if change is None or advice == "cannot tell":
            return advice, reason
        words = f"{metric_label('JA')} {change.mean:+.3f} ({change.format_interval(words='95 % interval ')})"
        if advice == "take over" and change.high < 0:
            return "keep", f"{WORSE_ON_LESIONS.format(name=lesion, change=words)} {reason}"
        return advice, f"{reason} {LESION.format(name=lesion, change=words)}"
