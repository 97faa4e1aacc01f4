"""Two models on the same images, each as users get it: paired differences, who got better and worse, and an advice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from napari_melanoma.analysis.statistics import INTERVAL, Estimate, bootstrap_mean, paired_difference
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.provenance import provenance
from napari_melanoma.core.runs import Cancelled, Milestone, RunContext
from napari_melanoma.data.dataset import Sample
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.workflows.advice import advise
from napari_melanoma.workflows.comparison import (
    SHOWN,
    ComparedModel,
    Comparison,
    DomainChange,
    read_comparison,
)
from napari_melanoma.workflows.evaluate import EvaluationOptions, measure_sample, threshold_of, why_failed
from napari_melanoma.workflows.image_changes import Extremes, Pair, measured_of, write_comparison
from napari_melanoma.workflows.modality_fit import unfit_images
from napari_melanoma.workflows.training_overlap import Overlap, images_to_measure, with_overlap

if TYPE_CHECKING:
    from napari_melanoma.workflows.lesion import ProbabilityModel


__all__ = ["Comparison", "ComparisonOptions", "compare_loaded", "compare_models", "read_comparison"]

NEW_IMAGES = "new images"


class ComparisonOptions(EvaluationOptions):
    """What is compared, and how masks are made."""

    base: tuple[str, ...] = Field((), description="names of data sets that the new model must not do worse on")
    notes: tuple[str, ...] = Field((), description="sentences on the images or models that follow the advice's reason")
    remedy: str = Field("", description="what to do where too few images could be judged; none: the usual sentence")


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
        With reference masks; neither model should have learnt from them.
    out : pathlib.Path
        Gets ``comparison.json``, ``per_image.csv``, ``thumbnails/``, ``changes.png`` and ``comparison.html``.
    options : EvaluationOptions
        Threshold (by default each model's own) and refinement; ``ComparisonOptions`` names the base data too.
    run : RunContext
        Told of the progress, asked whether to go on.
    overlap : Overlap, optional
        Which of the images the models were trained on, where it is known.

    Returns
    -------
    Comparison
        Paired over images, intervals by bootstrap over patients or lesions.

    Raises
    ------
    InputError
        Where there are not two models.
    BundleError
        Where one's weights are damaged.
    DataSetError
        Where no image could be measured.
    Cancelled
        Where the user stopped it; nothing was written.
    """
    from napari_melanoma.inference.photograph import Segmenter

    if len(models) != 2:
        raise InputError(f"a comparison takes two models, the old one and the new one; {len(models)} were named.")
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
    """Compare two models that are loaded; ``compare_models`` says the rest.

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
        Told of the progress, asked whether to go on.
    overlap : Overlap, optional
        Which of the images the models were trained on, where it is known.

    Returns
    -------
    Comparison
        As it was written.

    Raises
    ------
    DataSetError
        Where no image could be measured.
    Cancelled
        Where the user stopped it; nothing was written.
    """
    old, new = models
    include = options.include_seen
    overlap = overlap or images_to_measure([old.info, new.info], samples, run=run, include=include)
    samples, warnings = overlap.kept, unfit_images([old.info, new.info], overlap.kept)
    for warning in warnings:
        run.report(Milestone(0, len(samples), f"Warning: {warning}"))
    extremes = Extremes()
    pairs = [
        _measured(sample, (old, new), options, out, extremes)
        for sample in run.track(samples, "Comparing the old and the new model")
    ]
    comparison = with_overlap(_comparison((old, new), pairs, options), overlap, warnings)
    return write_comparison(comparison, pairs, extremes, out, overlap)


def _measured(
    sample: Sample,
    models: Sequence[ProbabilityModel],
    options: EvaluationOptions,
    out: Path,
    extremes: Extremes,
) -> Pair:
    """Measure both models on one image; one that fails is noted, and the others go on."""
    try:
        (first, old), (second, new) = (
            measure_sample(sample, model, threshold_of(model, options), options.refinement, flips=options.flips)
            for model in models
        )
    except Cancelled:
        raise
    except Exception as error:  # noqa: BLE001 - reported in the row of this image; the others go on
        return Pair(sample, error=why_failed(sample, error, out))
    pair = Pair(sample, old, new)
    extremes.offer(pair, (first.mask, second.mask, first.reference), first.rgb)
    return pair


def _comparison(models: Sequence[ProbabilityModel], pairs: Sequence[Pair], options: EvaluationOptions) -> Comparison:
    """Estimate all there is to estimate, and advise."""
    about = options if isinstance(options, ComparisonOptions) else ComparisonOptions()
    measured = measured_of(pairs)
    names = sorted({pair.sample.domain for pair in measured})
    domains = [_change(name, name in about.base, [p for p in measured if p.sample.domain == name]) for name in names]
    of_new = [pair for pair in measured if pair.sample.domain not in about.base] or measured
    advice, reason = advise(_change(NEW_IMAGES, False, of_new), domains, remedy=about.remedy)
    whole = _change("all", False, measured)
    old, new = (
        ComparedModel(model.info.name, model.info.fingerprint, threshold_of(model, options), metrics)
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
        reason=" ".join([reason, *about.notes]),
        images=len(measured),
        patients=whole.patients,
        failed=tuple((pair.sample.image_id, pair.error) for pair in pairs if pair.error),
        facts={
            "options": options.model_dump(mode="json"),
            "interval": f"{INTERVAL}; of differences paired",
            "provenance": provenance(),
        },
    )


def _change(name: str, is_base: bool, pairs: Sequence[Pair]) -> DomainChange:
    """Estimate both models and their difference over some images."""
    groups = [pair.sample.group for pair in pairs]

    def estimates(of: Iterable[dict[str, float]]) -> dict[str, Estimate]:
        figures = list(of)
        return {metric: bootstrap_mean([item[metric] for item in figures], groups, bounds=(0, 1)) for metric in SHOWN}

    return DomainChange(
        name,
        is_base,
        len(set(groups)),
        old=estimates(pair.old for pair in pairs),
        new=estimates(pair.new for pair in pairs),
        difference={
            metric: paired_difference([p.old[metric] for p in pairs], [p.new[metric] for p in pairs], groups)
            for metric in SHOWN
        },
    )
