"""Figures of a classifier: ROC and precision-recall curves, reliability, confusion, and importance of columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.files import atomic_file
from napari_melanoma.figures.evaluation import COLORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from napari_melanoma.figures.evaluation import Interval
    from napari_melanoma.metrics.calibration import Reliability

BLUE, ORANGE, GRAY = "#3b6fa0", "#d08000", "#999999"
FEW_IMAGES = 10  # images of a bin: with fewer, the share is unreliable
STYLES = ("-", "--", "-.", ":")


@dataclass(frozen=True, eq=False)
class ClassifierCurve:
    """A named curve: float64 (point,) each, and its operating point, if any."""

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    operating_point: tuple[float, float] | None = None


def plot_roc(curves: Sequence[ClassifierCurve], path: Path) -> None:
    """Draw ROC curves with their operating points."""
    figure, axis = _create_square_axes()
    axis.plot([0, 1], [0, 1], color=GRAY, linewidth=0.8)
    _plot_curves(axis, curves)
    axis.set(xlabel="1 - specificity", ylabel="sensitivity")
    _save(figure, path)


def plot_precision_recall(curves: Sequence[ClassifierCurve], share: float, path: Path) -> None:
    """Draw precision-recall curves; the line is the share of the positive class."""
    figure, axis = _create_square_axes()
    axis.axhline(share, color=GRAY, linewidth=0.8)
    _plot_curves(axis, curves)
    axis.set(xlabel="sensitivity", ylabel="precision")
    _save(figure, path)


def plot_reliability(bins: Reliability, scores: NDArray[np.float64], path: Path) -> None:
    """Draw a reliability diagram, and below it the distribution of the probabilities.

    ``scores``: probability of the positive class of every image, float64 (image,).
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 6.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    above.plot([0, 1], [0, 1], color=GRAY, linewidth=0.8)
    plot_bins(above, bins, BLUE)
    above.set(ylabel="observed share, 95 % interval", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    below.hist(scores, bins=np.linspace(0, 1, 41), color=BLUE)
    below.set(xlabel="probability", ylabel="images")
    for axis in (above, below):
        axis.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def plot_bins(axes: Axes, bins: Reliability, color: str) -> None:
    """Draw the points of a reliability diagram with intervals; those of few images are faint and not connected."""
    many = bins.count >= FEW_IMAGES
    for chosen, strength in ((many, 1.0), (~many, 0.35)):
        axes.vlines(bins.predicted[chosen], bins.low[chosen], bins.high[chosen], color=color, alpha=strength)
        axes.plot(bins.predicted[chosen], bins.observed[chosen], "o", color=color, markersize=4, alpha=strength)
    broken = np.where(many, bins.observed, np.nan)  # the line stops at a point of few images
    axes.plot(bins.predicted, broken, color=color, linewidth=1)


def plot_confusion(counts: NDArray[np.int64], classes: Sequence[str], path: Path) -> None:
    """Draw a confusion matrix with counts and shares of each true class.

    ``counts``: int64 (true class, predicted class).
    """
    from matplotlib.figure import Figure

    side = 2.6 + 0.9 * len(classes)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axis = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        color = "white" if shares[row, column] > 0.55 else "#1c1f23"
        text = f"{counts[row, column]}\n{100 * shares[row, column]:.0f} %"
        axis.text(column, row, text, ha="center", va="center", color=color, fontsize=10)
    axis.set_xticks(range(len(classes)), classes, rotation=30 if len(classes) > 2 else 0)
    axis.set_yticks(range(len(classes)), classes)
    axis.set(xlabel="predicted", ylabel="true")
    _save(figure, path)


def plot_bars(bars: Mapping[str, Interval], label: str, path: Path, *, middle: float = 0.0) -> None:
    """Draw an estimate with its interval for each of several names."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1.1 + 0.34 * len(bars)), layout="constrained")
    axis = figure.subplots()
    for row, found in enumerate(bars.values()):
        axis.barh(row, found.mean - middle, left=middle, color=BLUE, alpha=0.35, height=0.6)
        axis.plot([found.low, found.high], [row, row], color=BLUE, linewidth=1.8)
        axis.plot([found.mean], [row], "o", color=BLUE, markersize=4)
    axis.axvline(middle, color=GRAY, linewidth=0.8)
    axis.set_yticks(range(len(bars)), list(bars))
    axis.set_ylim(len(bars) - 0.5, -0.5)
    axis.set_xlabel(label)
    axis.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def _create_square_axes() -> tuple[Figure, Any]:
    """Create a figure with one square axis of shares."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 5.6), layout="constrained")
    axis = figure.subplots()
    axis.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axis.set_aspect("equal")
    axis.grid(color="#e4e4e0", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    return figure, axis


def _plot_curves(axis: Any, curves: Sequence[ClassifierCurve]) -> None:  # noqa: ANN401
    """Draw curves, distinguished by color and line style."""
    for number, curve in enumerate(curves):
        color, style = COLORS[number % len(COLORS)], STYLES[number // len(COLORS) % len(STYLES)]
        axis.plot(curve.x, curve.y, style, color=color, linewidth=1.6, label=curve.name)
        if curve.operating_point is not None:
            axis.plot(*([value] for value in curve.operating_point), "o", color=color, markersize=6)
    axis.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0))


def _save(figure: Figure, path: Path) -> None:
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=130)
