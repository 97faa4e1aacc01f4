"""Measure models on images with reference masks: the whole analysis as users get it, refinement included."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.runs import Cancelled, Milestone, RunContext
from napari_melanoma.data.dataset import Sample, check_names, read_dataset, with_masks
from napari_melanoma.report.evaluation import CASES, Compared
from napari_melanoma.workflows.evaluation import Evaluation, EvaluationOptions, Figures, Subgroup, estimates
from napari_melanoma.workflows.evaluation_files import Written, write_evaluation
from napari_melanoma.workflows.measuring import measure_models, measure_sample, threshold_of, why_failed
from napari_melanoma.workflows.modality_fit import unfit_images
from napari_melanoma.workflows.subgroups import Known, known_of, subgroups
from napari_melanoma.workflows.training_overlap import images_to_measure
from napari_melanoma.workflows.unfinished import forget

if TYPE_CHECKING:
    from napari_melanoma.workflows.lesion import ProbabilityModel

__all__ = [
    "Evaluation",
    "EvaluationOptions",
    "evaluate",
    "measure_models",
    "measure_sample",
    "threshold_of",
    "why_failed",
]

CASES_OF_A_KIND = 6

log = logging.getLogger(__name__)


def evaluate(
    model: ProbabilityModel, datasets: Sequence[Path], out: Path, options: EvaluationOptions, *, run: RunContext
) -> Evaluation:
    """Measure a segmentation model and write what was found, or go on where an earlier call was stopped.

    Parameters
    ----------
    model : ProbabilityModel
        A loaded model.
    datasets : sequence of pathlib.Path
        Data sets with reference masks.
    out : pathlib.Path
        Gets ``summary.html``, ``metrics.json``, ``subgroups.csv``, ``per_image.csv`` and ``figures/``.
    options : EvaluationOptions
        Split, threshold, refinement, flips, difficulty.
    run : RunContext
        Told of the progress, asked whether to go on.

    Returns
    -------
    Evaluation
        TJA, JA, DI, AC, SE and SP (ISIC 2018), Hausdorff-95 and boundary F1, averaged over images, with 95 % intervals
        over patients or lesions, for all images, each data set and each subgroup of it. An image that cannot be read,
        or whose mask is not of its size, is in none of them, but among those that failed.

    Raises
    ------
    DataSetError
        Where a data set is faulty, or no image at all could be measured.
    Cancelled
        Where the user stopped it; the same call goes on.
    """
    check_names(datasets)
    samples = [s for folder in datasets for s in with_masks(read_dataset(folder), options.split)]
    overlap = images_to_measure([model.info], samples, run=run, include=options.include_seen)
    samples, warnings = overlap.kept, unfit_images([model.info], overlap.kept)
    for warning in warnings:
        run.report(Milestone(0, len(samples), f"Warning: {warning}"))
    (figures,) = measure_models([model], samples, options, out, run=run)
    evaluation = _evaluation(figures, threshold_of(model, options), known_of(datasets))
    evaluation = replace(evaluation, warnings=(*overlap.warnings, *warnings), overlap=overlap)
    cases: dict[str, list[Compared]] = {}
    for kind, places in _cases(figures).items():
        run.check()
        again = (_again(figures.samples[place], model, options) for place in places)
        cases[kind] = [compared for compared in again if compared is not None]
    write_evaluation(out, Written(evaluation, figures, cases, model, options))
    forget(out)
    return evaluation


def _evaluation(figures: Figures, threshold: float, known: Known) -> Evaluation:
    """Estimate the metrics over the images that could be measured."""
    found = tuple(
        Subgroup(data, by, value, estimates(figures, places)) for data, by, value, places in subgroups(figures, known)
    )
    return Evaluation(threshold, dict(_parts(figures, found)), figures.failed, found)


def _parts(figures: Figures, found: Sequence[Subgroup]) -> Iterator[tuple[str, dict]]:
    """Estimates for all images, each data set and each diagnosis of it."""
    measured = figures.measured
    yield "all", estimates(figures, measured)
    domains = np.array([figures.samples[place].domain for place in measured])
    for domain in np.unique(domains):
        yield str(domain), estimates(figures, measured[domains == domain])
        for group in found:
            if group.data == domain and group.by == "diagnosis":
                yield f"{domain}: {group.value}", group.metrics


def _cases(figures: Figures) -> dict[str, list[int]]:
    """Places of the images with the best, the middling and the worst Dice, no image twice, the worst first of all."""
    places = figures.measured
    ordered = places[np.argsort(figures.column("DI")[places], kind="stable")]
    each = min(CASES_OF_A_KIND, max(1, len(ordered) // 3))
    start = max(each, (len(ordered) - each) // 2)
    best = ordered[max(len(ordered) - each, start + each) :][::-1]
    return dict(zip(CASES, (list(best), list(ordered[start : start + each]), list(ordered[:each])), strict=True))


def _again(sample: Sample, model: ProbabilityModel, options: EvaluationOptions) -> Compared | None:
    """Compare an image once more, to draw it: to keep the pictures of all until the end would fill the memory."""
    try:
        return measure_sample(sample, model, threshold_of(model, options), options.refinement, flips=options.flips)[0]
    except Cancelled:
        raise
    except Exception:  # whatever it is: the image has its figures, and does without a picture
        log.debug("%s could not be drawn", sample.image, exc_info=True)
        return None
