"""The figures of a reproduced paper: the measure against size, curves of learning, sample outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from numpy.typing import NDArray

# Of Okabe and Ito (jfly.uni-koeln.de/color), without the yellow, which is faint on white.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
MARKERS = "osD^vPX"
LINES = ("-", "--", ":", "-.")
MARKS = 8  # on a curve, so that it stays a line
APART = 0.03  # of the axis, at least, from a point to the next one
OURS, PAPERS = "ours, with the 95 % interval", "the paper's"


@dataclass(frozen=True)
class SizePoint:
    """A row in the figure of a measure against size."""

    title: str
    parameters: float
    mean: float
    low: float
    high: float
    paper_parameters: float | None = None
    paper: float | None = None


def draw_size(points: Sequence[SizePoint], metric: str, path: Path) -> None:
    """Draw a measure against the number of parameters; the paper's in a panel of its own, on axes of its own."""
    from matplotlib.figure import Figure

    papers = [
        (number, point.paper_parameters, point.paper)
        for number, point in enumerate(points)
        if point.paper_parameters is not None and point.paper is not None
    ]
    count = 2 if papers else 1
    figure = Figure(figsize=(4.1 * count + 3, 4.2), layout="constrained")
    panels = figure.subplots(1, count, squeeze=False)[0]
    ours = apart([point.parameters for point in points])
    for number, (point, place) in enumerate(zip(points, ours, strict=True)):
        spread = [[point.mean - point.low], [point.high - point.mean]]
        panels[0].errorbar([place], [point.mean], spread, label=point.title, capsize=3, **_style(number, ""))
    _size_axes(panels[0], OURS, metric)
    if papers:
        places = apart([parameters for _, parameters, _ in papers])
        for place, (number, _, value) in zip(places, papers, strict=True):
            panels[1].plot([place], [value], **_style(number, ""), markerfacecolor="none")
        _size_axes(panels[1], PAPERS, metric)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=130)


def apart(sizes: Sequence[float]) -> list[float]:
    """Move numbers on a logarithmic axis so far to the right that no point lies on its neighbour.

    In the order of the numbers; those that have room are as they were.
    """
    places = [math.log10(size) for size in sizes]
    order = sorted(range(len(places)), key=places.__getitem__)
    least = APART * max(places[order[-1]] - places[order[0]], APART) if order else 0.0
    moved, before = list(sizes), -math.inf
    for index in order:
        if places[index] - before < least:
            places[index] = before + least
            moved[index] = 10 ** places[index]
        before = places[index]
    return moved


def draw_curves(curves: Mapping[str, Sequence[Mapping[str, float]]], watched: tuple[str, str], path: Path) -> None:
    """Draw how each row learnt: its loss and what is watched on the images that pick the epoch."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, (key, label) in zip(panels, (("loss", "loss"), watched), strict=True):
        for number, (title, rows) in enumerate(curves.items()):
            epochs, each = [row["epoch"] + 1 for row in rows], max(1, len(rows) // MARKS)
            marks = (number % each, each)  # not all of them at the same epochs
            style = _style(number, LINES[number // len(COLORS) % len(LINES)])
            axes.plot(epochs, [row[key] for row in rows], **style, markevery=marks, linewidth=1.4, label=title)
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
    if all(row["loss"] > 0 for rows in curves.values() for row in rows):  # each row has a loss of its own kind
        panels[0].set_yscale("log")
        _few_ticks(panels[0].yaxis, "{:g}".format, (1, 1.5, 2, 3, 5, 7))
    figure.legend(*panels[1].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=130)


def draw_samples(rows: Mapping[str, Mapping[str, NDArray[np.uint8]]], names: str, path: Path) -> None:
    """Draw the answers of every row on the same few images, in P4's colours.

    ``rows``: title of a row to name of an image to uint8 (row, column, channel); the photographs come first.
    """
    from matplotlib.figure import Figure

    images = list(dict.fromkeys(name for pictures in rows.values() for name in pictures))
    figure = Figure(figsize=(1.4 * len(images) + 2.2, 1.35 * len(rows) + 0.5), layout="constrained")
    figure.suptitle(f"{names}: yellow found, red too much, green missed", fontsize=9)
    grid = figure.subplots(len(rows), len(images), squeeze=False)
    for line, (title, pictures) in zip(grid, rows.items(), strict=True):
        for axes, name in zip(line, images, strict=True):
            axes.set_axis_off()
            if name in pictures:
                axes.imshow(pictures[name])
        line[0].text(-0.05, 0.5, title, transform=line[0].transAxes, ha="right", va="center", fontsize=7)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _style(number: int, line: str) -> dict[str, Any]:
    """Give a row its colour and its marker: no two of the first 49 have both in common."""
    count = len(COLORS)
    marker = MARKERS[(number + number // count) % count]
    return {"color": COLORS[number % count], "marker": marker, "linestyle": line, "markersize": 5.5}


def _size_axes(axes: Axes, title: str, metric: str) -> None:
    """Write what stands on the axes of a panel."""
    axes.set_xscale("log")
    _few_ticks(axes.xaxis, lambda value: f"{value / 1e6:g}M")
    axes.margins(x=0.1, y=0.12)
    axes.set_title(title, fontsize=10)
    axes.set(xlabel="parameters", ylabel=f"{metric}, per cent")
    axes.spines[["top", "right"]].set_visible(False)


def _few_ticks(axis: Axis, written: Callable[[float], str], of_decade: Sequence[float] = (1, 2, 5)) -> None:
    """Mark these parts of each decade of a logarithmic axis, and no others."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=of_decade))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: written(value)))
