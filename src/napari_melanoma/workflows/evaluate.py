"""Measure a model on images with reference masks: the whole analysis as users get it, refinement included."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from napari_melanoma.analysis.overlap import METRICS, overlap
from napari_melanoma.analysis.refinement import RefinementConfig, refine_mask, smooth_probability
from napari_melanoma.analysis.statistics import INTERVAL, Estimate, bootstrap_mean
from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.provenance import provenance
from napari_melanoma.core.runs import RunContext
from napari_melanoma.data.dataset import Sample, check_names, read_dataset, with_masks
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask, write_table
from napari_melanoma.report.evaluation import Compared, draw_distribution, draw_worst
from napari_melanoma.workflows.batch import explain

if TYPE_CHECKING:
    from napari_melanoma.workflows.lesion import ProbabilityModel

WORST_SHOWN = 12

log = logging.getLogger(__name__)


class EvaluationOptions(Config):
    """What is measured, and how masks are made."""

    split: str | None = Field(None, description="only images of this split, such as 'val'; none: every image")
    threshold: float | None = Field(None, gt=0, lt=1, description="none: the model's own")
    refinement: RefinementConfig = RefinementConfig()


@dataclass(frozen=True)
class Measured:
    """One image of an evaluation and its metrics, or why there are none."""

    sample: Sample
    metrics: dict[str, float]
    error: str = ""

    def row(self) -> dict[str, object]:
        """Make its row of ``per_image.csv``.

        Returns
        -------
        dict
            What the data set says of it, its status, and the metrics.
        """
        sample = self.sample
        about = {name: getattr(sample, name) for name in ("image_id", "domain", "split", "group", "diagnosis")}
        metrics = {name: self.metrics.get(name) for name in METRICS}
        return {**about, "status": "failed" if self.error else "done", "error": self.error, **metrics}


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found: each part of the data by name, with an estimate of each metric; and what failed."""

    threshold: float
    parts: dict[str, dict[str, Estimate]]
    failed: tuple[Measured, ...] = ()


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
        or lesions, for all images, each data set and each diagnosis. An image that cannot be read, or whose mask is
        not of its size, is in none of them, but among those that failed.

    Raises
    ------
    DataSetError
        Where a data set is faulty, or no image at all could be measured.
    Cancelled
        Where the user stopped it; nothing was written.
    """
    check_names(datasets)
    samples = [s for folder in datasets for s in with_masks(read_dataset(folder), options.split)]
    threshold = model.info.config.threshold if options.threshold is None else options.threshold
    images: list[Measured] = []
    worst: list[tuple[float, int, Compared]] = []
    for sample in run.track(samples, "Measuring"):
        try:
            compared, metrics = measure_sample(sample, model, threshold, options.refinement)
        except Exception as error:  # noqa: BLE001 - reported in the row of this image; the others go on
            images.append(Measured(sample, {}, why_failed(sample, error, out)))
            continue
        images.append(Measured(sample, metrics))
        heapq.heappush(worst, (-compared.dice, len(images), compared))
        if len(worst) > WORST_SHOWN:
            heapq.heappop(worst)
    evaluation = _evaluation(images, threshold)
    _write(out, evaluation, images, model, options)
    draw_worst([compared for *_, compared in sorted(worst, key=lambda item: item[2].dice)], out / "figures/worst.png")
    return evaluation


def measure_sample(
    sample: Sample, model: ProbabilityModel, threshold: float, refinement: RefinementConfig
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

    Returns
    -------
    compared : Compared
        The image and both masks.
    metrics : dict
        As ``analysis.overlap.overlap`` gives them.

    Raises
    ------
    DataSetError
        Where the mask is not of the image's size.
    UnreadableImage
        Where either cannot be read.
    """
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


def _evaluation(images: list[Measured], threshold: float) -> Evaluation:
    """Estimate the metrics over the images that could be measured."""
    measured = [item for item in images if not item.error]
    failed = tuple(item for item in images if item.error)
    if not measured:
        first = failed[0]
        raise DataSetError(f"none of {len(failed)} images could be measured; '{first.sample.image_id}': {first.error}")
    return Evaluation(threshold, dict(_parts(measured)), failed)


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
    return {name: bootstrap_mean([item.metrics[name] for item in measured], groups, bounds=(0, 1)) for name in METRICS}


def _write(
    out: Path,
    evaluation: Evaluation,
    images: list[Measured],
    model: ProbabilityModel,
    options: EvaluationOptions,
) -> None:
    """Write tables and the figure of the distribution."""
    write_table(out / "per_image.csv", [item.row() for item in images])
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
            "failed": [{"image_id": item.sample.image_id, "error": item.error} for item in evaluation.failed],
            "interval": INTERVAL,
            "provenance": provenance(),
        },
    )
    measured = [item for item in images if not item.error]
    domains = sorted({item.sample.domain for item in measured})
    dice = {d: [item.metrics["DI"] for item in measured if item.sample.domain == d] for d in domains}
    draw_distribution(dice, out / "figures/dice.png")
