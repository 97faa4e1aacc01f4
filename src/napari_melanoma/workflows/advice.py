"""Whether a new model should take the old one's place: one rule, written once, in words that a person can check."""

from __future__ import annotations

import math
from collections.abc import Sequence

from napari_melanoma.analysis.statistics import Estimate
from napari_melanoma.workflows.comparison import Advice, DomainChange

LEAST = 5  # fewer images, or patients, tell nothing
MAY_LOSE = 0.01
ALIKE = 0.01
MORE = {
    "JA": "Correct more masks and train again.",
    "AUC": "Hold more images out, of both classes, and train again.",
}
TOO_MANY = 20  # times as many images as there are: no advice that helps


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
    if min(gain.count, new.patients) < LEAST:
        return "cannot tell", (
            f"Only {_images(gain.count)} of {new.patients} patients or lesions could be judged, and at least {LEAST} "
            f"of each are needed. {remedy or MORE[metric]}"
        )
    judged = [d for d in others if metric in d.difference and min(d.patients, d.difference[metric].count) >= LEAST]
    if gain.high < 0:
        return "keep", f"The new model does worse on {_images(gain.count)}: {_said(gain, metric)}."
    forgotten = [domain for domain in judged if domain.difference[metric].high < -MAY_LOSE]
    if forgotten:
        worst = min(forgotten, key=lambda domain: domain.difference[metric].mean)
        return "keep", f"The new model does worse on {worst.name}: {_said(worst.difference[metric], metric)}."
    if not gain.low > 0:  # an interval that could not be found, too
        return "cannot tell", _by_chance(gain, metric)
    doubtful = [domain for domain in judged if domain.difference[metric].low < -MAY_LOSE]
    if doubtful:
        worst = min(doubtful, key=lambda domain: domain.difference[metric].low)
        return "cannot tell", _may_forget(gain, worst, metric)
    return "take over", _better(gain, judged, metric)


def images_to_tell(found: Estimate, limit: float) -> int | None:
    """Estimate how many more images it takes until an interval no longer holds a limit.

    Its width shrinks with the root of their number (where they are like those that there are).

    None where it would take more than 20 times as many as there are.
    """
    distance, half = abs(found.mean - limit), (found.high - found.low) / 2
    if not distance or not math.isfinite(half):
        return None
    needed = math.ceil(round(found.count * (half / distance) ** 2, 6))
    return max(1, needed - found.count) if needed <= TOO_MANY * found.count else None


def _by_chance(gain: Estimate, metric: str) -> str:
    """Say that a difference may be chance, and what would help."""
    if gain.low >= -ALIKE and gain.high <= ALIKE:
        return f"The two do equally well: {_said(gain, metric)}. Nothing is gained by changing."
    return f"The difference may be chance: {_said(gain, metric)}. {_help(images_to_tell(gain, 0.0))}"


def _may_forget(gain: Estimate, domain: DomainChange, metric: str) -> str:
    """Say that the new images gain, but another data set may lose."""
    change = domain.difference[metric]
    more = _help(images_to_tell(change, -MAY_LOSE))
    lost = f"it may lose more than {MAY_LOSE} on {domain.name}: {_said(change, metric)}"
    return f"It gains {_said(gain, metric)}, but {lost}. {more}"


def _better(gain: Estimate, judged: Sequence[DomainChange], metric: str) -> str:
    """Say what is gained, and that nothing is lost as far as anybody looked."""
    base = [domain.name for domain in judged if domain.base]
    kept = f"It loses no more than {MAY_LOSE} on {', '.join(base)}." if base else "No other images were looked at."
    return f"It gains {_said(gain, metric)} on {_images(gain.count)}. {kept}"


def _help(images: int | None) -> str:
    """Say how many more images would tell."""
    if images is None:
        return "Far more held-out images than these would be needed to tell."
    return f"About {images} more held-out image{'' if images == 1 else 's'} would tell."


def _said(change: Estimate, metric: str) -> str:
    """Write a difference in a metric with its interval."""
    return f"{metric} {change.mean:+.3f} ({change.interval(words='95 % interval ')})"


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"
