"""Evaluate segmentation models and whole-slide classifiers."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.context import BATCH_ERRORS, Cancelled, RunContext
from napari_melanoma.core.errors import BundleError, DataSetError, InputError, describe_error
from napari_melanoma.core.files import atomic_folder
from napari_melanoma.core.prediction_config import TabularEncoding
from napari_melanoma.data.bags import Bag, BagKind
from napari_melanoma.data.dataset import (
    DatasetEntry,
    Sample,
    check_dataset_names,
    iter_entries,
    read_dataset,
    select_for_split,
)
from napari_melanoma.data.partial_results import remove_partial_results
from napari_melanoma.data.training_images import shorten_digest
from napari_melanoma.evaluation.class_measurement import ALL_FIELDS, DISTANCE, ClassEvaluationOptions, logit_name
from napari_melanoma.evaluation.class_metrics import LabeledImages
from napari_melanoma.evaluation.evaluate_classes import ClassEvaluation, summarize_evaluation
from napari_melanoma.evaluation.files import EvaluationFiles, write_evaluation
from napari_melanoma.evaluation.mask_measurement import measure_models, measure_sample, measurement_threshold
from napari_melanoma.evaluation.overlap import select_images
from napari_melanoma.evaluation.results import (
    Evaluation,
    EvaluationOptions,
    ImageMetrics,
    KnownMetadata,
    Subgroup,
    divide_into_subgroups,
    estimate_metrics,
    read_known_metadata,
)
from napari_melanoma.figures.evaluation import CASES, EvaluatedCase
from napari_melanoma.slides.tile_models import BagModel
from napari_melanoma.training.bags import bag_samples, explain_mismatch
from napari_melanoma.training.data_selection import row_labels, sample_key
from napari_melanoma.training.prepare import read_held_out
from napari_melanoma.training.run_data import read_data

if TYPE_CHECKING:
    from napari_melanoma.classification.predictor import PredictionCalibration
    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.lesion.analysis import ProbabilityModel
    from napari_melanoma.models.bundle import BundleInfo

__all__ = ["evaluate"]

CASES_PER_GROUP = 6
log = logging.getLogger(__name__)


def evaluate(
    model: ProbabilityModel, datasets: Sequence[Path], out: Path, options: EvaluationOptions, *, run: RunContext
) -> Evaluation:
    """Evaluate a segmentation model and write the results, or resume where an earlier call was stopped.

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
        Receives the progress; can cancel.

    Returns
    -------
    Evaluation
        TJA, JA, DI, AC, SE and SP (ISIC 2018), Hausdorff-95 and boundary F1, averaged over images, with 95 % intervals
        over patients or lesions, for all images, each data set and each of its subgroups. An image that cannot be read,
        or whose mask has another size, is listed as failed and not averaged.

    Raises
    ------
    DataSetError
        If a data set is faulty or no image could be measured.
    Cancelled
        If the user stopped it; the same call resumes.
    """
    check_dataset_names(datasets)
    samples = [s for folder in datasets for s in select_for_split(read_dataset(folder), options.split)]
    overlap, warnings = select_images([model.info], samples, run=run, include=options.include_seen)
    (figures,) = measure_models([model], overlap.measured, options, out, run=run)
    evaluation = _summarize(figures, measurement_threshold(model, options), read_known_metadata(datasets))
    evaluation = replace(evaluation, warnings=(*overlap.warnings, *warnings), overlap=overlap)
    cases: dict[str, list[EvaluatedCase]] = {}
    for kind, indices in _cases(figures).items():
        run.check()
        again = (_compare_again(figures.samples[index], model, options) for index in indices)
        cases[kind] = [compared for compared in again if compared is not None]
    write_evaluation(out, EvaluationFiles(evaluation, figures, cases, model, options))
    remove_partial_results(out)
    return evaluation


def _summarize(figures: ImageMetrics, threshold: float, known: KnownMetadata) -> Evaluation:
    """Estimate the metrics over the images that could be measured."""
    found = tuple(
        Subgroup(data, by, value, estimate_metrics(figures, indices))
        for data, by, value, indices in divide_into_subgroups(figures, known)
    )
    return Evaluation(threshold, dict(_parts(figures, found)), figures.failed, found)


def _parts(figures: ImageMetrics, found: Sequence[Subgroup]) -> Iterator[tuple[str, dict]]:
    """Yield the estimates for all images, each data set and each of its diagnoses."""
    measured = figures.measured
    yield "all", estimate_metrics(figures, measured)
    domains = np.array([figures.samples[index].domain for index in measured])
    for domain in np.unique(domains):
        yield str(domain), estimate_metrics(figures, measured[domains == domain])
        for group in found:
            if group.data == domain and group.by == "diagnosis":
                yield f"{domain}: {group.value}", group.metrics


def _cases(figures: ImageMetrics) -> dict[str, list[int]]:
    """Return the indices of the images with the best, median and worst Dice index, each image once."""
    indices = figures.measured
    ordered = indices[np.argsort(figures.column("DI")[indices], kind="stable")]
    each = min(CASES_PER_GROUP, max(1, len(ordered) // 3))
    start = max(each, (len(ordered) - each) // 2)
    best = ordered[max(len(ordered) - each, start + each) :][::-1]
    return dict(zip(CASES, (list(best), list(ordered[start : start + each]), list(ordered[:each])), strict=True))


def _compare_again(sample: Sample, model: ProbabilityModel, options: EvaluationOptions) -> EvaluatedCase | None:
    """Measure an image again to draw it: keeping the pixels of all images would fill the memory."""
    try:
        return measure_sample(
            sample, model, measurement_threshold(model, options), options.refinement, flips=options.flips
        )[0]
    except Cancelled:
        raise
    except Exception:  # any error: the image has its metrics and is not drawn
        log.debug("%s could not be drawn", sample.image, exc_info=True)
        return None


@dataclass(frozen=True)
class _BagClassifier:
    """The parts of a whole-slide model that tables and figures of classifiers use; it predicts nothing itself."""

    info: BundleInfo
    calibration: PredictionCalibration
    device: str
    encoding: TabularEncoding = field(default_factory=TabularEncoding)


def evaluate_bags(
    info: BundleInfo, datasets: Sequence[Path], out: Path, options: ClassEvaluationOptions, *, run: RunContext
) -> ClassEvaluation:
    """Evaluate a whole-slide model on data sets and write the results."""
    with atomic_folder(out) as temporary:
        return _measure_bags(info, _find_labeled_bags(info, datasets, options), temporary, options, run)


def evaluate_bags_held_out(folder: RunFolder, info: BundleInfo, *, run: RunContext) -> ClassEvaluation:
    """Evaluate the model of a run on its held-out slides."""
    rows = read_data(folder.data)
    labels, metadata = read_held_out(folder.path, rows)
    samples = [row.sample for row in rows if row.part == "held_out"]
    assert info.config.classifier is not None
    labeled = LabeledImages(samples, metadata, labels, info.config.classifier.positive, 0, info.config.classes)
    with atomic_folder(folder.evaluation) as temporary:
        return _measure_bags(info, labeled, temporary, ClassEvaluationOptions(), run)


def _find_labeled_bags(info: BundleInfo, datasets: Sequence[Path], options: ClassEvaluationOptions) -> LabeledImages:
    """Find the slides whose label is a class of the model."""
    check_dataset_names(datasets)
    config = info.config
    trained_target = (config.provenance.get("recipe", {}).get("classification") or {}).get("target", "diagnosis")
    target = options.target or str(trained_target)
    rows = {
        (folder.name, entry.image_id): entry.row
        for folder in datasets
        for entry in iter_entries(folder)
        if isinstance(entry, DatasetEntry)
    }
    row_classes, indices = row_labels(rows, target), {name: index for index, name in enumerate(config.classes)}
    slides = [one for folder in datasets for one in bag_samples(folder) if options.split in (None, one.split)]
    samples = [sample for sample in slides if row_classes.get(sample_key(sample)) in indices]
    if not samples:
        raise DataSetError(
            f"none of {len(slides)} slides has one of the classes of '{info.name}' ({', '.join(config.classes)}) in "
            f"the column '{target}'. Name another column: --target."
        )
    labels = np.array([indices[row_classes[sample_key(sample)]] for sample in samples], np.intp)
    return LabeledImages(samples, rows, labels, target, len(slides) - len(samples), config.classes)


def _measure_bags(
    info: BundleInfo, labeled: LabeledImages, out: Path, options: ClassEvaluationOptions, run: RunContext
) -> ClassEvaluation:
    """Predict each slide, estimate the metrics, and write the results."""
    from napari_melanoma.evaluation.evaluate_classes import write_class_evaluation

    labeled = labeled.without_training_images([info], options, run=run, digest=_digest)
    model = BagModel.load(info)
    classifier = _BagClassifier(info, model.novelty, model.device)
    names = [logit_name(ALL_FIELDS, index) for index in range(len(info.config.classes))]
    figures = ImageMetrics((*names, DISTANCE))
    for sample in run.track(labeled.samples, "Measuring slides"):
        try:
            prediction = model.predict(_open_bag(sample.image, info).iter_embeddings())
        except BATCH_ERRORS:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a library raises is of this slide; the others go on
            figures.add_failed(sample, describe_error(error))
        else:
            figures.add(sample, dict(zip(names, prediction.logits.tolist(), strict=True)))
    if not len(figures.measured):
        raise DataSetError(f"none of {len(labeled.samples)} slides could be measured: {figures.failed[0].error}")
    evaluation = summarize_evaluation(classifier, figures, labeled, options)  # type: ignore[arg-type]
    trained_on = labeled.overlap.warnings if labeled.overlap else ()
    evaluation = replace(evaluation, warnings=(*trained_on, *evaluation.warnings), overlap=labeled.overlap)
    write_class_evaluation(out, evaluation, classifier, options)  # type: ignore[arg-type]
    return evaluation


def _digest(folder: Path) -> int | None:
    """Hash the embeddings of a slide to 64 bits; None if they cannot be read, which is reported later."""
    try:
        return shorten_digest(Bag.open(folder).fingerprint())
    except InputError:
        return None


def _open_bag(folder: Path, info: BundleInfo) -> Bag:
    """Open the bag of a slide; its embeddings must be of the type that the model was trained on."""
    encoder, tile = info.config.encoder, info.config.tile
    if encoder is None or tile is None:
        raise BundleError(f"'{info.name}' is not a whole-slide model.")
    bag = Bag.open(folder)
    if why := explain_mismatch(bag, BagKind(encoder, tile)):
        raise InputError(f"{folder} has embeddings that '{info.name}' was not trained on: {why}.")
    return bag
