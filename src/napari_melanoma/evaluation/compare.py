"""Compare two segmentation models on the same images: paired differences, pictures and advice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.data.dataset import Sample
from napari_melanoma.evaluation.comparison import SHOWN, Advice, Comparison, DomainChange, advise
from napari_melanoma.evaluation.mask_measurement import measure_sample, measurement_threshold
from napari_melanoma.evaluation.overlap import Overlap
from napari_melanoma.evaluation.pair_comparison import ComparedImage, MeasuredPair, compare_pair
from napari_melanoma.evaluation.results import ComparisonOptions, EvaluationOptions
from napari_melanoma.metrics.statistics import Estimate, bootstrap_mean, paired_difference
from napari_melanoma.models.bundle import BundleInfo

if TYPE_CHECKING:
    from napari_melanoma.lesion.analysis import ProbabilityModel

__all__ = ["ComparisonOptions", "compare_loaded", "compare_models"]


def compare_models(
    models: Sequence[BundleInfo],
    samples: Sequence[Sample],
    out: Path,
    options: EvaluationOptions,
    *,
    run: RunContext,
    overlap: Overlap | None = None,
) -> Comparison:
    """Load an old and a new model and compare them on the same images.

    Parameters
    ----------
    models : sequence of BundleInfo
        The old one and the new one.
    samples : sequence of Sample
        With reference masks; neither model should have been trained on them.
    out : pathlib.Path
        Gets ``comparison.json``, ``per_image.csv``, ``thumbnails/``, ``changes.png`` and ``comparison.html``.
    options : EvaluationOptions
        Threshold (by default each model's own) and refinement; ``ComparisonOptions`` also names the base data.
    run : RunContext
        Receives the progress; can cancel.
    overlap : Overlap, optional
        Which of the images the models were trained on, if already known.

    Returns
    -------
    Comparison
        Paired over images, intervals by bootstrap over patients or lesions.

    Raises
    ------
    InputError
        If there are not two models.
    BundleError
        If the weights of a model are damaged.
    DataSetError
        If no image could be measured.
    Cancelled
        If the user stopped it; nothing was written.
    """
    from napari_melanoma.lesion.segmentation import Segmenter

    if len(models) != 2:
        raise InputError(f"a comparison needs two models, the old one and the new one; {len(models)} were named.")
    return compare_loaded([Segmenter.load(info) for info in models], samples, out, options, run=run, overlap=overlap)


def compare_loaded(
    models: Sequence[ProbabilityModel],
    samples: Sequence[Sample],
    out: Path,
    options: EvaluationOptions,
    *,
    run: RunContext,
    overlap: Overlap | None = None,
) -> Comparison:
    """Compare two loaded models; see ``compare_models``.

    Parameters
    ----------
    models : sequence of ProbabilityModel
        The old one and the new one.
    samples : sequence of Sample
        With reference masks.
    out : pathlib.Path
        Gets the files.
    options : EvaluationOptions
        Threshold, refinement, base data.
    run : RunContext
        Receives the progress; can cancel.
    overlap : Overlap, optional
        Which of the images the models were trained on, if already known.

    Returns
    -------
    Comparison
        The comparison, as written.

    Raises
    ------
    DataSetError
        If no image could be measured.
    Cancelled
        If the user stopped it; nothing was written.
    """
    settings = options if isinstance(options, ComparisonOptions) else ComparisonOptions(**dict(options))
    return compare_pair(_MaskPair(models, options), samples, out, settings, run=run, overlap=overlap)


@dataclass(frozen=True)
class _MaskPair:
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
            {name: bootstrap_mean(values, groups, bounds=(0, 1)) for name, values in each.items()}
            for each in (old, new)
        )
        return (*means, {name: paired_difference(old[name], new[name], groups) for name in SHOWN})

    def advise(self, new: DomainChange, domains: Sequence[DomainChange], remedy: str) -> tuple[Advice, str]:
        return advise(new, domains, remedy=remedy)
