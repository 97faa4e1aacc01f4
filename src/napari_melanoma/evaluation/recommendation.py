"""Recommend the old or the new model of a comparison, or more test images, with the reason as text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from napari_melanoma.evaluation.comparison import Advice, DomainChange
from napari_melanoma.metrics.metric_table import metric_label
from napari_melanoma.metrics.statistics import Estimate

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
    """Format a difference in a metric with its interval."""
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
