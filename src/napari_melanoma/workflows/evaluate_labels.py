"""Measure a model of several classes on images with label images: Dice and Jaccard of each class, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from napari_melanoma.analysis.label_overlap import count_pairs, estimate_label_metrics
from napari_melanoma.analysis.statistics import Estimate
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.files import atomic_folder
from napari_melanoma.core.runs import Milestone, RunContext
from napari_melanoma.data.dataset import Sample, check_names, read_dataset, with_masks
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_labels
from napari_melanoma.training.label_faults import numbered
from napari_melanoma.training.run_data import read_data
from napari_melanoma.workflows.evaluation import Failed
from napari_melanoma.workflows.measuring import why_failed
from napari_melanoma.workflows.modality_fit import unfit_images
from napari_melanoma.workflows.training_overlap import Overlap, images_to_measure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.models.bundle import BundleInfo


class LabelModel(Protocol):
    """What an evaluation asks of a model; ``inference.labels.Labeller`` is one."""

    info: BundleInfo
    device: str

    def labels(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Say of which class each pixel is.

        ``rgb``: uint8 (row, column, channel). Returns uint8 (row, column).
        """


@dataclass(frozen=True, eq=False)
class LabelEvaluation:
    """What an evaluation of several classes found.

    ``parts`` has estimates for all images and each data set, as ``estimate_label_metrics`` names them. ``samples`` are
    the images that were measured, ``counts`` is int64 (image, true class, found class), pixels.
    """

    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    counts: NDArray[np.int64]
    parts: Mapping[str, Mapping[str, Estimate]]
    failed: tuple[Failed, ...] = ()
    warnings: tuple[str, ...] = ()
    overlap: Overlap | None = None

    @property
    def images(self) -> int:
        """How many were measured."""
        return len(self.samples)


def evaluate_labels(
    model: LabelModel,
    datasets: Sequence[Path],
    out: Path,
    *,
    split: str | None = None,
    include_seen: bool = False,
    run: RunContext,
) -> LabelEvaluation:
    """Measure a model of several classes and write what was found.

    Returns an image that cannot be read, or whose labels are of another size or have a value that is no class, is in no
    figure, but among those that failed.
    """
    check_names(datasets)
    samples = [sample for folder in datasets for sample in with_masks(read_dataset(folder), split)]
    return _evaluated(model, samples, out, run, include_seen)


def evaluate_labels_held_out(folder: RunFolder, model: BundleInfo, *, run: RunContext) -> LabelEvaluation:
    """Measure the model of a run on the images that it has held out."""
    from napari_melanoma.inference.labels import Labeller

    samples = [row.sample for row in read_data(folder.data) if row.part == "held_out"]
    with atomic_folder(folder.evaluation) as temporary:
        return _evaluated(Labeller.load(model), samples, temporary, run)


def _evaluated(
    model: LabelModel, samples: Sequence[Sample], out: Path, run: RunContext, include_seen: bool = False
) -> LabelEvaluation:
    """Measure images and write what was found."""
    from napari_melanoma.workflows.label_files import write_label_evaluation

    overlap = images_to_measure([model.info], samples, run=run, include=include_seen)
    samples, warnings = overlap.kept, unfit_images([model.info], overlap.kept)
    for warning in warnings:
        run.report(Milestone(0, len(samples), f"Warning: {warning}"))
    classes = model.info.config.classes
    measured, counts, failed = [], [], []
    for sample in run.track(samples, "Measuring"):
        try:
            counts.append(measure_labels(sample, model))
        except Exception as error:  # noqa: BLE001 - reported in the row of this image; the others go on
            failed.append(Failed(sample, why_failed(sample, error, out)))
        else:
            measured.append(sample)
    if not measured:
        why = f"; '{failed[0].sample.image_id}': {failed[0].error}" if failed else ""
        raise DataSetError(f"none of {len(failed)} images could be measured{why}")
    found = np.stack(counts)
    evaluation = LabelEvaluation(
        classes,
        tuple(measured),
        found,
        _parts(measured, found, classes),
        tuple(failed),
        (*overlap.warnings, *warnings),
        overlap,
    )
    write_label_evaluation(out, evaluation, model)
    return evaluation


def measure_labels(sample: Sample, model: LabelModel) -> NDArray[np.int64]:
    """Count the pixels of one image by true and by found class.

    Returns int64 (true class, found class).
    """
    rgb, truth = opened(sample, model.info.config.classes)
    return count_pairs(model.labels(rgb), truth, len(model.info.config.classes))


def opened(sample: Sample, classes: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read an image and its label image.

    Returns uint8 (row, column, channel) and (row, column).
    """
    assert sample.mask is not None
    rgb, labels = read_photograph(sample.image).rgb, read_labels(sample.mask)
    if rgb.shape[:2] != labels.shape:
        raise DataSetError(
            f"'{sample.image_id}': the label image has {labels.shape[0]} x {labels.shape[1]} pixels, the image "
            f"{rgb.shape[0]} x {rgb.shape[1]}. It needs the size of its upright image."
        )
    unknown = [str(value) for value in np.unique(labels) if value >= len(classes)]
    if unknown:
        raise DataSetError(
            f"'{sample.image_id}': expected the values {numbered(classes)} in the label image, found "
            f"{', '.join(unknown)}. Label it with the classes of the model."
        )
    return rgb, labels


def _parts(
    samples: Sequence[Sample], counts: NDArray[np.int64], classes: Sequence[str]
) -> dict[str, dict[str, Estimate]]:
    """Estimates for all images and each data set."""
    groups = np.array([sample.group for sample in samples])
    domains = np.array([sample.domain for sample in samples])
    found = {"all": estimate_label_metrics(counts, groups, classes)}
    for domain in np.unique(domains):
        places = domains == domain
        found[str(domain)] = estimate_label_metrics(counts[places], groups[places], classes)
    return found
