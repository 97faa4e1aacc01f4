"""Figures of an evaluation: how Dice is distributed, how the subgroups do, and the best, median and worst images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.files import atomic_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.report.comparison import Interval

TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE = (255, 255, 0), (255, 0, 0), (0, 160, 0)
LEGEND = (("found", TRUE_POSITIVE), ("too much", FALSE_POSITIVE), ("missed", FALSE_NEGATIVE))
STRENGTH = 0.5  # of the colours over the photograph
CASES = ("best", "median", "worst")
SHOWN_PX = 260  # of the longer side of a picture in a figure
MOST_BARS = 60
BLUE, ORANGE = "#3b6fa0", "#d08000"


@dataclass(frozen=True)
class Compared:
    """One image of an evaluation beside its masks: uint8 (row, column, channel) and two bool (row, column)."""

    name: str
    dice: float
    rgb: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    reference: NDArray[np.bool_]


def comparison_image(mask: NDArray[np.bool_], reference: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Colour a mask against its reference as P4 does.

    ``mask``, ``reference``: bool (row, column). Returns uint8 (row, column, channel): found rightly yellow, found
    wrongly red, missed green, the rest black.
    """
    picture = np.zeros((*mask.shape, 3), np.uint8)
    picture[mask & reference] = TRUE_POSITIVE
    picture[mask & ~reference] = FALSE_POSITIVE
    picture[~mask & reference] = FALSE_NEGATIVE
    return picture


def draw_distribution(dice: Mapping[str, Sequence[float]], path: Path) -> None:
    """Draw how the Dice index is distributed in each part of the data."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1.2 + 1.1 * len(dice)), layout="constrained")
    axes = figure.subplots(len(dice), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (name, values) in zip(axes, dice.items(), strict=True):
        axis.hist(values, bins=np.linspace(0, 1, 41), color=BLUE)
        axis.axvline(float(np.mean(values)), color=ORANGE, label=f"mean {np.mean(values):.3f}")
        axis.set_title(f"{name} (n = {len(values)})", loc="left", fontsize=10)
        axis.legend(loc="upper left", fontsize=8, frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("Dice index of an image")
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=150)


def overlay_image(rgb: NDArray[np.uint8], mask: NDArray[np.bool_], reference: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Lay the colours of ``comparison_image`` over the photograph, which stays visible, in grey where there is none.

    ``rgb``: uint8 (row, column, channel=3). ``mask``, ``reference``: bool (row, column). Returns uint8 (row, column,
    channel=3).
    """
    colours = comparison_image(mask, reference)
    grey = np.repeat(rgb.mean(axis=2, keepdims=True), 3, axis=2)
    inside = (mask | reference)[..., None]
    return np.where(inside, (1 - STRENGTH) * grey + STRENGTH * colours, grey).astype(np.uint8)


def draw_cases(cases: Mapping[str, Sequence[Compared]], path: Path) -> None:
    """Draw chosen images, each beside its comparison with the reference, with a legend of the colours."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    rows = max(1, *(len(items) for items in cases.values()))
    figure = Figure(figsize=(4.2 * len(cases), 0.9 + 1.75 * rows), layout="constrained")
    axes = figure.subplots(rows, 2 * len(cases), squeeze=False)
    for axis in axes.ravel():
        axis.set_axis_off()
    for column, (heading, items) in enumerate(cases.items()):
        for row, item in enumerate(items):
            title = f"{heading}: " if row == 0 else ""
            _draw_case((axes[row, 2 * column], axes[row, 2 * column + 1]), item, title)
    patches = [
        Patch(facecolor=f"#{red:02x}{green:02x}{blue:02x}", edgecolor="#666666", label=word)
        for word, (red, green, blue) in LEGEND
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=100)


def draw_subgroups(groups: Sequence[tuple[str, str, str, Interval]], path: Path) -> None:
    """Draw a metric of each subgroup with its interval, those of one kind together."""
    from matplotlib.figure import Figure

    shown = groups[:MOST_BARS]
    figure = Figure(figsize=(7.5, 1.0 + 0.22 * len(shown)), layout="constrained")
    axis = figure.subplots()
    kinds = list(dict.fromkeys((data, by) for data, by, *_ in shown))
    for row, (data, by, _, found) in enumerate(shown):
        colour = (BLUE, ORANGE)[kinds.index((data, by)) % 2]
        axis.plot([found.low, found.high], [row, row], color=colour, linewidth=1.5)
        axis.plot([found.mean], [row], "o", color=colour, markersize=4)
    axis.set_yticks(range(len(shown)), [f"{data}, {by}: {value}" for data, by, value, _ in shown], fontsize=7)
    axis.set_ylim(len(shown) - 0.5, -0.5)
    axis.set_xlabel("Jaccard index, 95 % interval")
    axis.grid(axis="x", color="#dddddd", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _draw_case(axes: Sequence[Any], item: Compared, title: str) -> None:
    """Draw a photograph and, beside it, its overlay."""
    from PIL import Image

    overlay = overlay_image(item.rgb, item.mask, item.reference)
    for axis, picture in zip(axes, (item.rgb, overlay), strict=True):
        small = Image.fromarray(np.ascontiguousarray(picture))
        small.thumbnail((SHOWN_PX, SHOWN_PX))
        axis.imshow(np.asarray(small))
    axes[0].set_title(f"{title}{item.name[:24]}", fontsize=7, loc="left")
    axes[1].set_title(f"Dice {item.dice:.3f}", fontsize=7, loc="left")
