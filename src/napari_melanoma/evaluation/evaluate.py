"""Evaluate models on data sets: segmentation models of one class, whole-slide classifiers, and multi-class models.

The module has one part for each, in this order. Classifiers of photographs are in ``evaluation.evaluate_classifiers``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import BATCH_ERRORS, Cancelled, RunContext
from napari_melanoma.core.errors import BundleError, DataSetError, InputError
from napari_melanoma.core.files import atomic_folder, write_json
from napari_melanoma.core.prediction_config import TabularEncoding
from napari_melanoma.data.bags import Bag, BagKind
from napari_melanoma.data.dataset import Sample, read_dataset, read_rows, select_for_split
from napari_melanoma.data.partial_results import remove_partial_results
from napari_melanoma.data.training_images import shorten_digest
from napari_melanoma.evaluation.classifier_measurement import (
    ALL_FIELDS,
    DISTANCE,
    ClassEvaluationOptions,
    LabeledImages,
    logit_name,
    select_images_of_split,
    trained_target,
)
from napari_melanoma.evaluation.evaluate_classifiers import (
    ClassEvaluation,
    left_out_warning,
    summarize_evaluation,
    write_class_evaluation,
)
from napari_melanoma.evaluation.mask_measurement import (
    describe_failure,
    measure_models,
    measure_sample,
    measurement_threshold,
)
from napari_melanoma.evaluation.mask_results import (
    Evaluation,
    EvaluationOptions,
    FailedImage,
    ImageMetrics,
    KnownMetadata,
    Subgroup,
    check_evaluated_datasets,
    divide_into_subgroups,
    estimate_metrics,
    none_measured,
    read_known_metadata,
)
from napari_melanoma.evaluation.metrics_files import (
    describe_intervals,
    evaluation_page,
    evaluation_values,
    write_evaluation,
)
from napari_melanoma.evaluation.pages import Page, metric_label, write_evaluation_page
from napari_melanoma.evaluation.training_overlap import (
    TRAINED_ON,
    Overlap,
    mark_training_rows,
    report_warnings,
    select_images,
)
from napari_melanoma.figures.evaluation import CASES, EvaluatedCase
from napari_melanoma.imaging.masks import class_colors, overlay_labels
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_labels, write_rgb, write_table
from napari_melanoma.metrics.overlap import count_class_pairs, estimate_label_metrics, label_metrics
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.slides.tile_models import BagModel
from napari_melanoma.training.data_checks import numbered_classes
from napari_melanoma.training.data_preparation import read_held_out
from napari_melanoma.training.data_selection import row_labels
from napari_melanoma.training.run_data import read_data
from napari_melanoma.training.whole_slides import bag_samples, explain_mismatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.classification.classifier import PredictionCalibration
    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.lesion.analysis import ProbabilityModel
    from napari_melanoma.models.bundle import BundleInfo


CASES_PER_GROUP = 6
log = logging.getLogger(__name__)


def evaluate(
    model: ProbabilityModel, datasets: Sequence[Path], out: Path, options: EvaluationOptions, *, run: RunContext
) -> Evaluation:
    """Evaluate a segmentation model and write the results, or resume where an earlier call was stopped.

    The folder ``out`` gets ``summary.html``, ``metrics.json``, ``subgroups.csv``, ``per_image.csv`` and ``figures/``.
    The result has TJA, JA, DI, AC, SE and SP (ISIC 2018), Hausdorff-95 and boundary F1, averaged over images, with 95 %
    intervals over patients or lesions, for all images, each data set and each of its subgroups. An image that cannot be
    read, or whose mask has another size, is listed as failed and not averaged.
    """
    check_evaluated_datasets(datasets)
    samples = [s for folder in datasets for s in select_for_split(read_dataset(folder), options.split)]
    overlap, warnings = select_images([model.info], samples, run=run, include=options.include_seen)
    (image_metrics,) = measure_models([model], overlap.measured, options, out, run=run)
    evaluation = _summarize(image_metrics, measurement_threshold(model, options), read_known_metadata(datasets))
    evaluation = replace(evaluation, warnings=(*overlap.warnings, *warnings), overlap=overlap)
    cases: dict[str, list[EvaluatedCase]] = {}
    for kind, indices in _cases(image_metrics).items():
        run.check()
        measured_again = (_compare_again(image_metrics.samples[index], model, options) for index in indices)
        cases[kind] = [compared for compared in measured_again if compared is not None]
    write_evaluation(out, evaluation, image_metrics, cases, model, options)
    remove_partial_results(out)
    return evaluation


def _summarize(image_metrics: ImageMetrics, threshold: float, metadata: KnownMetadata) -> Evaluation:
    """Estimate the metrics over the images that could be measured."""
    subgroups = tuple(
        Subgroup(data, by, value, estimate_metrics(image_metrics, indices))
        for data, by, value, indices in divide_into_subgroups(image_metrics, metadata)
    )
    return Evaluation(threshold, dict(_parts(image_metrics, subgroups)), image_metrics.failed, subgroups)


def _parts(image_metrics: ImageMetrics, subgroups: Sequence[Subgroup]) -> Iterator[tuple[str, dict]]:
    """Yield name and estimates for all images, for each data set, and for each diagnosis in a data set."""
    measured = image_metrics.measured
    yield "all", estimate_metrics(image_metrics, measured)
    domains = np.array([image_metrics.samples[index].domain for index in measured])
    for domain in np.unique(domains):
        yield str(domain), estimate_metrics(image_metrics, measured[domains == domain])
        for group in subgroups:
            if group.data == domain and group.by == "diagnosis":
                yield f"{domain}: {group.value}", group.metrics


def _cases(image_metrics: ImageMetrics) -> dict[str, list[int]]:
    """Return the indices of the images with the best, median and worst Dice index, each image once."""
    indices = image_metrics.measured
    by_dice = indices[np.argsort(image_metrics.column("DI")[indices], kind="stable")]
    count = min(CASES_PER_GROUP, max(1, len(by_dice) // 3))
    start = max(count, (len(by_dice) - count) // 2)
    best = by_dice[max(len(by_dice) - count, start + count) :][::-1]
    return dict(zip(CASES, (list(best), list(by_dice[start : start + count]), list(by_dice[:count])), strict=True))


def _compare_again(sample: Sample, model: ProbabilityModel, options: EvaluationOptions) -> EvaluatedCase | None:
    """Measure an image again to draw it, since the pixels of all images do not fit into memory."""
    try:
        return measure_sample(
            sample, model, measurement_threshold(model, options), options.refinement, flips=options.flips
        )[0]
    except Cancelled:
        raise
    except Exception:  # any error: the image has its metrics and is not drawn
        log.debug("%s could not be drawn", sample.image, exc_info=True)
        return None


# Whole-slide classifiers: each slide is a bag of embeddings of its tiles.


@dataclass(frozen=True)
class _BagClassifier:
    """The attributes of a whole-slide model that tables and figures of classifiers read; it makes no predictions."""

    info: BundleInfo
    calibration: PredictionCalibration
    device: str
    encoding: TabularEncoding = field(default_factory=TabularEncoding)


def evaluate_bags(
    info: BundleInfo, datasets: Sequence[Path], out: Path, options: ClassEvaluationOptions, *, run: RunContext
) -> ClassEvaluation:
    """Evaluate a whole-slide model on data sets and write the results."""
    return _measure_bags(info, _find_labeled_bags(info, datasets, options), out, options, run)


def evaluate_bags_held_out(folder: RunFolder, info: BundleInfo, *, run: RunContext) -> ClassEvaluation:
    """Evaluate the model of a run on its held-out slides."""
    rows = read_data(folder.data)
    labels, metadata = read_held_out(folder.path, rows)
    samples = [row.sample for row in rows if row.part == "test"]
    assert info.config.classifier is not None
    labeled = LabeledImages(samples, metadata, labels, info.config.classifier.positive, 0, info.config.classes)
    with atomic_folder(folder.evaluation) as temporary:
        return _measure_bags(info, labeled, temporary, ClassEvaluationOptions(), run)


def _find_labeled_bags(info: BundleInfo, datasets: Sequence[Path], options: ClassEvaluationOptions) -> LabeledImages:
    """Find the slides whose label is a class of the model."""
    check_evaluated_datasets(datasets)
    config = info.config
    target, rows = options.target or trained_target(config), read_rows(datasets)
    row_classes, indices = row_labels(rows, target), {name: index for index, name in enumerate(config.classes)}
    slides = select_images_of_split([sample for folder in datasets for sample in bag_samples(folder)], options.split)
    samples = [sample for sample in slides if row_classes.get(sample.key) in indices]
    if not samples:
        raise DataSetError(
            f"none of {len(slides)} slides has one of the classes of '{info.name}' ({', '.join(config.classes)}) in "
            f"the column '{target}'. Name another column (Python: target='COLUMN', command line: --target)."
        )
    labels = np.array([indices[row_classes[sample.key]] for sample in samples], np.intp)
    return LabeledImages(samples, rows, labels, target, len(slides) - len(samples), config.classes)


def _measure_bags(
    info: BundleInfo, labeled: LabeledImages, out: Path, options: ClassEvaluationOptions, run: RunContext
) -> ClassEvaluation:
    """Predict each slide, estimate the metrics, and write the results."""
    labeled = labeled.without_training_images([info], options, run=run, digest=_digest)
    left_out_warnings = left_out_warning(labeled)
    report_warnings(left_out_warnings, len(labeled.samples), run)
    model = BagModel.load(info)
    classifier = _BagClassifier(info, model.calibration, model.device)
    names = [logit_name(ALL_FIELDS, index) for index in range(len(info.config.classes))]
    image_metrics = ImageMetrics((*names, DISTANCE))
    for sample in run.track(labeled.samples, "Measuring slides"):
        try:
            prediction = model.predict(_open_bag(sample.image, info).iter_embeddings())
        except BATCH_ERRORS:
            raise
        except Exception as error:  # noqa: BLE001 - reported in the row of this slide; the others continue
            image_metrics.add_failed(sample, describe_failure(sample, error, out))
        else:
            image_metrics.add(sample, dict(zip(names, prediction.logits.tolist(), strict=True)))
    if not len(image_metrics.measured):
        raise DataSetError(f"none of {len(labeled.samples)} slides could be measured: {image_metrics.failed[0].error}")
    evaluation = summarize_evaluation(classifier, image_metrics, labeled, options)  # type: ignore[arg-type]
    report_warnings(evaluation.warnings, len(labeled.samples), run)
    overlap_warnings = labeled.overlap.warnings if labeled.overlap else ()
    warnings = (*overlap_warnings, *left_out_warnings, *evaluation.warnings)
    evaluation = replace(evaluation, warnings=warnings, overlap=labeled.overlap)
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


# Multi-class models, which predict label images.

WORST, SHOWN_PX, GAP_PX = 6, 256, 4  # images in the figure of the worst, side of a picture, gap between pictures
POOLED_NOTE = (
    "The pixels of all images are counted together, class by class; Dice and Jaccard without a class are means over "
    "classes"
)


class LabelEvaluationOptions(Config):
    """Which images a multi-class model is evaluated on."""

    split: str | None = Field(None, description="only images of this split, such as 'val'; none: all images")
    include_seen: bool = Field(
        False,
        description="also measure images that a model was trained on, or other images of their patients; "
        "all outputs are then marked",
    )


class LabelModel(Protocol):
    """Interface of a multi-class model, such as ``slides.tile_models.TissueSegmenter``."""

    info: BundleInfo
    device: str

    def predict_labels(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Predict the class of each pixel.

        ``rgb``: uint8 (row, column, channel). Returns uint8 (row, column).
        """


@dataclass(frozen=True, eq=False)
class LabelEvaluation:
    """Result of a multi-class evaluation.

    ``parts``: "all", or a data set, to the estimates of ``metrics.overlap.estimate_label_metrics``. ``samples``: the
    measured images. ``counts``: their pixels, int64 (image, true class, predicted class).
    """

    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    counts: NDArray[np.int64]
    parts: Mapping[str, Mapping[str, Estimate]]
    failed: tuple[FailedImage, ...] = ()
    warnings: tuple[str, ...] = ()
    overlap: Overlap | None = None

    @property
    def images(self) -> int:
        """Number of measured images."""
        return len(self.samples)

    @property
    def lead(self) -> str:
        """The mean Dice index, and the lowest one of a class, with their intervals."""
        whole = self.parts["all"]
        dice_by_class = {name: whole[f"DI {name}"] for name in self.classes if f"DI {name}" in whole}
        lowest = min(dice_by_class, key=lambda name: dice_by_class[name].mean)
        return (
            f"Dice {whole['DI']}, mean over {len(self.classes)} classes with its 95 % interval; lowest for {lowest}: "
            f"{dice_by_class[lowest]}."
        )

    @property
    def headline(self) -> str:
        """The main result in a line."""
        return f"{self.lead} Over {self.images} images"

    @property
    def settings(self) -> dict[str, object]:
        """The classes, as JSON values."""
        return {"classes": list(self.classes)}


def evaluate_labels(
    model: LabelModel,
    datasets: Sequence[Path],
    out: Path,
    options: LabelEvaluationOptions,
    *,
    run: RunContext,
) -> LabelEvaluation:
    """Evaluate a multi-class model and write the results.

    An image that cannot be read, or whose labels have another size or an unknown value, is listed as failed and not
    counted.
    """
    check_evaluated_datasets(datasets)
    samples = [sample for folder in datasets for sample in select_for_split(read_dataset(folder), options.split)]
    return _evaluate_samples(model, samples, out, run, options.include_seen)


def evaluate_labels_held_out(folder: RunFolder, model: BundleInfo, *, run: RunContext) -> LabelEvaluation:
    """Evaluate the model of a run on its held-out images."""
    from napari_melanoma.slides.tile_models import TissueSegmenter

    samples = [row.sample for row in read_data(folder.data) if row.part == "test"]
    with atomic_folder(folder.evaluation) as temporary:
        return _evaluate_samples(TissueSegmenter.load(model), samples, temporary, run)


def _evaluate_samples(
    model: LabelModel, samples: Sequence[Sample], out: Path, run: RunContext, include_seen: bool = False
) -> LabelEvaluation:
    """Measure images and write the results."""
    overlap, warnings = select_images([model.info], samples, run=run, include=include_seen)
    classes = model.info.config.classes
    measured, counts, failed = [], [], []
    for sample in run.track(overlap.measured, "Measuring"):
        try:
            counts.append(measure_labels(sample, model))
        except Exception as error:  # noqa: BLE001 - reported in the row of this image; the others continue
            failed.append(FailedImage(sample, describe_failure(sample, error, out)))
        else:
            measured.append(sample)
    if not measured:
        raise none_measured(failed)
    stacked_counts = np.stack(counts)
    evaluation = LabelEvaluation(
        classes,
        tuple(measured),
        stacked_counts,
        _label_parts(measured, stacked_counts, classes),
        tuple(failed),
        (*overlap.warnings, *warnings),
        overlap,
    )
    write_label_evaluation(out, evaluation, model)
    return evaluation


def measure_labels(sample: Sample, model: LabelModel) -> NDArray[np.int64]:
    """Count the pixels of one image, int64 (true class, predicted class)."""
    rgb, truth = read_image_and_labels(sample, model.info.config.classes)
    return count_class_pairs(model.predict_labels(rgb), truth, len(model.info.config.classes))


def read_image_and_labels(sample: Sample, classes: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read an image and its label image: uint8 (row, column, channel) and (row, column)."""
    assert sample.mask is not None
    rgb, labels = read_photograph(sample.image).rgb, read_labels(sample.mask)
    if rgb.shape[:2] != labels.shape:
        raise DataSetError(
            f"'{sample.image_id}': the label image has {labels.shape[0]} x {labels.shape[1]} pixels, the image "
            f"{rgb.shape[0]} x {rgb.shape[1]}. A label image needs the size of its upright image."
        )
    unknown = [str(value) for value in np.unique(labels) if value >= len(classes)]
    if unknown:
        raise DataSetError(
            f"'{sample.image_id}': expected the values {numbered_classes(classes)} in the label image, found "
            f"{', '.join(unknown)}. Label it with the classes of the model."
        )
    return rgb, labels


def _label_parts(
    samples: Sequence[Sample], counts: NDArray[np.int64], classes: Sequence[str]
) -> dict[str, dict[str, Estimate]]:
    """Estimate the metrics for all images and each data set."""
    groups = np.array([sample.group for sample in samples])
    domains = np.array([sample.domain for sample in samples])
    parts = {"all": estimate_label_metrics(counts, groups, classes)}
    for domain in np.unique(domains):
        in_domain = domains == domain
        parts[str(domain)] = estimate_label_metrics(counts[in_domain], groups[in_domain], classes)
    return parts


def write_label_evaluation(out: Path, evaluation: LabelEvaluation, model: LabelModel) -> None:
    """Write tables, pictures and the page."""
    samples = [*evaluation.samples, *(item.sample for item in evaluation.failed)]
    rows = mark_training_rows(_rows(evaluation), samples, evaluation.overlap)
    write_table(out / "per_image.csv", rows, [*_columns(evaluation), TRAINED_ON])
    details = {"confusion_px": evaluation.counts.sum(0).tolist()}
    write_json(
        out / "metrics.json", evaluation_values(evaluation, evaluation.samples, model, evaluation.settings, {}, details)
    )
    picture = out / "figures" / "worst.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    write_rgb(picture, _draw_worst(evaluation, model))
    write_evaluation_page(_page(evaluation, model, picture), out / "summary.html")


def _columns(evaluation: LabelEvaluation) -> list[str]:
    """Return the columns of ``per_image.csv``."""
    image_columns = ("image_id", "domain", "split", "group", "status", "error")
    return [*image_columns, *label_metrics(evaluation.counts[:1], evaluation.classes)]


def _rows(evaluation: LabelEvaluation) -> list[dict[str, object]]:
    """Return the rows of ``per_image.csv``: measured images, then failed ones."""
    metrics = label_metrics(evaluation.counts, evaluation.classes)
    rows: list[dict[str, object]] = []
    for index, sample in enumerate(evaluation.samples):
        about = {name: getattr(sample, name) for name in ("image_id", "domain", "split", "group")}
        values = {name: float(column[index]) for name, column in metrics.items()}
        rows.append({**about, "status": "done", **values})
    for item in evaluation.failed:
        about = {name: getattr(item.sample, name) for name in ("image_id", "domain", "split", "group")}
        rows.append({**about, "status": "failed", "error": item.error})
    return rows


def _draw_worst(evaluation: LabelEvaluation, model: LabelModel) -> NDArray[np.uint8]:
    """Draw the images with the lowest accuracy, a row of image, prediction and reference each."""
    accuracy = label_metrics(evaluation.counts, evaluation.classes)["AC"]
    rows = []
    for index in np.argsort(accuracy, kind="stable")[:WORST]:
        rgb, truth = read_image_and_labels(evaluation.samples[index], evaluation.classes)
        predicted = model.predict_labels(rgb)
        pictures = [rgb, *(overlay_labels(rgb, labels, len(evaluation.classes)) for labels in (predicted, truth))]
        rows.append(np.concatenate([_thumbnail(picture) for picture in pictures], axis=1))
    return np.concatenate(rows, axis=0)


def _thumbnail(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Resize a picture to a square with a white margin."""
    from PIL import Image

    side = SHOWN_PX - GAP_PX
    sheet = np.full((SHOWN_PX, SHOWN_PX, 3), 255, np.uint8)
    sheet[:side, :side] = np.asarray(Image.fromarray(rgb).resize((side, side), Image.Resampling.BILINEAR))
    return sheet


def _page(evaluation: LabelEvaluation, model: LabelModel, picture: Path) -> Page:
    """Return the content of the page."""
    data = sorted({sample.domain for sample in evaluation.samples})
    columns = ("all", *(data if len(data) > 1 else ()))
    metrics = [
        (metric_label(name), *(str(evaluation.parts[part].get(name, "")) for part in columns))
        for name in evaluation.parts["all"]
    ]
    confusion_px = evaluation.counts.sum(0)
    confusion_shares = confusion_px / np.maximum(1, confusion_px.sum(1, keepdims=True))
    confusion = [
        (name, *(f"{share:.3f}" for share in row))
        for name, row in zip(evaluation.classes, confusion_shares, strict=True)
    ]
    colors = ", ".join(
        f"{name} #{''.join(f'{part:02x}' for part in color)}"
        for name, color in zip(evaluation.classes[1:], class_colors(len(evaluation.classes))[1:], strict=True)
    )
    return evaluation_page(
        evaluation,
        model.info,
        data,
        [f"{POOLED_NOTE}. Intervals: {describe_intervals(evaluation.samples)}.", f"Colors: {colors}."],
        facts=f"{evaluation.images} images, {len(evaluation.classes)} classes, the most probable class of each pixel",
        lead=evaluation.lead,
        next="Review the worst images below. per_image.csv lists every image.",
        tables=[
            ("Metrics", ("Metric", "All images", *columns[1:]), metrics),
            (
                "Share of the pixels of each class (rows) by predicted class (columns)",
                ("", *evaluation.classes),
                confusion,
            ),
        ],
        figures={"Worst images: image, prediction, reference": picture},
    )
