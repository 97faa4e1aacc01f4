"""Figures of predicted depths: predicted over measured, Bland-Altman plot, and distribution of the errors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.files import atomic_file
from napari_melanoma.figures.classification import BLUE, GRAY, ORANGE
from napari_melanoma.metrics.agreement import bland_altman

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

DepthPairs = tuple["NDArray[np.float64]", "NDArray[np.float64]"]


def draw_depths(panels: Mapping[str, DepthPairs], path: Path) -> None:
    """Draw depths, a row of three panels for each set of images.

    Left: predicted over measured depth. Middle: their difference over their mean with its 95 % limits (Bland and
    Altman 1986, doi:10.1016/S0140-6736(86)90837-8). Right: distribution of the errors.

    ``panels``: name of a set to its predicted and measured depths in mm, float64 (image,) each, of three images or
    more.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.8 * len(panels)), layout="constrained")
    lines = figure.subplots(len(panels), 3, squeeze=False)
    for (left, middle, right), (name, (predicted, true)) in zip(lines, panels.items(), strict=True):
        _plot_scatter(left, predicted, true)
        _plot_bland_altman(middle, predicted, true)
        _plot_errors(right, predicted, true)
        left.set_title(name, fontsize=9, loc="left")
        for axes in (left, middle, right):
            axes.spines[["top", "right"]].set_visible(False)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _plot_scatter(axes: Axes, predicted: NDArray[np.float64], true: NDArray[np.float64]) -> None:
    most = float(max(predicted.max(), true.max())) * 1.04
    axes.plot([0, most], [0, most], color=GRAY, linewidth=0.8)
    axes.plot(true, predicted, "o", color=BLUE, markersize=3.5, alpha=0.6)
    axes.set(xlim=(0, most), ylim=(0, most), aspect="equal", xlabel="measured, mm", ylabel="predicted, mm")


def _plot_bland_altman(axes: Axes, predicted: NDArray[np.float64], true: NDArray[np.float64]) -> None:
    found = bland_altman(true, predicted)
    axes.plot(found.means, found.differences, "o", color=BLUE, markersize=3.5, alpha=0.6)
    axes.axhline(0, color=GRAY, linewidth=0.8)
    axes.axhline(found.bias.mean, color=ORANGE, linewidth=1.2, label=f"mean {found.bias.mean:+.2f} mm")
    for limit in (found.low, found.high):
        label = f"95 % limit {limit.mean:+.2f} mm"
        axes.axhline(limit.mean, color=ORANGE, linewidth=1, linestyle="--", label=label)
    axes.set(xlabel="mean of both, mm", ylabel="predicted minus measured, mm")
    axes.legend(fontsize=7, frameon=False)


def _plot_errors(axes: Axes, predicted: NDArray[np.float64], true: NDArray[np.float64]) -> None:
    error = np.abs(predicted - true)
    axes.hist(error, bins=20, color=BLUE, alpha=0.6)
    axes.axvline(error.mean(), color=ORANGE, linewidth=1.4, label=f"mean {error.mean():.2f} mm")
    axes.axvline(
        np.median(error), color=ORANGE, linewidth=1.2, linestyle="--", label=f"median {np.median(error):.2f} mm"
    )
    axes.set(xlabel="absolute error, mm", ylabel="images")
    axes.legend(fontsize=7, frameon=False)
