"""The figures of a reproduced classifier: ROC curves, confusion matrices, and how far probabilities can be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.calibration import reliability
from napari_melanoma.analysis.ranking import confusion, roc_curve
from napari_melanoma.core.files import atomic_file
from napari_melanoma.report.class_figures import draw_bins
from napari_melanoma.report.reproduction import COLORS, LINES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

WIDE = 4  # panels side by side


@dataclass(frozen=True, eq=False)
class Answers:
    """Out-of-fold answers of a row to the images of one test set.

    ``truth``: bool (image,): whether it is the positive class. ``probability``: float64 (image,), calibrated.
    """

    title: str
    truth: NDArray[np.bool_]
    probability: NDArray[np.float64]
    auc: str = ""


def draw_roc(panels: Mapping[str, Sequence[Answers]], path: Path) -> None:
    """Draw the ROC curves of rows, a panel for each test set."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6 * len(panels), 5.8), layout="constrained")
    for axes, (name, rows) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
        for number, row in enumerate(rows):
            curve = roc_curve(row.probability, row.truth)
            color, line = COLORS[number % len(COLORS)], LINES[number // len(COLORS) % len(LINES)]
            label = f"{row.title}: {row.auc}" if row.auc else row.title
            axes.plot(
                curve.false_positive_rate,
                curve.true_positive_rate,
                color=color,
                linestyle=line,
                linewidth=1.3,
                label=label,
            )
        axes.set(title=name, xlabel="1 - specificity", ylabel="sensitivity", aspect="equal")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False, fontsize=7, title="AUC")
    _save(figure, path)


def draw_confusion(rows: Sequence[Answers], path: Path, cut: float = 0.5, name: str = "melanoma") -> None:
    """Draw the confusion matrix of each row."""
    figure, panels = _grid(len(rows))
    for axes, row in zip(panels, rows, strict=True):
        counts = confusion(row.truth.astype(np.int64), (row.probability >= cut).astype(np.int64), 2)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (truth, said), count in np.ndenumerate(counts):
            color = "white" if shares[truth, said] > 0.5 else "black"
            text = f"{count}\n{100 * shares[truth, said]:.0f} %"
            axes.text(said, truth, text, ha="center", va="center", fontsize=8, color=color)
        axes.set_title(row.title, fontsize=7)
        axes.set_xticks([0, 1], ["other", name], fontsize=7)
        axes.set_yticks([0, 1], ["other", name], fontsize=7, rotation=90, va="center")
        axes.set_xlabel("said", fontsize=7)
        axes.set_ylabel("is", fontsize=7)
    _save(figure, path)


def draw_reliability(rows: Sequence[Answers], path: Path, name: str = "melanoma") -> None:
    """Draw how often it is the positive class where a probability is said, with 95 % intervals."""
    figure, panels = _grid(len(rows))
    for axes, row in zip(panels, rows, strict=True):
        found = reliability(row.probability, row.truth)
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
        draw_bins(axes, found, COLORS[0])
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.set_title(row.title, fontsize=7)
        axes.set_xlabel("probability said", fontsize=7)
        axes.set_ylabel(f"share of {name}", fontsize=7)
        axes.tick_params(labelsize=6)
        axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def _grid(count: int) -> tuple[Figure, list[Axes]]:
    """Lay out so many small panels."""
    from matplotlib.figure import Figure

    lines, wide = -(-count // WIDE), min(WIDE, count)
    figure = Figure(figsize=(2.9 * wide, 2.9 * lines), layout="constrained")
    panels = [*figure.subplots(lines, wide, squeeze=False).ravel()]
    for axes in panels[count:]:
        axes.set_axis_off()
    return figure, panels[:count]


def _save(figure: Figure, path: Path) -> None:
    """Write a figure."""
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=120)
