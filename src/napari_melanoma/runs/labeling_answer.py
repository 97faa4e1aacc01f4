"""What labels have brought so far, and whether the adapted model would be used: headlines of the Diagnosis section."""

from __future__ import annotations

import math
from collections.abc import Iterator

from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.headline import Headline
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.runs.labeling import (
    MIN_DRAWN,
    MORE_LABELS,
    RANDOM_EVERY,
    AdaptationChoice,
    LabelingState,
    LearningCurve,
)

NOT_KNOWN = "Not known yet whether your model would be used"
USED = "Your model would be used"
KEPT = "The shipped model would be kept"
DRAWN_AT_RANDOM = f"One of {RANDOM_EVERY} photographs is drawn at random; only these estimate the accuracy."


def describe_labels(state: LabelingState, curve: LearningCurve | None) -> Headline:
    """Compare both models on the labels, and state what more labels would bring; or what is missing for a fit.

    ``curve``: None if it is unknown or not computed yet.
    """
    labels = format_count(state.labeled_count, "label")
    if missing := state.counts.describe_missing(state.positive):
        text = f"{labels}: {missing} before the first fit"
    elif state.fit is None:  # the notice states why
        text = f"{labels}, not fitted"
    elif (drawn := int(state.fit.is_drawn.sum())) < MIN_DRAWN or state.accuracy is None:
        text = f"{labels}: {MIN_DRAWN - drawn} more drawn at random until both models are compared"
    else:
        text = f"{labels}: {_compare(state)}{_describe_more(curve)}"
    return Headline(text, tuple(_list_parts(state)), detail=_describe_detail(state, curve))


def _compare(state: LabelingState) -> str:
    """Compare how often the most probable class is the diagnosis."""
    assert state.accuracy is not None
    text = f"your model would be right in {_percent(state.accuracy.mean)} of 100"
    shipped = state.shipped_accuracy
    return text if shipped is None else f"{text}, the shipped one in {_percent(shipped.mean)}"


def _describe_more(curve: LearningCurve | None) -> str:
    """Describe whether more labels would help, by the interval of their gain; empty if it is unknown."""
    if curve is None:
        return ""
    if curve.gain.low > 0:
        return f"; about {MORE_LABELS} more would help"
    return f"; {MORE_LABELS} more {'may help' if curve.gain.mean > 0 else 'would hardly help'}"


def _list_parts(state: LabelingState) -> Iterator[str]:
    """Yield which labels are not used, and why the fit is limited."""
    counts, total = state.counts, state.labeled_count
    if waiting := sum(path in state.missing and path not in state.shipped for path in state.labels):
        yield f"{waiting:,} without image features yet"
    elif counts.photographs != total:
        yield f"{counts.photographs:,} can be used, {counts.positives} of {state.positive}"
    else:
        yield f"Labels of {state.positive}: {counts.positives}"
    if state.fit is not None and (limits := counts.describe_limits(state.positive)):
        yield f"Only the calibration is fitted; for more: {limits}"
    if state.notice:
        yield state.notice.rstrip(".")


def _describe_detail(state: LabelingState, curve: LearningCurve | None) -> str:
    """Return the numbers behind the headline with their intervals, in sentences."""
    if state.fit is None or state.accuracy is None:
        return DRAWN_AT_RANDOM
    used, drawn = int(state.fit.is_drawn.sum()), format_count(state.labeled_drawn, "photograph")
    photographs = drawn if used == state.labeled_drawn else f"{used:,} of {drawn}"  # the others are left out
    shipped = "" if state.shipped_accuracy is None else f", of the shipped one {_format_share(state.shipped_accuracy)}"
    text = f"Accuracy of your model {_format_share(state.accuracy)}{shipped}, on {photographs} drawn at random."
    if curve is not None:
        loss, gain = curve.losses[-1].mean, curve.gain
        now, low, then, high = (
            min(1.0, math.exp(-loss + max(0.0, more))) for more in (0, gain.low, gain.mean, gain.high)
        )
        text += (
            f" {MORE_LABELS} more labels: probability of the true diagnosis {now:.2f} → about {then:.2f} "
            f"({low:.2f}–{high:.2f})."
        )
    elif state.fit.curve_sizes:
        text += " The learning curve is being computed."
    else:
        text += " The learning curve needs more photographs that were drawn at random."
    return text


def _percent(share: float) -> int:
    return round(100 * share)


def _format_share(share: Estimate) -> str:
    return f"{_percent(share.mean)} % (95 % interval {_percent(share.low)}–{_percent(share.high)})"


def describe_choice(state: LabelingState, choice: AdaptationChoice | None) -> Headline:
    """Describe which model would be used, and why; without text before the first fit.

    ``choice``: of these labels; None before it is computed.
    """
    if state.fit is None:
        return Headline("")
    if choice is None:
        return Headline(NOT_KNOWN)
    return Headline(USED if choice.is_used else KEPT, (choice.verdict,), detail=choice.reason)
