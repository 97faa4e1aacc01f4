"""The folder of an evaluation of several classes: tables, pictures of the worst images, and a page to read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.analysis.label_colours import class_colours, tinted
from napari_melanoma.analysis.label_overlap import label_metrics
from napari_melanoma.analysis.statistics import INTERVAL
from napari_melanoma.core.files import write_json
from napari_melanoma.core.provenance import provenance
from napari_melanoma.io.results import write_rgb, write_table
from napari_melanoma.report.evaluation_page import Page, write_page
from napari_melanoma.workflows.evaluate_labels import LabelEvaluation, opened
from napari_melanoma.workflows.training_overlap import TRAINED_ON, marked_rows, stated

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.workflows.evaluate_labels import LabelModel

WORST, SHOWN_PX, GAP_PX = 6, 256, 4
POOLED = (
    "The pixels of all images are counted together, class by class; DI and JA without a class are means over classes"
)


def write_label_evaluation(out: Path, found: LabelEvaluation, model: LabelModel) -> None:
    """Write tables, pictures and the page."""
    samples = [*found.samples, *(item.sample for item in found.failed)]
    rows = marked_rows(_rows(found), samples, found.overlap)
    write_table(out / "per_image.csv", rows, [*_columns(found), TRAINED_ON])
    about = _about(found, model)
    write_json(out / "metrics.json", about)
    picture = out / "figures" / "worst.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    write_rgb(picture, _worst(found, model))
    write_page(_page(found, model, about, picture), out / "summary.html")


def label_lead(found: LabelEvaluation) -> str:
    """Say in a sentence what a reader wants to know first.

    Mean Dice and the lowest class, each with its interval.
    """
    whole = found.parts["all"]
    of_classes = {name: whole[f"DI {name}"] for name in found.classes if f"DI {name}" in whole}
    lowest = min(of_classes, key=lambda name: of_classes[name].mean)
    return (
        f"Dice {whole['DI']}, mean over {len(found.classes)} classes with its 95 % interval; lowest of {lowest}: "
        f"{of_classes[lowest]}."
    )


def _columns(found: LabelEvaluation) -> list[str]:
    """Columns of ``per_image.csv``."""
    known = ("image_id", "domain", "split", "group", "status", "error")
    return [*known, *label_metrics(found.counts[:1], found.classes)]


def _rows(found: LabelEvaluation) -> list[dict[str, object]]:
    """Rows of ``per_image.csv``: first what was measured."""
    metrics = label_metrics(found.counts, found.classes)
    rows: list[dict[str, object]] = []
    for place, sample in enumerate(found.samples):
        about = {name: getattr(sample, name) for name in ("image_id", "domain", "split", "group")}
        values = {name: float(column[place]) for name, column in metrics.items()}
        rows.append({**about, "status": "done", **values})
    for item in found.failed:
        about = {name: getattr(item.sample, name) for name in ("image_id", "domain", "split", "group")}
        rows.append({**about, "status": "failed", "error": item.error})
    return rows


def _about(found: LabelEvaluation, model: LabelModel) -> dict[str, Any]:
    """Content of ``metrics.json``."""
    parts = {part: {name: vars(one) for name, one in some.items()} for part, some in found.parts.items()}
    return {
        "model": {"name": model.info.name, "fingerprint": model.info.fingerprint, "device": model.device},
        "classes": list(found.classes),
        "warnings": list(found.warnings),
        "training_overlap": found.overlap.facts if found.overlap else None,
        "metrics": parts,
        "confusion_px": found.counts.sum(0).tolist(),
        "failed": [{"image_id": item.sample.image_id, "error": item.error} for item in found.failed],
        "interval": INTERVAL,
        "provenance": provenance(),
    }


def _worst(found: LabelEvaluation, model: LabelModel) -> NDArray[np.uint8]:
    """Draw the images with the fewest pixels right: the image, what is found, the reference."""
    right = label_metrics(found.counts, found.classes)["AC"]
    rows = []
    for place in np.argsort(right, kind="stable")[:WORST]:
        rgb, truth = opened(found.samples[place], found.classes)
        said = model.labels(rgb)
        pictures = [rgb, tinted(rgb, said, len(found.classes)), tinted(rgb, truth, len(found.classes))]
        rows.append(np.concatenate([_shown(picture) for picture in pictures], axis=1))
    return np.concatenate(rows, axis=0)


def _shown(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Fit a picture into a square with a white rim."""
    from PIL import Image

    side = SHOWN_PX - GAP_PX
    sheet = np.full((SHOWN_PX, SHOWN_PX, 3), 255, np.uint8)
    sheet[:side, :side] = np.asarray(Image.fromarray(rgb).resize((side, side), Image.Resampling.BILINEAR))
    return sheet


def _page(found: LabelEvaluation, model: LabelModel, about: dict[str, Any], picture: Path) -> Page:
    """Words of the page."""
    data = sorted({sample.domain for sample in found.samples})
    columns = ("all", *(data if len(data) > 1 else ()))
    metrics = [
        (name, *(str(found.parts[part][name]) if name in found.parts[part] else "" for part in columns))
        for name in found.parts["all"]
    ]
    total = found.counts.sum(0)
    shares = total / np.maximum(1, total.sum(1, keepdims=True))
    confusion = [(name, *(f"{share:.3f}" for share in row)) for name, row in zip(found.classes, shares, strict=True)]
    colours = ", ".join(
        f"{name} #{''.join(f'{part:02x}' for part in colour)}"
        for name, colour in zip(found.classes[1:], class_colours(len(found.classes))[1:], strict=True)
    )
    return Page(
        title=f"{model.info.name} on {', '.join(data)}",
        facts=f"{found.images} images, {len(found.classes)} classes, each pixel of the most probable",
        lead=label_lead(found),
        next="Look at the worst images below. per_image.csv, beside this page, has every image.",
        warnings=found.warnings,
        tables=[
            ("Metrics", ("Metric", "All images", *columns[1:]), metrics),
            ("What is found (columns) of what is there (rows), share of its pixels", ("", *found.classes), confusion),
        ],
        figures={"Worst images: the image, what is found, the reference": picture},
        failed=[(item["image_id"], item["error"]) for item in about["failed"]],
        notes=[
            *stated(found.overlap),
            f"{POOLED}. Intervals: {INTERVAL}.",
            f"Colours: {colours}.",
            "Weights {}, {program} {version}.".format(model.info.fingerprint[:16], **about["provenance"]),
        ],
    )
