"""Evaluate a multi-class segmentation model on images with label images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.files import atomic_folder, write_json
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.dataset import Sample, check_dataset_names, read_dataset, select_for_split
from napari_melanoma.evaluation.mask_measurement import describe_failure
from napari_melanoma.evaluation.overlap import (
    TRAINED_ON,
    Overlap,
    mark_training_rows,
    overlap_statement,
    select_images,
)
from napari_melanoma.evaluation.pages import Page, metric_label, write_evaluation_page
from napari_melanoma.evaluation.results import (
    FailedImage,
    estimates_to_json,
    none_measured,
)
from napari_melanoma.imaging.colormaps import class_colors, overlay_labels
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_labels, write_rgb, write_table
from napari_melanoma.metrics.overlap import count_class_pairs, estimate_label_metrics, label_metrics
from napari_melanoma.metrics.statistics import INTERVAL_METHOD, Estimate
from napari_melanoma.training.data_checks import numbered_classes
from napari_melanoma.training.run_data import read_data

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.models.bundle import BundleInfo

WORST, SHOWN_PX, GAP_PX = 6, 256, 4
POOLED_NOTE = (
    "The pixels of all images are counted together, class by class; Dice and Jaccard without a class are means over "
    "classes"
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

    ``parts`` has estimates for all images and each data set, as ``estimate_label_metrics`` names them. ``samples`` are
    the images that were measured, ``counts`` their pixels, int64 (image, true class, predicted class).
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


def evaluate_labels(
    model: LabelModel,
    datasets: Sequence[Path],
    out: Path,
    *,
    split: str | None = None,
    include_seen: bool = False,
    run: RunContext,
) -> LabelEvaluation:
    """Evaluate a multi-class model and write the results.

    An image that cannot be read, or whose labels have another size or an unknown value, is listed as failed and not
    counted.
    """
    check_dataset_names(datasets)
    samples = [sample for folder in datasets for sample in select_for_split(read_dataset(folder), split)]
    return _evaluate_samples(model, samples, out, run, include_seen)


def evaluate_labels_held_out(folder: RunFolder, model: BundleInfo, *, run: RunContext) -> LabelEvaluation:
    """Evaluate the model of a run on its held-out images."""
    from napari_melanoma.slides.tile_models import TissueSegmenter

    samples = [row.sample for row in read_data(folder.data) if row.part == "held_out"]
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


def _parts(
    samples: Sequence[Sample], counts: NDArray[np.int64], classes: Sequence[str]
) -> dict[str, dict[str, Estimate]]:
    """Estimate the metrics for all images and each data set."""
    groups = np.array([sample.group for sample in samples])
    domains = np.array([sample.domain for sample in samples])
    found = {"all": estimate_label_metrics(counts, groups, classes)}
    for domain in np.unique(domains):
        here = domains == domain
        found[str(domain)] = estimate_label_metrics(counts[here], groups[here], classes)
    return found


def write_label_evaluation(out: Path, found: LabelEvaluation, model: LabelModel) -> None:
    """Write tables, pictures and the page."""
    samples = [*found.samples, *(item.sample for item in found.failed)]
    rows = mark_training_rows(_rows(found), samples, found.overlap)
    write_table(out / "per_image.csv", rows, [*_columns(found), TRAINED_ON])
    about = _about(found, model)
    write_json(out / "metrics.json", about)
    picture = out / "figures" / "worst.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    write_rgb(picture, _draw_worst(found, model))
    write_evaluation_page(_page(found, model, about, picture), out / "summary.html")


def label_lead(found: LabelEvaluation) -> str:
    """Summarize the evaluation: mean Dice index and the class with the lowest, each with its interval."""
    whole = found.parts["all"]
    of_classes = {name: whole[f"DI {name}"] for name in found.classes if f"DI {name}" in whole}
    lowest = min(of_classes, key=lambda name: of_classes[name].mean)
    return (
        f"Dice {whole['DI']}, mean over {len(found.classes)} classes with its 95 % interval; lowest for {lowest}: "
        f"{of_classes[lowest]}."
    )


def _columns(found: LabelEvaluation) -> list[str]:
    """Return the columns of ``per_image.csv``."""
    known = ("image_id", "domain", "split", "group", "status", "error")
    return [*known, *label_metrics(found.counts[:1], found.classes)]


def _rows(found: LabelEvaluation) -> list[dict[str, object]]:
    """Return the rows of ``per_image.csv``: measured images, then failed ones."""
    metrics = label_metrics(found.counts, found.classes)
    rows: list[dict[str, object]] = []
    for index, sample in enumerate(found.samples):
        about = {name: getattr(sample, name) for name in ("image_id", "domain", "split", "group")}
        values = {name: float(column[index]) for name, column in metrics.items()}
        rows.append({**about, "status": "done", **values})
    for item in found.failed:
        about = {name: getattr(item.sample, name) for name in ("image_id", "domain", "split", "group")}
        rows.append({**about, "status": "failed", "error": item.error})
    return rows


def _about(found: LabelEvaluation, model: LabelModel) -> dict[str, Any]:
    """Return the content of ``metrics.json``."""
    return {
        "model": {"name": model.info.name, "fingerprint": model.info.fingerprint, "device": model.device},
        "classes": list(found.classes),
        "warnings": list(found.warnings),
        "training_overlap": found.overlap.facts if found.overlap else None,
        "metrics": {part: estimates_to_json(estimates) for part, estimates in found.parts.items()},
        "confusion_px": found.counts.sum(0).tolist(),
        "failed": [{"image_id": item.sample.image_id, "error": item.error} for item in found.failed],
        "interval": INTERVAL_METHOD,
        "provenance": collect_provenance(),
    }


def _draw_worst(found: LabelEvaluation, model: LabelModel) -> NDArray[np.uint8]:
    """Draw the images with the lowest accuracy: image, prediction, reference."""
    right = label_metrics(found.counts, found.classes)["AC"]
    rows = []
    for index in np.argsort(right, kind="stable")[:WORST]:
        rgb, truth = read_image_and_labels(found.samples[index], found.classes)
        predicted = model.predict_labels(rgb)
        pictures = [rgb, *(overlay_labels(rgb, labels, len(found.classes)) for labels in (predicted, truth))]
        rows.append(np.concatenate([_thumbnail(picture) for picture in pictures], axis=1))
    return np.concatenate(rows, axis=0)


def _thumbnail(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Resize a picture to a square with a white margin."""
    from PIL import Image

    side = SHOWN_PX - GAP_PX
    sheet = np.full((SHOWN_PX, SHOWN_PX, 3), 255, np.uint8)
    sheet[:side, :side] = np.asarray(Image.fromarray(rgb).resize((side, side), Image.Resampling.BILINEAR))
    return sheet


def _page(found: LabelEvaluation, model: LabelModel, about: dict[str, Any], picture: Path) -> Page:
    """Return the content of the page."""
    data = sorted({sample.domain for sample in found.samples})
    columns = ("all", *(data if len(data) > 1 else ()))
    metrics = [
        (metric_label(name), *(str(found.parts[part][name]) if name in found.parts[part] else "" for part in columns))
        for name in found.parts["all"]
    ]
    total = found.counts.sum(0)
    shares = total / np.maximum(1, total.sum(1, keepdims=True))
    confusion = [(name, *(f"{share:.3f}" for share in row)) for name, row in zip(found.classes, shares, strict=True)]
    colors = ", ".join(
        f"{name} #{''.join(f'{part:02x}' for part in color)}"
        for name, color in zip(found.classes[1:], class_colors(len(found.classes))[1:], strict=True)
    )
    return Page(
        title=f"{model.info.name} on {', '.join(data)}",
        facts=f"{found.images} images, {len(found.classes)} classes, the most probable class of each pixel",
        lead=label_lead(found),
        next="Review the worst images below. per_image.csv lists every image.",
        warnings=found.warnings,
        tables=[
            ("Metrics", ("Metric", "All images", *columns[1:]), metrics),
            ("Share of the pixels of each class (rows) by predicted class (columns)", ("", *found.classes), confusion),
        ],
        figures={"Worst images: image, prediction, reference": picture},
        failed=[(item["image_id"], item["error"]) for item in about["failed"]],
        notes=[
            *overlap_statement(found.overlap),
            f"{POOLED_NOTE}. Intervals: {INTERVAL_METHOD}.",
            f"Colors: {colors}.",
            "Weights {}, {program} {version}.".format(model.info.fingerprint[:16], **about["provenance"]),
        ],
    )
