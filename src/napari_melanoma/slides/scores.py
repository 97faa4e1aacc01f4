"""Scores of slides from tile predictions, and correlation of lesion area and probability."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.formatting import format_count
from napari_melanoma.metrics.agreement import weighted_pearson
from napari_melanoma.metrics.statistics import Estimate, bootstrap_statistic

LOG_AXIS_RATIO = 30.0  # a wider range of areas is plotted on a logarithmic axis
MIN_LESIONS = 3  # the rank correlation of two lesions is always 1, -1 or undefined


class SlideScoreConfig(Config):
    """How the probabilities of tiles are pooled into those of the slide."""

    method: Literal["top_k", "maximum", "mean"] = Field(
        "top_k",
        title="Pooling of tiles",
        description="pooling of tile predictions into that of the slide: the mean of the k highest, or mean or maximum "
        "of all as in P3",
    )
    top_k: int = Field(10, title="Number of top tiles", ge=1, description="number of tiles for top_k")
    positive: int = Field(
        -1, title="Ranked class (index)", description="index of the class for ranking tiles; -1 is the last one"
    )


def score_slide(
    probability: ArrayLike, config: SlideScoreConfig, shares: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Pool the probabilities of a slide's tiles.

    ``probability``: float (tile, class); tiles without finite values, such as unreadable ones, are ignored. ``shares``:
    float (tile,), share of tissue in each tile, as weights of the mean; equal by default. Returns float64 (class,), NaN
    if all tiles are ignored.
    """
    values = np.asarray(probability, np.float64)
    weights = np.ones(len(values)) if shares is None else np.asarray(shares, np.float64).copy()
    known = np.isfinite(values.sum(axis=1))
    weights[~known] = 0
    if not weights.any():
        return np.full(values.shape[1], np.nan)
    if config.method != "mean":
        count = 1 if config.method == "maximum" else config.top_k
        ranked = np.where(weights > 0, values[:, config.positive], -np.inf)
        not_selected = np.argsort(-ranked, kind="stable")[count:]
        weights = (weights > 0).astype(np.float64)
        weights[not_selected] = 0
    weights /= weights.sum()
    return weights @ np.where(known[:, None], values, 0)


class LesionLike(Protocol):
    """A lesion with area and probability, such as ``SlideLesion`` or a row of a table."""

    @property
    def area_px(self) -> float:
        """Area in pixels of the finest level."""

    @property
    def area_mm2(self) -> float | None:
        """Area; None if the slide has no pixel size."""

    @property
    def probability(self) -> float:
        """Probability of malignancy; NaN without a prediction."""


AnyLesion = TypeVar("AnyLesion", bound=LesionLike)


@dataclass(frozen=True)
class ComparableLesions(Generic[AnyLesion]):
    """Lesions whose areas have the same unit, and the name of the slide of each.

    ``left_out``: number of other lesions with a probability, whose area in this unit is unknown.
    """

    lesions: tuple[AnyLesion, ...]
    slides: tuple[str, ...]
    in_mm2: bool
    left_out: int

    @property
    def unit(self) -> str:
        """Unit of the areas."""
        return "mm²" if self.in_mm2 else "pixels"

    @property
    def note(self) -> str:
        """How many lesions are left out, and why; empty if there are none."""
        if not self.left_out:
            return ""
        if not self.lesions:
            return (
                "No slide has a pixel size, and areas in pixels of different slides cannot be compared: there is no "
                "correlation. Specify the pixel size and analyze the slides again, or select a single slide."
            )
        subject = (
            "1 lesion has no area in mm² and is"
            if self.left_out == 1
            else f"{self.left_out} lesions have no area in mm² and are"
        )
        return f"{subject} left out: the pixel size of the slide is unknown."

    def area(self, lesion: LesionLike) -> float:
        """Return the area of a lesion in this unit."""
        return float(lesion.area_px if lesion.area_mm2 is None or not self.in_mm2 else lesion.area_mm2)


def select_comparable_lesions(
    lesions: Sequence[AnyLesion], slides: Sequence[str] | None = None
) -> ComparableLesions[AnyLesion]:
    """Select the lesions with a probability and an area in square millimeters.

    If all lesions are on one slide and none has an area in square millimeters, areas are compared in pixels.

    ``slides``: name of the slide of each lesion; None if all are on one slide.
    """
    names = [""] * len(lesions) if slides is None else slides
    # Lesions drawn outside analyzed tiles have no probability.
    predicted = [pair for pair in zip(lesions, names, strict=True) if np.isfinite(pair[0].probability)]
    in_mm2 = len({name for _, name in predicted}) > 1 or any(lesion.area_mm2 is not None for lesion, _ in predicted)
    comparable = [pair for pair in predicted if pair[0].area_mm2 is not None or not in_mm2]
    return ComparableLesions(
        tuple(lesion for lesion, _ in comparable),
        tuple(name for _, name in comparable),
        in_mm2,
        left_out=len(predicted) - len(comparable),
    )


def correlate_area_and_probability(comparable: ComparableLesions[AnyLesion]) -> Estimate | None:
    """Return Spearman's correlation of area and probability with a 95 % bootstrap interval.

    Slides are resampled, or lesions if there is only one slide. None for fewer than three lesions; NaN if all areas or
    all probabilities are equal.
    """
    lesions, slides = comparable.lesions, comparable.slides
    if len(lesions) < MIN_LESIONS:
        return None
    names = slides if len(set(slides)) > 1 else [str(number) for number in range(len(lesions))]
    areas = np.array([comparable.area(lesion) for lesion in lesions])
    probabilities = np.array([lesion.probability for lesion in lesions])
    return bootstrap_statistic(partial(spearman, areas, probabilities), names, bounds=(-1.0, 1.0))


def describe_correlation(estimate: Estimate | None, lesions: int, slides: int | None) -> str:
    """Describe a correlation with its interval, and whether the interval is over slides or lesions.

    ``lesions``, ``slides``: their numbers; ``slides`` is None for the lesions of a single slide.
    """
    sample = format_count(lesions, "lesion")
    if slides is not None:
        sample += f" of {format_count(slides, 'slide')}"
    if estimate is None:
        return f"The correlation requires at least three lesions; there {'is' if lesions == 1 else 'are'} {sample}."
    if math.isnan(estimate.mean):
        return f"{sample}: all areas or all probabilities are equal, so the rank correlation is undefined."
    interval = (
        f"95 % interval {estimate.low:.2f} to {estimate.high:.2f}"
        if estimate.has_interval
        else "too few for an interval"
    )
    text = f"Spearman {estimate.mean:.2f} ({interval}), {sample}."
    if slides is None or slides == 1:
        return f"{text} The interval is over these lesions only and does not apply to other slides."
    return f"{text} The interval is over slides."


def uses_log_axis(areas: Sequence[float]) -> bool:
    """Whether areas differ so much that a linear axis would not separate the smaller ones."""
    return bool(areas) and min(areas) > 0 and max(areas) / min(areas) > LOG_AXIS_RATIO


def spearman(x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Spearman's rank correlation for each bootstrap draw, with ties at their mean rank.

    ``x``, ``y``: float64 (value,). ``weights``: float64 (draw, value), how often a value was drawn. Returns float64
    (draw,), NaN where ``x`` or ``y`` is constant.
    """
    return weighted_pearson(_mean_ranks(x, weights), _mean_ranks(y, weights), weights)


def _mean_ranks(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weighted rank of each value in each draw, with ties at their mean rank, float64 (draw, value)."""
    _, index = np.unique(values, return_inverse=True)
    order = np.argsort(index, kind="stable")
    counts = np.add.reduceat(weights[:, order], np.flatnonzero(np.diff(index[order], prepend=-1)), axis=1)
    return (np.cumsum(counts, axis=1) - (counts - 1) / 2)[:, index]
