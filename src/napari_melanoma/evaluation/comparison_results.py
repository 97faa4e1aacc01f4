"""Results of comparisons: of an old and a new model, with the recommendation, and of several models with the first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.parsing import parse_error_reason, read_json
from napari_melanoma.core.renamed_keys import rename_keys
from napari_melanoma.metrics.metric_table import metric_label
from napari_melanoma.metrics.statistics import Estimate

if TYPE_CHECKING:
    from napari_melanoma.data.dataset import Sample
    from napari_melanoma.models.zoo import ArchitectureTask

Advice = Literal["activate", "keep", "inconclusive"]
COMPARISON = "comparison.json"
EVENTS = "events.jsonl"  # identifies a run folder
# The metric that decides which model is better, by task; ``cells`` are those of painted strokes.
DECIDES = {"segmentation": "JA", "classification": "AUC", "cells": "class_balanced_accuracy"}
FORMAT_VERSION = 1
ADVICE = {
    "activate": "Use the new model.",
    "keep": "Keep the old model.",
    "inconclusive": "Inconclusive.",
}
ACTIVATE = "run napari-melanoma models import RUN or activate it in the Train dock"
NEXT_STEPS = {
    "activate": "Review the pictures first, especially the worse ones. To use the new model, "
    f"{ACTIVATE}; the old model stays available.",
    "keep": "The pictures under Worse show where the new model fails; corrected masks of such images may improve it. "
    f"To use the new model anyway, {ACTIVATE}.",
    "inconclusive": "A verdict needs more test images; the pictures show what differs. "
    f"To use the new model anyway, {ACTIVATE}.",
}


@dataclass(frozen=True)
class ComparedModel:
    """One of the two models, with its decision threshold and its estimates by metric."""

    name: str
    fingerprint: str
    threshold: float
    metrics: dict[str, Estimate]


@dataclass(frozen=True)
class DomainChange:
    """Metrics of both models on the images of one data set, and their differences (new minus old).

    ``replay``: whether the new model must not do worse on these images. ``patients``: number of patients or lesions.
    """

    name: str
    replay: bool
    patients: int
    old: dict[str, Estimate]
    new: dict[str, Estimate]
    difference: dict[str, Estimate]

    @property
    def images(self) -> int:
        return max((change.count for change in self.difference.values()), default=0)


@dataclass(frozen=True)
class ImageChange:
    """One image under both models: Jaccard and Dice index with each, and the picture of the contours, if any."""

    image_id: str
    domain: str
    image: Path
    old: float
    new: float
    old_dice: float
    new_dice: float
    thumbnail: Path | None = None

    @property
    def change(self) -> float:
        """Jaccard index of the new model minus that of the old model."""
        return self.new - self.old


@dataclass(frozen=True)
class Comparison:
    """An old and a new model on the same images.

    ``difference``: new minus old by metric. ``better``, ``worse``: the images with the largest changes. ``failed``:
    name of an image and reason. ``path``: the folder of the comparison, if it is stored.
    """

    old: ComparedModel
    new: ComparedModel
    difference: dict[str, Estimate]
    domains: tuple[DomainChange, ...]
    better: tuple[ImageChange, ...]
    worse: tuple[ImageChange, ...]
    advice: Advice
    reason: str
    images: int
    patients: int
    failed: tuple[tuple[str, str], ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None
    task: str = "segmentation"

    @property
    def metric(self) -> str:
        """The decisive metric: ``JA`` for masks, ``AUC`` for classes, the balanced accuracy for cells."""
        return DECIDES[self.task]

    @property
    def decisive(self) -> tuple[Estimate, Estimate, Estimate] | None:
        """The decisive metric of the old model and of the new model, and the difference; None if it is undefined."""
        old, new, change = (values.get(self.metric) for values in (self.old.metrics, self.new.metrics, self.difference))
        if old is None or new is None or change is None or not math.isfinite(new.mean):
            return None
        return old, new, change

    def summary(self) -> str:
        """Summarize the decisive metric in one line.

        Such as ``Jaccard (IoU) 0.842 -> 0.863, difference +0.021 (95 % interval +0.008 to +0.034)``.
        """
        label = metric_label(self.metric)
        if self.decisive is None:
            return f"{label} cannot be measured on these images"
        old, new, change = self.decisive
        return (
            f"{label} {old.mean:.3f} -> {new.mean:.3f}, difference {change.mean:+.3f} "
            f"({change.format_interval(words='95 % interval ')})"
        )

    def write(self, folder: Path) -> None:
        """Write ``comparison.json``; pictures are stored relative to the folder.

        In the folder of a run, which lists its images anyway, images are stored with their path so that the docks can
        open them. Any other comparison may be passed on and stores file names only.
        """
        values = {"format_version": FORMAT_VERSION, **comparison_values(self)}
        in_run_folder = (folder.parent / EVENTS).is_file()
        for item in (*values["better"], *values["worse"]):
            item["image"] = item["image"] if in_run_folder else Path(item["image"]).name
            item["thumbnail"] = item["thumbnail"] and Path(item["thumbnail"]).relative_to(folder).as_posix()
        write_json(folder / COMPARISON, values)

    @classmethod
    def read(cls, folder: Path) -> Self:
        try:
            values = rename_keys("comparison", read_json(folder / COMPARISON))
            return cls(
                old=_read_model(values["old"]),
                new=_read_model(values["new"]),
                difference=read_estimates(values["difference"]),
                domains=tuple(_read_domain(item) for item in values["domains"]),
                better=tuple(_read_image(item, folder) for item in values["better"]),
                worse=tuple(_read_image(item, folder) for item in values["worse"]),
                advice=values["advice"],
                reason=values["reason"],
                images=values["images"],
                patients=values["patients"],
                failed=tuple((image_id, error) for image_id, error in values["failed"]),
                facts=values["facts"],
                path=folder,
                task=values.get("task", "segmentation"),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{folder} contains no comparison that this version can read ({parse_error_reason(error)}). "
                "Run it again: napari-melanoma compare RUN"
            ) from error


def read_comparison(path: Path) -> Comparison:
    """Read a comparison from its folder, its file, or the folder of its run."""
    folder = path.parent if path.name == COMPARISON else path
    inside = folder / "comparison"
    return Comparison.read(inside if (inside / COMPARISON).is_file() else folder)


def comparison_values(comparison: Comparison) -> dict[str, Any]:
    """Convert a comparison to JSON values; paths become text."""
    values = asdict(comparison)
    del values["path"]
    for item in (*values["better"], *values["worse"]):
        item |= {"image": str(item["image"]), "thumbnail": item["thumbnail"] and str(item["thumbnail"])}
    return values


def table_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """Return a comparison as table rows.

    Columns: images, n, metric, old, new, difference. All images first, then each data set if there are several.
    """
    parts = [("all", comparison.images, comparison.old.metrics, comparison.new.metrics, comparison.difference)]
    if len(comparison.domains) > 1:
        parts += [
            (domain.name, domain.images, domain.old, domain.new, domain.difference) for domain in comparison.domains
        ]
    rows: list[tuple[str, ...]] = []
    for name, count, old, new, difference in parts:
        for metric, change in difference.items():
            interval = f"{change.mean:+.3f} ({change.format_interval()})"
            means = (f"{old[metric].mean:.3f}", f"{new[metric].mean:.3f}")
            rows.append((name, str(count), metric_label(metric), *means, interval))
    return rows


def read_estimates(values: Mapping[str, Mapping[str, Any]]) -> dict[str, Estimate]:
    """Read estimates by metric from the values of a JSON file."""
    return {
        name: Estimate(_read_number(item["mean"]), _read_number(item["low"]), _read_number(item["high"]), item["count"])
        for name, item in values.items()
    }


def _read_number(value: float | None) -> float:
    """Read a number; null, which replaces numbers that are not finite in JSON, becomes NaN."""
    return math.nan if value is None else float(value)


def _read_model(values: Mapping[str, Any]) -> ComparedModel:
    return ComparedModel(values["name"], values["fingerprint"], values["threshold"], read_estimates(values["metrics"]))


def _read_domain(values: Mapping[str, Any]) -> DomainChange:
    estimates = {key: read_estimates(values[key]) for key in ("old", "new", "difference")}
    return DomainChange(values["name"], values["replay"], values["patients"], **estimates)


def _read_image(values: Mapping[str, Any], folder: Path) -> ImageChange:
    thumbnail = values["thumbnail"]
    paths = {"image": Path(values["image"]), "thumbnail": folder / thumbnail if thumbnail else None}
    return ImageChange(**{**values, **paths})


# Several models.

ESTIMATE_COLUMNS = ("mean", "low", "high", "difference", "difference_low", "difference_high")
COLUMNS = ("part", "images", "patients", "model", "metric", *ESTIMATE_COLUMNS)  # of models.csv


@dataclass(frozen=True)
class ModelMetrics:
    """Estimates of one model by metric, and its differences from the first model."""

    model: str
    metrics: dict[str, Estimate]
    difference: dict[str, Estimate]


@dataclass(frozen=True)
class DataPartMetrics:
    """Estimates of each model on the images of one data set, or of all.

    ``patients``: number of patients or lesions. ``models``: the models, the one that the others are compared with
    first.
    """

    name: str
    images: int
    patients: int
    models: tuple[ModelMetrics, ...]


class FailedImage(NamedTuple):
    """An image that could not be measured, and the reason."""

    sample: Sample
    error: str


@dataclass(frozen=True)
class ModelsComparison:
    """Result of a comparison of several models.

    ``parts``: all images, then each data set if there are several. ``shown``: the metrics in tables for users.
    ``failed``: the images that failed with any of the models. ``interval``: how intervals were computed. ``facts``:
    further values of the task, such as DeLong's tests of classifiers.
    """

    task: ArchitectureTask
    parts: tuple[DataPartMetrics, ...]
    shown: tuple[str, ...]
    failed: tuple[FailedImage, ...] = ()
    warnings: tuple[str, ...] = ()
    interval: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, Any]:
        """The estimates as JSON values, by their key in ``models.json``."""
        if self.task == "segmentation":
            return {"parts": [asdict(part) for part in self.parts]}
        return {
            "estimates": [
                {"part": part.name, "images": part.images, **asdict(model)}
                for part in self.parts
                for model in part.models
            ]
        }

    def table(self) -> list[tuple[str, ...]]:
        """Return table rows: images, n, model, then each shown metric with its difference from the first model."""
        rows = []
        for part in self.parts:
            for model in part.models:
                cells = (_format_cell(model.metrics.get(name), model.difference.get(name)) for name in self.shown)
                rows.append((part.name, str(part.images), model.model, *cells))
        return rows

    def rows(self) -> Iterator[dict[str, object]]:
        """Yield the rows of ``models.csv``: one for each part, model and metric."""
        for part in self.parts:
            for model in part.models:
                for metric, estimate in model.metrics.items():
                    row: dict[str, object] = {"part": part.name, "images": part.images, "patients": part.patients}
                    row |= {"model": model.model, "metric": metric}
                    row |= {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}
                    if change := model.difference.get(metric):
                        row |= dict(zip(ESTIMATE_COLUMNS[3:], (change.mean, change.low, change.high), strict=True))
                    yield row


def _format_cell(estimate: Estimate | None, change: Estimate | None) -> str:
    """Format a metric and its difference from the first model, if there is one; "" if the metric is undefined."""
    if estimate is None:
        return ""
    return f"{estimate.mean:.3f}" + (f", {change.mean:+.3f} ({change.format_interval()})" if change else "")


# The recommendation of the old or the new model, or of more test images, with the reason.

MIN_COUNT = 5  # images and patients: fewer give no verdict
TOLERATED_LOSS = 0.01  # of the metric, on a data set
EQUIVALENCE_MARGIN = 0.01  # of the metric: if the interval is within it, the models perform equally well
# What to do if too few images could be compared, by metric.
MORE_IMAGES = {
    "JA": "Correct more masks and train again.",
    "AUC": "Hold out more images of both classes and train again.",
}
MAX_FACTOR = 20  # times the present number of images: to recommend more is not useful
TOO_FEW = (
    "Of the {images} test images, {fewest} {are} of the rarer class; at least {least} are needed to measure how "
    "well a model separates the classes. {remedy}"
)
HOLD_OUT_MORE = "Use a larger test set and train again."
WORSE = {
    "sensitivity": "At its own decision threshold, the new model has a lower sensitivity: {change}.",
    "specificity": "At its own decision threshold, the new model has a lower specificity: {change}.",
    "ECE": "The new model's probabilities are less well calibrated: calibration error {change}.",
}


def advise(
    new: DomainChange, domains: Sequence[DomainChange], metric: str = "JA", *, remedy: str = ""
) -> tuple[Advice, str]:
    """Return the recommendation and its reason.

    ``new``: the change on the new images. ``domains``: that on each data set. ``remedy``: replaces ``MORE_IMAGES``.

    ``"activate"`` if the interval of the difference in the metric on the new images is above 0 and no data set can have
    lost more than 0.01 (lower limit of the interval at or above -0.01). ``"keep"`` if the interval on the new images is
    below 0, or that of a data set is below -0.01. ``"inconclusive"`` otherwise, and if the metric is undefined or fewer
    than 5 images or 5 patients were held out.

    The reason is one or two sentences; it recommends a remedy if there is no verdict.
    """
    gain = new.difference.get(metric)
    if gain is None:
        return (
            "inconclusive",
            f"All {_images(new.images)} of the test set are of one class, so {metric} cannot be measured.",
        )
    if min(gain.count, new.patients) < MIN_COUNT:
        return "inconclusive", (
            f"Only {_images(gain.count)} of {new.patients} patients or lesions could be compared; at least {MIN_COUNT} "
            f"of each are needed. {remedy or MORE_IMAGES[metric]}"
        )
    decided = [
        change
        for change in domains
        if metric in change.difference and min(change.patients, change.difference[metric].count) >= MIN_COUNT
    ]
    if gain.high < 0:
        return "keep", f"The new model is worse on {_images(gain.count)}: {_format_change(gain, metric)}."
    lost = [domain for domain in decided if domain.difference[metric].high < -TOLERATED_LOSS]
    if lost:
        worst = min(lost, key=lambda domain: domain.difference[metric].mean)
        return "keep", f"The new model is worse on {worst.name}: {_format_change(worst.difference[metric], metric)}."
    if not gain.low > 0:  # also where there is no interval
        return "inconclusive", _chance_reason(gain, metric)
    doubtful = [domain for domain in decided if domain.difference[metric].low < -TOLERATED_LOSS]
    if doubtful:
        worst = min(doubtful, key=lambda domain: domain.difference[metric].low)
        return "inconclusive", _loss_reason(gain, worst, metric)
    undecided = [change.name for change in domains if change.replay and change not in decided]
    return "activate", _gain_reason(gain, decided, metric, undecided)


def count_images_needed(difference: Estimate, limit: float) -> int | None:
    """Estimate how many more images are needed until the interval of a difference excludes a limit.

    If new images are similar to the present ones, the width of the interval is inversely proportional to the square
    root of their number. Returns None if more than 20 times the present number would be needed.
    """
    distance, half_width = abs(difference.mean - limit), (difference.high - difference.low) / 2
    if not distance or not math.isfinite(half_width):
        return None
    needed = math.ceil(round(difference.count * (half_width / distance) ** 2, 6))
    return max(1, needed - difference.count) if needed <= MAX_FACTOR * difference.count else None


def _chance_reason(gain: Estimate, metric: str) -> str:
    """Explain that a difference may be due to chance."""
    if gain.low >= -EQUIVALENCE_MARGIN and gain.high <= EQUIVALENCE_MARGIN:
        return f"The models perform equally well: {_format_change(gain, metric)}. Switching has no benefit."
    more = _more_images_text(count_images_needed(gain, 0.0))
    return f"The difference may be due to chance: {_format_change(gain, metric)}. {more}"


def _loss_reason(gain: Estimate, domain: DomainChange, metric: str) -> str:
    """Explain that the new model is better on the new images, but may be worse on another data set."""
    change = domain.difference[metric]
    more = _more_images_text(count_images_needed(change, -TOLERATED_LOSS))
    loss = f"it may lose more than {TOLERATED_LOSS} on {domain.name}: {_format_change(change, metric)}"
    return f"The new model is better on the new images: {_format_change(gain, metric)}, but {loss}. {more}"


def _gain_reason(gain: Estimate, decided: Sequence[DomainChange], metric: str, undecided: Sequence[str]) -> str:
    """Explain the gain, and that replay data sets do not lose; ``undecided``: replay data sets with too few images."""
    replay = [domain.name for domain in decided if domain.replay]
    sentences = [f"It loses no more than {TOLERATED_LOSS} on {', '.join(replay)}."] if replay else []
    if undecided:
        sentences.append(f"Too few images or patients for a verdict on {', '.join(undecided)}.")
    sentences = sentences or ["No other images were compared."]
    return " ".join([f"The new model is better on {_images(gain.count)}: {_format_change(gain, metric)}.", *sentences])


def _more_images_text(images: int | None) -> str:
    """State how many more images a verdict needs."""
    if images is None:
        return "A verdict would need far more test images."
    return f"A verdict needs about {images} more test image{'' if images == 1 else 's'}."


def _format_change(change: Estimate, metric: str) -> str:
    return f"{metric_label(metric)} {change.mean:+.3f} ({change.format_interval(words='95 % interval ')})"


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"


def advise_by_auc(changes: Sequence[DomainChange], images: int, remedy: str) -> tuple[Advice, str]:
    """Return a recommendation for classifiers, by the AUC, and a reason that lists other metrics that got worse.

    ``changes``: on all images, then on each data set. ``images``: number of test images. ``remedy``: what to do if too
    few images are of one class; "": the default sentence.
    """
    all_images, *domains = changes
    counts = [all_images.new[name].count for name in ("sensitivity", "specificity") if name in all_images.new]
    rarest_count = min(counts) if len(counts) > 1 else 0
    if 0 < rarest_count < MIN_COUNT:
        are = "is" if rarest_count == 1 else "are"
        remedy = remedy or HOLD_OUT_MORE
        return "inconclusive", TOO_FEW.format(
            images=images, fewest=rarest_count, are=are, least=MIN_COUNT, remedy=remedy
        )
    advice, reason = advise(all_images, domains, "AUC", remedy=remedy)
    return advice, " ".join([reason, *_warn_of_losses(all_images)])


def _warn_of_losses(all_images: DomainChange) -> Iterator[str]:
    """Yield a sentence for each other metric in which the new model is significantly worse."""
    for name, template in WORSE.items():
        change = all_images.difference.get(name)
        if change is None or not math.isfinite(change.low):
            continue
        if (change.low > 0) if name == "ECE" else (change.high < 0):
            yield template.format(change=f"{change.mean:+.3f} ({change.format_interval(words='95 % interval ')})")
