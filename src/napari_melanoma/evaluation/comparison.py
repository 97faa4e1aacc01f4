"""The result of a comparison, as a value and a file, and the advice that follows from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.parsing import parse_error_reason, read_json
from napari_melanoma.evaluation.pages import ComparisonPage, PicturedChange
from napari_melanoma.metrics.statistics import Estimate

Advice = Literal["take over", "keep", "cannot tell"]
COMPARISON = "comparison.json"
EVENTS = "events.jsonl"  # by which a run folder is known
SHOWN = ("JA", "DI")  # the first of them decides
DECIDES = {"segmentation": "JA", "classification": "AUC"}
FORMAT_VERSION = 1


@dataclass(frozen=True)
class ComparedModel:
    """One of the two models: which it is, its threshold or cut, and how well it does; estimates by metric."""

    name: str
    fingerprint: str
    threshold: float
    metrics: dict[str, Estimate]

    @property
    def JA(self) -> Estimate:  # noqa: N802 - the metric's name everywhere
        """Jaccard index, mean over images."""
        return self.metrics["JA"]

    @property
    def DI(self) -> Estimate:  # noqa: N802 - the metric's name everywhere
        """Dice index, mean over images."""
        return self.metrics["DI"]


@dataclass(frozen=True)
class DomainChange:
    """What changed on the images of one data set; ``base`` says that the old model is meant to keep it."""

    name: str
    base: bool
    patients: int
    old: dict[str, Estimate]
    new: dict[str, Estimate]
    difference: dict[str, Estimate]

    @property
    def images(self) -> int:
        """How many were compared."""
        return max((change.count for change in self.difference.values()), default=0)


@dataclass(frozen=True)
class ImageChange:
    """One image under both models: Jaccard and Dice of each, and a picture of the contours where it is shown."""

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
        """Jaccard index of the new model less the old one's."""
        return self.new - self.old


@dataclass(frozen=True)
class Comparison:
    """Two models on the same images: new less old with 95 % intervals, what got better and worse, and the advice."""

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
        """The metric that decides: ``JA`` of masks, ``AUC`` of classes."""
        return DECIDES[self.task]

    @property
    def decisive(self) -> tuple[Estimate, Estimate, Estimate] | None:
        """That metric of the old model, of the new one, and its difference; None where these images cannot tell it."""
        found = [values.get(self.metric) for values in (self.old.metrics, self.new.metrics, self.difference)]
        old, new, change = found
        if old is None or new is None or change is None or not math.isfinite(new.mean):
            return None
        return old, new, change

    def summary(self) -> str:
        """Say it as people write it in a line.

        Such as ``JA 0.842 -> 0.863, difference +0.021 (95 % interval +0.008 to +0.034)``.
        """
        if self.decisive is None:
            return f"{self.metric} cannot be measured on these images"
        old, new, change = self.decisive
        return (
            f"{self.metric} {old.mean:.3f} -> {new.mean:.3f}, difference {change.mean:+.3f} "
            f"({change.format_interval(words='95 % interval ')})"
        )

    def write(self, folder: Path) -> None:
        """Write ``comparison.json``; pictures are named relative to the folder.

        Images are named by their path only in the folder of a run, which says where its images are anyway, so that the
        docks can open them; a comparison that stands alone may be handed on, and names them by their file.
        """
        values = {"format_version": FORMAT_VERSION, **comparison_values(self)}
        stays = (folder.parent / EVENTS).is_file()
        for item in (*values["better"], *values["worse"]):
            item["image"] = item["image"] if stays else Path(item["image"]).name
            item["thumbnail"] = item["thumbnail"] and Path(item["thumbnail"]).relative_to(folder).as_posix()
        write_json(folder / COMPARISON, values)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a comparison back."""
        try:
            values = read_json(folder / COMPARISON)
            return cls(
                old=_model(values["old"]),
                new=_model(values["new"]),
                difference=_estimates(values["difference"]),
                domains=tuple(_domain(item) for item in values["domains"]),
                better=tuple(_image(item, folder) for item in values["better"]),
                worse=tuple(_image(item, folder) for item in values["worse"]),
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
                f"{folder} holds no comparison that this version can read ({parse_error_reason(error)}). "
                "Make it again: napari-melanoma compare RUN"
            ) from error


def read_comparison(path: Path) -> Comparison:
    """Read the comparison of a folder, of its file, or of the run that it belongs to."""
    folder = path.parent if path.name == COMPARISON else path
    inside = folder / "comparison"
    return Comparison.read(inside if (inside / COMPARISON).is_file() else folder)


def comparison_values(comparison: Comparison) -> dict[str, Any]:
    """Give a comparison as plain values.

    What JSON can hold; paths as text.
    """
    values = asdict(comparison)
    del values["path"]
    for item in (*values["better"], *values["worse"]):
        item |= {"image": str(item["image"]), "thumbnail": item["thumbnail"] and str(item["thumbnail"])}
    return values


def table_rows(found: Comparison) -> list[tuple[str, ...]]:
    """Give the figures of a comparison as a table of words.

    Returns images, n, metric, old, new, difference; all images first, then each data set where there are several.
    """
    parts = [("all", found.images, found.old.metrics, found.new.metrics, found.difference)]
    if len(found.domains) > 1:
        parts += [(d.name, d.images, d.old, d.new, d.difference) for d in found.domains]
    rows: list[tuple[str, ...]] = []
    for name, count, old, new, difference in parts:
        for metric, change in difference.items():
            interval = f"{change.mean:+.3f} ({change.format_interval()})"
            rows.append((name, str(count), metric, f"{old[metric].mean:.3f}", f"{new[metric].mean:.3f}", interval))
    return rows


def comparison_page(comparison: Comparison) -> ComparisonPage:
    """Put a comparison into the words of its page."""
    old, new = comparison.old, comparison.new
    return ComparisonPage(
        title=f"{old.name} and {new.name}",
        facts=f"{comparison.images} images of {comparison.patients} patients or lesions",
        advice=comparison.advice,
        reason=comparison.reason,
        rows=table_rows(comparison),
        better=_pictured_changes(comparison.better),
        worse=_pictured_changes(comparison.worse),
        note=f"Old: weights {old.fingerprint[:12]}{_threshold_text(comparison, old)}. New: weights {new.fingerprint[:12]}"
        f"{_threshold_text(comparison, new)}. {_shown_class(comparison)}{comparison.facts['interval']}.{_overlap_text(comparison)}",
        failed=comparison.failed,
        warnings=comparison.facts.get("warnings", ()),
    )


def _threshold_text(comparison: Comparison, model: ComparedModel) -> str:
    """The threshold of a model, where it has one: of several classes the most probable counts."""
    return "" if "classes" in comparison.facts else f", threshold {model.threshold}"


def _shown_class(comparison: Comparison) -> str:
    """Which of several classes the contours are of."""
    if "classes" not in comparison.facts:
        return ""
    return (
        "JA and DI are means over classes, the pixels of all images counted together; each pixel is of the most "
        f"probable class. Contours are of {comparison.facts['lesion_class']}. "
    )


def _overlap_text(comparison: Comparison) -> str:
    """State that no model was trained on the images, where that is known; what was is among the warnings."""
    found = comparison.facts.get("training_overlap") or {}
    return f" {found['summary']}" if found.get("summary") and not comparison.facts.get("warnings") else ""


def _pictured_changes(images: Sequence[ImageChange]) -> list[PicturedChange]:
    """Images that have a picture."""
    return [PicturedChange(item.image_id, item.old, item.new, item.thumbnail) for item in images if item.thumbnail]


def _estimates(values: Mapping[str, Mapping[str, Any]]) -> dict[str, Estimate]:
    """Estimates by metric; what was not finite stays so."""
    return {
        name: Estimate(_number(item["mean"]), _number(item["low"]), _number(item["high"]), item["count"])
        for name, item in values.items()
    }


def _number(value: float | None) -> float:
    """Read a number; JSON has null where it was not finite."""
    return math.nan if value is None else float(value)


def _model(values: Mapping[str, Any]) -> ComparedModel:
    return ComparedModel(values["name"], values["fingerprint"], values["threshold"], _estimates(values["metrics"]))


def _domain(values: Mapping[str, Any]) -> DomainChange:
    estimates = {key: _estimates(values[key]) for key in ("old", "new", "difference")}
    return DomainChange(values["name"], values["base"], values["patients"], **estimates)


def _image(values: Mapping[str, Any], folder: Path) -> ImageChange:
    thumbnail = values["thumbnail"]
    places = {"image": Path(values["image"]), "thumbnail": folder / thumbnail if thumbnail else None}
    return ImageChange(**{**values, **places})


MIN_COUNT = 5  # fewer images, or patients, tell nothing
TOLERATED_LOSS = 0.01
EQUIVALENCE_MARGIN = 0.01
MORE_IMAGES = {
    "JA": "Correct more masks and train again.",
    "AUC": "Hold more images out, of both classes, and train again.",
}
MAX_FACTOR = 20  # times as many images as there are: no advice that helps


def advise(
    new: DomainChange, others: Sequence[DomainChange], metric: str = "JA", *, remedy: str = ""
) -> tuple[Advice, str]:
    """Say what to do, and why.

    *Take over*, where the interval of the difference in the metric on the new images lies above 0 and on no data
    set more than 0.01 can have been lost (the interval's lower end is at or above -0.01). *Keep*, where the interval
    on the new images lies below 0, or one of a data set below -0.01. *Cannot tell* otherwise, and wherever fewer than
    5 images or 5 patients were held out.

    Returns ``"take over"``, ``"keep"`` or ``"cannot tell"``. One or two sentences, with what would help where the
    advice is none.
    """
    gain = new.difference.get(metric)
    if gain is None:
        return "cannot tell", f"The {_images(new.images)} held out are of one class: no {metric} can be measured."
    if min(gain.count, new.patients) < MIN_COUNT:
        return "cannot tell", (
            f"Only {_images(gain.count)} of {new.patients} patients or lesions could be judged, and at least {MIN_COUNT} "
            f"of each are needed. {remedy or MORE_IMAGES[metric]}"
        )
    judged = [d for d in others if metric in d.difference and min(d.patients, d.difference[metric].count) >= MIN_COUNT]
    if gain.high < 0:
        return "keep", f"The new model does worse on {_images(gain.count)}: {_format_change(gain, metric)}."
    forgotten = [domain for domain in judged if domain.difference[metric].high < -TOLERATED_LOSS]
    if forgotten:
        worst = min(forgotten, key=lambda domain: domain.difference[metric].mean)
        return "keep", f"The new model does worse on {worst.name}: {_format_change(worst.difference[metric], metric)}."
    if not gain.low > 0:  # an interval that could not be found, too
        return "cannot tell", _chance_reason(gain, metric)
    doubtful = [domain for domain in judged if domain.difference[metric].low < -TOLERATED_LOSS]
    if doubtful:
        worst = min(doubtful, key=lambda domain: domain.difference[metric].low)
        return "cannot tell", _loss_reason(gain, worst, metric)
    return "take over", _gain_reason(gain, judged, metric)


def count_images_needed(found: Estimate, limit: float) -> int | None:
    """Estimate how many more images it takes until an interval no longer holds a limit.

    Its width shrinks with the root of their number (where they are like those that there are).

    None where it would take more than 20 times as many as there are.
    """
    distance, half = abs(found.mean - limit), (found.high - found.low) / 2
    if not distance or not math.isfinite(half):
        return None
    needed = math.ceil(round(found.count * (half / distance) ** 2, 6))
    return max(1, needed - found.count) if needed <= MAX_FACTOR * found.count else None


def _chance_reason(gain: Estimate, metric: str) -> str:
    """Say that a difference may be chance, and what would help."""
    if gain.low >= -EQUIVALENCE_MARGIN and gain.high <= EQUIVALENCE_MARGIN:
        return f"The two do equally well: {_format_change(gain, metric)}. Nothing is gained by changing."
    return f"The difference may be chance: {_format_change(gain, metric)}. {_more_images_text(count_images_needed(gain, 0.0))}"


def _loss_reason(gain: Estimate, domain: DomainChange, metric: str) -> str:
    """Say that the new images gain, but another data set may lose."""
    change = domain.difference[metric]
    more = _more_images_text(count_images_needed(change, -TOLERATED_LOSS))
    lost = f"it may lose more than {TOLERATED_LOSS} on {domain.name}: {_format_change(change, metric)}"
    return f"It gains {_format_change(gain, metric)}, but {lost}. {more}"


def _gain_reason(gain: Estimate, judged: Sequence[DomainChange], metric: str) -> str:
    """Say what is gained, and that nothing is lost as far as anybody looked."""
    base = [domain.name for domain in judged if domain.base]
    kept = (
        f"It loses no more than {TOLERATED_LOSS} on {', '.join(base)}." if base else "No other images were looked at."
    )
    return f"It gains {_format_change(gain, metric)} on {_images(gain.count)}. {kept}"


def _more_images_text(images: int | None) -> str:
    """Say how many more images would tell."""
    if images is None:
        return "Far more held-out images than these would be needed to tell."
    return f"About {images} more held-out image{'' if images == 1 else 's'} would tell."


def _format_change(change: Estimate, metric: str) -> str:
    """Write a difference in a metric with its interval."""
    return f"{metric} {change.mean:+.3f} ({change.format_interval(words='95 % interval ')})"


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"
