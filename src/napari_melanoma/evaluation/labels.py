"""Evaluation of segmentation models of several classes: label images compared with reference label images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.files import atomic_folder
from napari_melanoma.evaluation.pipeline import (
    ALL_IMAGES,
    Evaluation,
    EvaluationTask,
    ImageMetrics,
    PageContent,
    estimate_domains,
    interval_text,
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
    label_metrics,
)
from napari_melanoma.training.data_checks import numbered_classes
from napari_melanoma.training.run_data import read_data

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.data.dataset import Sample
    from napari_melanoma.models.bundle import BundleInfo

    Labels = NDArray[np.uint8]

WORST, SHOWN_PX, GAP_PX = 6, 256, 4  # images in the figure of the worst, side of a picture, gap between pictures
POOLED_NOTE = (
    "The pixels of all images are counted together, class by class; Dice and Jaccard without a class are means over "
    "classes"
)


class LabelEvaluationOptions(Config):
    """Which images a multi-class model is evaluated on."""

    split: str | None = Field(None, description="only images of this split, such as 'test'; none: all images")
    include_seen: bool = Field(
        False,
        description="also measure images that a model was trained on, or other images of their patients; "
        "all outputs are then marked",
    )


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
    model: LabelModel, datasets: Sequence[Path], out: Path, options: LabelEvaluationOptions, *, run: RunContext
) -> LabelEvaluation:
    """Evaluate a multi-class model and write the results, or resume where an earlier call was stopped."""
    samples = read_masked_samples(datasets, options.split)
    return run_evaluation(LabelTask([model], options), samples, out, include_seen=options.include_seen, run=run)


def evaluate_labels_test_set(folder: RunFolder, model: BundleInfo, *, run: RunContext) -> LabelEvaluation:
    """Evaluate the model of a run on its held-out images."""
    from napari_melanoma.slides.tissue_segmenter import TissueSegmenter

    samples = [row.sample for row in read_data(folder.data) if row.part == "test"]
    task = LabelTask([TissueSegmenter.load(model)], LabelEvaluationOptions())
    with atomic_folder(folder.evaluation) as temporary:
        return run_evaluation(task, samples, temporary, run=run)


@dataclass(frozen=True, eq=False)
class LabelEvaluation(Evaluation):
    """Result of a multi-class evaluation; ``parts`` has the metrics of ``metrics.overlap.estimate_label_metrics``."""

    classes: tuple[str, ...] = ()

    @property
    def counts(self) -> NDArray[np.int64]:
        """Pixels of the measured images, int64 (image, true class, predicted class)."""
        return pixel_counts(self.image_metrics)[self.image_metrics.measured]

    @property
    def lead(self) -> str:
        """The mean Dice index, and the lowest one of a class, with their intervals."""
        whole = self.parts[ALL_IMAGES]
        dice_by_class = {name: whole[f"DI {name}"] for name in self.classes if f"DI {name}" in whole}
        lowest = min(dice_by_class, key=lambda name: dice_by_class[name].mean)
        return (
            f"Dice {whole['DI']}, mean over {len(self.classes)} classes with its 95 % interval; lowest for {lowest}: "
            f"{dice_by_class[lowest]}."
        )

    @property
    def settings(self) -> dict[str, object]:
        """The classes, as JSON values."""
        return {"classes": list(self.classes)}


class LabelTask(EvaluationTask[tuple["Labels", "Labels"], list["Labels"], LabelEvaluation]):
    """Label images. The values of an image are its pixels of each pair of true and predicted class."""

    compares_in_threads = True

    def __init__(self, models: Sequence[LabelModel], options: Config) -> None:
        super().__init__(models, options)
        self.models, self.classes = models, models[0].info.config.classes

    @property
    def names(self) -> list[list[str]]:
        pairs = product(range(len(self.classes)), repeat=2)
        return [[f"pixels_{true}_{predicted}" for true, predicted in pairs]] * len(self.models)

    @property
    def settings(self) -> dict[str, object]:
        return {"models": [[model.info.fingerprint, model.device] for model in self.models]}

    def read(self, sample: Sample) -> tuple[Labels, Labels]:
        return read_image_and_labels(sample, self.classes)

    def predict(self, contents: Sequence[tuple[Labels, Labels]]) -> list[list[Labels]]:
        return [[model.predict_labels(rgb) for model in self.models] for rgb, _ in contents]

    def compare(self, content: tuple[Labels, Labels], prediction: list[Labels]) -> list[dict[str, float]]:
        counts = (count_class_pairs(labels, content[1], len(self.classes)).ravel().tolist() for labels in prediction)
        return [dict(zip(self.names[0], each, strict=True)) for each in counts]

    def summarize(self, measured: Sequence[ImageMetrics]) -> LabelEvaluation:
        (image_metrics,) = measured
        counts = pixel_counts(image_metrics)[image_metrics.measured]
        groups = np.array([sample.group for sample in image_metrics.measured_samples])
        parts = estimate_domains(
            image_metrics,
            lambda positions: estimate_label_metrics(counts[positions], groups[positions], self.classes),
        )
        return LabelEvaluation(parts, image_metrics, classes=self.classes)

    def columns(self, evaluation: LabelEvaluation) -> list[str]:
        image_columns = ("image_id", "domain", "split", "group", "status", "error")
        return [*image_columns, *label_metrics(evaluation.counts[:1], evaluation.classes)]

    def rows(self, evaluation: LabelEvaluation) -> Iterator[dict[str, object]]:
        metrics = label_metrics(pixel_counts(evaluation.image_metrics), evaluation.classes)
        for index, row in enumerate(evaluation.image_metrics.rows()):
            failed = row["status"] == "failed"
            yield row if failed else row | {name: float(column[index]) for name, column in metrics.items()}

    def details(self, evaluation: LabelEvaluation) -> dict[str, object]:
        return {"confusion_px": evaluation.counts.sum(0).tolist()}

    def draw(self, evaluation: LabelEvaluation, folder: Path, run: RunContext) -> dict[str, Path]:
        """Draw the images with the lowest accuracy, a row of image, prediction and reference each."""
        accuracy = label_metrics(evaluation.counts, evaluation.classes)["AC"]
        samples, rows = evaluation.image_metrics.measured_samples, []
        for index in np.argsort(accuracy, kind="stable")[:WORST]:
            run.check()
            rgb, truth = read_image_and_labels(samples[index], evaluation.classes)
            predicted = self.models[0].predict_labels(rgb)
            pictures = [rgb, *(overlay_labels(rgb, labels, len(evaluation.classes)) for labels in (predicted, truth))]
            rows.append(np.concatenate([_thumbnail(picture) for picture in pictures], axis=1))
        path = folder / "worst.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_rgb(path, np.concatenate(rows, axis=0))
        return {"Worst images: image, prediction, reference": path}

    def describe(self, evaluation: LabelEvaluation, data: Sequence[str]) -> PageContent:
        columns = (ALL_IMAGES, *(data if len(data) > 1 else ()))
        metrics = [
            (metric_label(name), *(str(evaluation.parts.get(part, {}).get(name, "")) for part in columns))
            for name in evaluation.parts[ALL_IMAGES]
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
        shares = "Share of the pixels of each class (rows) by predicted class (columns)"
        intervals = interval_text(evaluation.image_metrics.measured_samples)
        return PageContent(
            facts=f"{evaluation.images} images, {len(evaluation.classes)} classes, the most probable class of each "
            "pixel",
            next="Review the worst images below. Every image is listed in per_image.csv.",
            tables=[
                ("Metrics", ("Metric", "All images", *columns[1:]), metrics),
                (shares, ("", *evaluation.classes), confusion),
            ],
            notes=[f"{POOLED_NOTE}. Intervals: {intervals}.", f"Colors: {colors}."],
        )


def pixel_counts(image_metrics: ImageMetrics) -> NDArray[np.int64]:
    """Return the pixels of all images, int64 (image, true class, predicted class); 0 for failed images."""
    table = np.nan_to_num(image_metrics.table).astype(np.int64)
    classes = round(table.shape[1] ** 0.5)
    return table.reshape(-1, classes, classes)


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
