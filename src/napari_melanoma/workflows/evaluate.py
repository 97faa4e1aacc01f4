"""Measure a model on images with reference masks: the whole analysis as users get it, refinement included."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from napari_melanoma.analysis.overlap import METRICS, overlap
from napari_melanoma.analysis.refinement import RefinementConfig, refine_mask, smooth_probability
from napari_melanoma.analysis.statistics import Estimate, bootstrap_mean
from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.provenance import provenance
from napari_melanoma.core.runs import RunContext
from napari_melanoma.data.dataset import Sample, read_dataset, with_masks
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask, write_table
from napari_melanoma.report.evaluation import Compared, draw_distribution, draw_worst

if TYPE_CHECKING:
    from napari_melanoma.workflows.lesion import ProbabilityModel

WORST_SHOWN = 12


class EvaluationOptions(Config):
    """What is measured, and how masks are made."""

    split: str | None = Field(None, description="only images of this split, such as 'val'; none: every image")
    threshold: float | None = Field(None, gt=0, lt=1, description="none: the model's own")
    refinement: RefinementConfig = RefinementConfig()


@dataclass(frozen=True)
class Measured:
    """One image of an evaluation and its metrics."""

    sample: Sample
    metrics: dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found: each part of the data by name, with an estimate of each metric."""

    threshold: float
    parts: dict[str, dict[str, Estimate]]


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
        Gets ``metrics.json``, ``per_image.csv`` and ``figures/``.
    options : EvaluationOptions
        Split, threshold, refinement.
    run : RunContext
        Told of the progress, asked whether to go on.

    Returns
    -------
    Evaluation
        TJA, JA, DI, AC, SE and SP (ISIC 2018), averaged over images, with 95 % bootstrap intervals over patients
        or lesions, for all images, each data set and each diagnosis.

    Raises
    ------
    DataSetError
        Where a data set is faulty, or a mask has not the size of its image.
    Cancelled
        Where the user stopped it; nothing was written.
    """
    samples = [s for folder in datasets for s in with_masks(read_dataset(folder), options.split)]
    threshold = model.info.config.threshold if options.threshold is None else options.threshold
    measured: list[Measured] = []
    worst: list[tuple[float, int, Compared]] = []
    for sample in run.track(samples, "Measuring"):
        compared, metrics = _measure(sample, model, threshold, options.refinement)
        measured.append(Measured(sample, metrics))
        heapq.heappush(worst, (-compared.dice, len(measured), compared))
        if len(worst) > WORST_SHOWN:
            heapq.heappop(worst)
    evaluation = Evaluation(threshold, dict(_parts(measured)))
    _write(out, evaluation, measured, model, options)
    draw_worst([compared for *_, compared in sorted(worst, key=lambda item: item[2].dice)], out / "figures/worst.png")
    return evaluation


def _measure(
    sample: Sample, model: ProbabilityModel, threshold: float, refinement: RefinementConfig
) -> tuple[Compared, dict[str, float]]:
    """Analyse one image and compare its mask with the reference."""
    assert sample.mask is not None
    rgb, reference = read_photograph(sample.image).rgb, read_mask(sample.mask)
    if rgb.shape[:2] != reference.shape:
        raise DataSetError(
            f"'{sample.image_id}': the mask has {reference.shape[0]} x {reference.shape[1]} pixels, the image "
            f"{rgb.shape[0]} x {rgb.shape[1]}. A mask needs the size of its upright image."
        )
    smoothed = smooth_probability(model.probability(rgb), refinement)
    mask = refine_mask(smoothed >= threshold, refinement)
    metrics = overlap(mask, reference)
    return Compared(sample.image_id, metrics["DI"], rgb, mask, reference), metrics


def _parts(measured: list[Measured]) -> Iterator[tuple[str, dict[str, Estimate]]]:
    """Estimate every metric for all images, each data set and each diagnosis of it."""
    yield "all", _estimates(measured)
    for domain in sorted({item.sample.domain for item in measured}):
        part = [item for item in measured if item.sample.domain == domain]
        yield domain, _estimates(part)
        for diagnosis in sorted({item.sample.diagnosis for item in part if item.sample.diagnosis}):
            yield f"{domain}: {diagnosis}", _estimates([i for i in part if i.sample.diagnosis == diagnosis])


def _estimates(measured: list[Measured]) -> dict[str, Estimate]:
    """Estimate every metric over some images."""
    groups = [item.sample.group for item in measured]
    return {name: bootstrap_mean([item.metrics[name] for item in measured], groups) for name in METRICS}


def _write(
    out: Path,
    evaluation: Evaluation,
    measured: list[Measured],
    model: ProbabilityModel,
    options: EvaluationOptions,
) -> None:
    """Write tables and the figure of the distribution."""
    rows = [
        {
            "image_id": item.sample.image_id,
            "domain": item.sample.domain,
            "split": item.sample.split,
            "group": item.sample.group,
            "diagnosis": item.sample.diagnosis,
            **item.metrics,
        }
        for item in measured
    ]
    write_table(out / "per_image.csv", rows)
    parts = {
        part: {name: vars(estimate) for name, estimate in estimates.items()}
        for part, estimates in evaluation.parts.items()
    }
    write_json(
        out / "metrics.json",
        {
            "model": {"name": model.info.name, "fingerprint": model.info.fingerprint, "device": model.device},
            "threshold": evaluation.threshold,
            "options": options.model_dump(mode="json"),
            "metrics": parts,
            "interval": "95 % percentile bootstrap over patients or lesions, 2000 rounds, seed 0",
            "provenance": provenance(),
        },
    )
    domains = sorted({item.sample.domain for item in measured})
    dice = {d: [item.metrics["DI"] for item in measured if item.sample.domain == d] for d in domains}
    draw_distribution(dice, out / "figures/dice.png")
