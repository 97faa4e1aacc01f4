"""Evaluation of segmentation models of several classes: label images compared with reference label images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.evaluation.pipeline import (
    ABOUT_IMAGE,
    ALL_IMAGES,
    Estimates,
    Evaluation,
    EvaluationTask,
    PageContent,
    SelectionOptions,
    estimate_domains,
    identify_model,
    interval_text,
    measured_rows,
    read_masked_samples,
    run_evaluation,
)
from napari_melanoma.imaging.masks import class_colors, overlay_labels
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_labels, write_rgb
from napari_melanoma.metrics.metric_table import metric_label
from napari_melanoma.metrics.overlap import (
    UNLABELED_PIXEL,
    count_class_pairs,
    estimate_label_metrics,
    label_differences,
    label_metrics,
)
from napari_melanoma.training.data_checks import numbered_classes

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame

    from napari_melanoma.data.dataset import Sample
    from napari_melanoma.models.bundle import BundleInfo

    Labels = NDArray[np.uint8]

WORST, SHOWN_PX, GAP_PX = 6, 256, 4  # images in the figure of the worst, side of a picture, gap between pictures
POOLED_NOTE = (
    "The pixels of all images are counted together, class by class; Dice and Jaccard without a class are means over "
    "classes"
)
log = logging.getLogger(__name__)


class LabelModel(Protocol):
    """Interface of a multi-class model, such as ``slides.tissue_segmenter.TissueSegmenter``."""

    info: BundleInfo

    @property
    def device(self) -> str:
        """The device that predicts."""

    def predict_labels(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Predict the class of each pixel.

        ``rgb``: uint8 (row, column, channel). Returns uint8 (row, column).
        """


def evaluate_labels(
    model: LabelModel, datasets: Sequence[Path], out: Path, options: SelectionOptions, *, run: RunContext
) -> Evaluation:
    """Evaluate a multi-class model and write the results, or resume where an earlier call was stopped."""
    samples = read_masked_samples(datasets, options.split)
    return run_evaluation(LabelTask([model], options), samples, out, include_seen=options.include_seen, run=run)


class LabelTask(EvaluationTask[tuple["Labels", "Labels"], list["Labels"], Evaluation]):
    """Label images. The values of an image are its pixels of each pair of true and predicted class."""

    options: SelectionOptions
    compares_in_threads = True

    def __init__(self, models: Sequence[LabelModel], options: SelectionOptions) -> None:
        super().__init__(models, options)
        self.models, self.classes = models, models[0].info.config.classes
        self.thresholds = [info.config.threshold for info in self.infos]

    @property
    def names(self) -> list[list[str]]:
        pairs = product(range(len(self.classes)), repeat=2)
        return [[f"pixels_{true}_{predicted}" for true, predicted in pairs]] * len(self.models)

    @property
    def settings(self) -> dict[str, object]:
        return {"models": [identify_model(model) for model in self.models]}

    def read(self, sample: Sample) -> tuple[Labels, Labels]:
        return read_image_and_labels(sample, self.classes)

    def predict(self, contents: Sequence[tuple[Labels, Labels]]) -> list[list[Labels]]:
        return [[model.predict_labels(rgb) for model in self.models] for rgb, _ in contents]

    def compare(self, content: tuple[Labels, Labels], prediction: list[Labels]) -> list[dict[str, float]]:
        counts = (count_class_pairs(labels, content[1], len(self.classes)).ravel().tolist() for labels in prediction)
        return [dict(zip(self.names[0], each, strict=True)) for each in counts]

    def summarize(self, tables: Sequence[DataFrame]) -> Evaluation:
        (table,), classes = tables, self.classes
        parts = estimate_domains(measured_rows(table), lambda rows: estimate_labels(rows, classes))
        whole = parts[ALL_IMAGES]
        dice_by_class = {name: whole[f"DI {name}"] for name in classes if f"DI {name}" in whole}
        lowest = min(dice_by_class, key=lambda name: dice_by_class[name].mean)
        lead = (
            f"Dice {whole['DI']}, mean over {len(dice_by_class)} classes with its 95 % interval; lowest for {lowest}: "
            f"{dice_by_class[lowest]}."
        )
        headline = f"{lead} Over {len(measured_rows(table))} images"
        table = table.assign(**label_metrics(pixel_counts(table), classes))
        return Evaluation(parts=parts, table=table, lead=lead, headline=headline, settings={"classes": list(classes)})

    def columns(self, evaluation: Evaluation) -> list[str]:
        about = [name for name in ABOUT_IMAGE if name != "diagnosis"]
        return [*about, *label_metrics(pixel_counts(evaluation.table[:1]), self.classes)]

    def details(self, evaluation: Evaluation) -> dict[str, object]:
        return {"confusion_px": pixel_counts(evaluation.table).sum(0).tolist()}

    def draw(self, evaluation: Evaluation, folder: Path, run: RunContext) -> dict[str, Path]:
        """Draw the images with the lowest accuracy, a row of image, prediction and reference each."""
        rows = []
        for sample in measured_rows(evaluation.table).sort_values("AC", kind="stable")["sample"][:WORST]:
            run.check()
            try:
                rgb, truth = read_image_and_labels(sample, self.classes)
                predicted = self.models[0].predict_labels(rgb)
            except Cancelled:
                raise
            except Exception:  # any error: the image has its metrics and is not drawn
                log.debug("%s could not be drawn", sample.image, exc_info=True)
                continue
            pictures = [rgb, *(overlay_labels(rgb, labels, len(self.classes)) for labels in (predicted, truth))]
            rows.append(np.concatenate([_thumbnail(picture) for picture in pictures], axis=1))
        if not rows:
            return {}
        path = folder / "worst.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_rgb(path, np.concatenate(rows, axis=0))
        return {"Worst images: image, prediction, reference": path}

    def describe(self, evaluation: Evaluation) -> PageContent:
        classes, data = self.classes, evaluation.data
        columns = (ALL_IMAGES, *(data if len(data) > 1 else ()))
        metrics = [
            (metric_label(name), *(str(evaluation.parts.get(part, {}).get(name, "")) for part in columns))
            for name in evaluation.parts[ALL_IMAGES]
        ]
        confusion_px = pixel_counts(evaluation.table).sum(0)
        confusion_shares = confusion_px / np.maximum(1, confusion_px.sum(1, keepdims=True))
        confusion = [
            (name, *(f"{share:.3f}" for share in row)) for name, row in zip(classes, confusion_shares, strict=True)
        ]
        colors = ", ".join(
            f"{name} #{''.join(f'{part:02x}' for part in color)}"
            for name, color in zip(classes[1:], class_colors(len(classes))[1:], strict=True)
        )
        shares = "Share of the pixels of each class (rows) by predicted class (columns)"
        return PageContent(
            facts=f"{evaluation.images} images, {len(classes)} classes, the most probable class of each pixel",
            next="Review the worst images below. Every image is listed in per_image.csv.",
            tables=[
                ("Metrics", ("Metric", "All images", *columns[1:]), metrics),
                (shares, ("", *classes), confusion),
            ],
            notes=[f"{POOLED_NOTE}. Intervals: {interval_text(evaluation.measured)}.", f"Colors: {colors}."],
        )


def pixel_counts(table: DataFrame) -> NDArray[np.int64]:
    """Return the pixels of all images, int64 (image, true class, predicted class); 0 for failed images."""
    counts = table.filter(regex=r"^pixels_\d").fillna(0).to_numpy(np.int64)
    classes = round(counts.shape[1] ** 0.5)
    return counts.reshape(-1, classes, classes)


def estimate_labels(rows: DataFrame, classes: Sequence[str], first: DataFrame | None = None) -> Estimates:
    """Estimate the metrics of all images together, with 95 % intervals over patients or lesions.

    ``first``: the same images under another model; the differences from it are estimated then.
    """
    groups = rows["group"].to_numpy(str)
    if first is None:
        return estimate_label_metrics(pixel_counts(rows), groups, classes)
    return label_differences(pixel_counts(first), pixel_counts(rows), groups, classes)


def read_image_and_labels(sample: Sample, classes: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read an image and its label image: uint8 (row, column, channel) and (row, column)."""
    assert sample.mask is not None
    rgb, labels = read_photograph(sample.image).rgb, read_labels(sample.mask)
    if rgb.shape[:2] != labels.shape:
        raise DataSetError(
            f"'{sample.image_id}': the label image has {labels.shape[0]} x {labels.shape[1]} pixels, the image "
            f"{rgb.shape[0]} x {rgb.shape[1]}. A label image needs the size of its upright image."
        )
    unknown = [str(value) for value in np.unique(labels) if len(classes) <= value != UNLABELED_PIXEL]
    if unknown:
        raise DataSetError(
            f"'{sample.image_id}': expected the values {numbered_classes(classes)} in the label image, found "
            f"{', '.join(unknown)}. Label it with the classes of the model."
        )
    return rgb, labels


def _thumbnail(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Resize a picture to a square with a white margin."""
    from PIL import Image

    side = SHOWN_PX - GAP_PX
    sheet = np.full((SHOWN_PX, SHOWN_PX, 3), 255, np.uint8)
    sheet[:side, :side] = np.asarray(Image.fromarray(rgb).resize((side, side), Image.Resampling.BILINEAR))
    return sheet
