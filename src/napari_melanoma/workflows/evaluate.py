"""Measure models on images with reference masks: the whole analysis as users get it, refinement included."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.boundaries import boundary_metrics
from napari_melanoma.analysis.difficulty import difficulty
from napari_melanoma.analysis.overlap import overlap
from napari_melanoma.analysis.refinement import RefinementConfig, refine_mask, smooth_probability
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.runs import RunContext
from napari_melanoma.data.dataset import Sample, check_names, read_dataset, with_masks
from napari_melanoma.io.photographs import Photograph, read_photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.report.evaluation import CASES, Compared
from napari_melanoma.workflows.batch import explain
from napari_melanoma.workflows.evaluation import (
    REFERENCE_SHARE,
    Evaluation,
    EvaluationOptions,
    Figures,
    Subgroup,
    estimates,
)
from napari_melanoma.workflows.evaluation_files import Written, write_evaluation
from napari_melanoma.workflows.lesion import ask, band_of
from napari_melanoma.workflows.subgroups import Known, known_of, subgroups

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.workflows.lesion import ProbabilityModel

__all__ = ["Evaluation", "EvaluationOptions", "evaluate", "measure_models", "measure_sample", "why_failed"]

CASES_OF_A_KIND = 6

log = logging.getLogger(__name__)


def evaluate(
    model: ProbabilityModel, datasets: Sequence[Path], out: Path, options: EvaluationOptions, *, run: RunContext
) -> Evaluation:
    """Measure a segmentation model and write what was found.

    Parameters
    ----------
    model : ProbabilityModel
        A loaded model.
    datasets : sequence of pathlib.Path
        Data sets with reference masks.
    out : pathlib.Path
        Gets ``summary.html``, ``metrics.json``, ``subgroups.csv``, ``per_image.csv`` and ``figures/``.
    options : EvaluationOptions
        Split, threshold, refinement, flips.
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
        Where the user stopped it; nothing was written.
    """
    check_names(datasets)
    samples = [s for folder in datasets for s in with_masks(read_dataset(folder), options.split)]
    (figures,) = measure_models([model], samples, options, out, run=run)
    threshold = threshold_of(model, options)
    evaluation = _evaluation(figures, threshold, known_of(datasets))
    cases = {
        kind: [compared for place in places if (compared := _again(figures.samples[place], model, options)) is not None]
        for kind, places in _cases(figures).items()
    }
    write_evaluation(out, Written(evaluation, figures, cases, model, options))
    return evaluation


def threshold_of(model: ProbabilityModel, options: EvaluationOptions) -> float:
    """Give the threshold at which a model is measured: its own unless one was asked for.

    Parameters
    ----------
    model : ProbabilityModel
        A loaded model.
    options : EvaluationOptions
        May name a threshold.

    Returns
    -------
    float
        Between 0 and 1.
    """
    return model.info.config.threshold if options.threshold is None else options.threshold


def measure_models(
    models: Sequence[ProbabilityModel],
    samples: Sequence[Sample],
    options: EvaluationOptions,
    out: Path,
    *,
    run: RunContext,
) -> list[Figures]:
    """Measure models on the same images, each of which is read once.

    Parameters
    ----------
    models : sequence of ProbabilityModel
        Loaded models.
    samples : sequence of Sample
        With masks.
    options : EvaluationOptions
        Threshold, refinement, flips.
    out : pathlib.Path
        Where the results will go; messages do not name it.
    run : RunContext
        Told of the progress, asked whether to go on.

    Returns
    -------
    list of Figures
        One a model. An image that fails under one of them counts as failed under all.

    Raises
    ------
    DataSetError
        Where no image could be measured.
    Cancelled
        Where the user stopped it.
    """
    found = [Figures() for _ in models]
    for sample in run.track(samples, "Measuring"):
        try:
            measured = _measured(sample, models, options)
        except Exception as error:  # noqa: BLE001 - reported in the row of this image; the others go on
            for figures in found:
                figures.fail(sample, why_failed(sample, error, out))
            continue
        for figures, values in zip(found, measured, strict=True):
            figures.add(sample, values)
    failed = found[0].failed
    if len(failed) == len(samples):
        why = f"; '{failed[0].sample.image_id}': {failed[0].error}" if failed else ""
        raise DataSetError(f"none of {len(failed)} images could be measured{why}")
    return found


def measure_sample(
    sample: Sample,
    model: ProbabilityModel,
    threshold: float,
    refinement: RefinementConfig,
    *,
    flips: bool = False,
) -> tuple[Compared, dict[str, float]]:
    """Analyse one image as users get it and compare its mask with the reference.

    Parameters
    ----------
    sample : Sample
        With a mask.
    model : ProbabilityModel
        A loaded model.
    threshold : float
        From which probability on a pixel is lesion.
    refinement : RefinementConfig
        What is done to the mask.
    flips : bool
        Whether to ask about the mirror images too.

    Returns
    -------
    compared : Compared
        The image and both masks.
    metrics : dict
        As ``analysis.overlap.overlap`` and ``analysis.boundaries.boundary_metrics`` give them; with flips also
        ``band_share``, the share that the uncertain band has of it and the mask together, and ``errors_in_band``, the
        share of the wrong pixels that lie in it.

    Raises
    ------
    DataSetError
        Where the mask is not of the image's size.
    UnreadableImage
        Where either cannot be read.
    """
    options = EvaluationOptions(threshold=threshold, refinement=refinement, flips=flips)
    return _compared(sample, *_read(sample), model, options)


def why_failed(sample: Sample, error: Exception, out: Path) -> str:
    """Say why an image could not be measured, without the names of folders.

    Parameters
    ----------
    sample : Sample
        The image.
    error : Exception
        What went wrong.
    out : pathlib.Path
        Where the results go.

    Returns
    -------
    str
        One line.
    """
    log.debug("%s failed", sample.image, exc_info=error)
    return explain(error, sample.image, out).replace(str(sample.mask), f"the mask of '{sample.image_id}'")


def _read(sample: Sample) -> tuple[Photograph, NDArray[np.bool_]]:
    """Read a photograph and its reference."""
    assert sample.mask is not None
    photograph, reference = read_photograph(sample.image), read_mask(sample.mask)
    shape = photograph.rgb.shape
    if shape[:2] != reference.shape:
        raise DataSetError(
            f"'{sample.image_id}': the mask has {reference.shape[0]} x {reference.shape[1]} pixels, the image "
            f"{shape[0]} x {shape[1]}. A mask needs the size of its upright image."
        )
    return photograph, reference


def _compared(
    sample: Sample,
    photograph: Photograph,
    reference: NDArray[np.bool_],
    model: ProbabilityModel,
    options: EvaluationOptions,
) -> tuple[Compared, dict[str, float]]:
    """Compare the mask of one model with the reference."""
    answer = ask(model, photograph.rgb, flips=options.flips)
    threshold = threshold_of(model, options)
    mask = refine_mask(smooth_probability(answer.probability, options.refinement) >= threshold, options.refinement)
    metrics = overlap(mask, reference) | boundary_metrics(mask, reference, photograph.pixel_size)
    band = band_of(answer, mask, threshold, options.refinement)
    if band is not None:
        metrics |= _of_band(band, mask, reference)
    return Compared(sample.image_id, metrics["DI"], photograph.rgb, mask, reference), metrics


def _of_band(band: NDArray[np.bool_], mask: NDArray[np.bool_], reference: NDArray[np.bool_]) -> dict[str, float]:
    """Say how wide the uncertain band is, and how many of the errors it holds."""
    wrong = mask != reference
    area, errors = np.count_nonzero(mask | band), np.count_nonzero(wrong)
    return {
        "band_share": np.count_nonzero(band) / area if area else math.nan,
        "errors_in_band": np.count_nonzero(band & wrong) / errors if errors else math.nan,
    }


def _measured(sample: Sample, models: Sequence[ProbabilityModel], options: EvaluationOptions) -> list[dict[str, float]]:
    """Figures of one image under each model, with what makes it difficult."""
    photograph, reference = _read(sample)
    facts = difficulty(photograph.rgb, reference) | {REFERENCE_SHARE: float(reference.mean())}
    return [_compared(sample, photograph, reference, model, options)[1] | facts for model in models]


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
        return _compared(sample, *_read(sample), model, options)[0]
    except Exception:  # whatever it is: the image has its figures, and does without a picture
        log.debug("%s could not be drawn", sample.image, exc_info=True)
        return None
