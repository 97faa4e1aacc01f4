"""Pictures of a comparison: both contours on a photograph, and how the images and data sets changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from napari_melanoma.analysis.contours import contours
from napari_melanoma.core.files import atomic_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE_PX = 320
# Told apart by colour-blind eyes too, by their brightness; the new one is the yellow of every contour of ours.
OLD, NEW, REFERENCE = (214, 72, 160), (255, 221, 0), (92, 219, 240)
DARK = (25, 25, 25)
BLUE, ORANGE = "#3b6fa0", "#d08000"


class Interval(Protocol):
    """A mean with its interval; ``analysis.statistics.Estimate`` is one."""

    @property
    def mean(self) -> float:
        """The mean."""

    @property
    def low(self) -> float:
        """Lower end of the interval."""

    @property
    def high(self) -> float:
        """Upper end of the interval."""

    @property
    def count(self) -> int:
        """How many images are behind it."""


def draw_contours(
    rgb: NDArray[np.uint8],
    old: NDArray[np.bool_],
    new: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    side_px: int = SIDE_PX,
) -> NDArray[np.uint8]:
    """Draw the contours of both models and of the reference on a small photograph.

    ``rgb``: uint8 (row, column, channel=3). ``old``, ``new``, ``reference``: bool (row, column): purple, yellow and
    blue. Returns uint8 (row, column, channel=3).
    """
    from PIL import Image, ImageDraw

    scale = side_px / max(rgb.shape[:2])
    size = tuple(max(1, round(length * scale)) for length in rgb.shape[1::-1])
    image = Image.fromarray(np.ascontiguousarray(rgb)).resize((size[0], size[1]), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(image)
    for mask, colour, width in ((reference, REFERENCE, 1), (old, OLD, 2), (new, NEW, 2)):
        lines = [[((c + 0.5) * scale - 0.5, (r + 0.5) * scale - 0.5) for r, c in line] for line in contours(mask)]
        for line in lines:
            draw.line(line, fill=DARK, width=width + 2, joint="curve")
        for line in lines:
            draw.line(line, fill=colour, width=width, joint="curve")
    return np.array(image)


def draw_changes(images: Sequence[tuple[str, float, float]], intervals: Mapping[str, Interval], path: Path) -> None:
    """Draw each image's Jaccard index before and after, and the mean difference of each data set."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    scatter, forest = figure.subplots(1, 2)
    scatter.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
    markers = "os^Dv*"
    for number, name in enumerate(intervals):
        pairs = np.array([(old, new) for domain, old, new in images if domain == name])
        scatter.plot(
            *pairs.T, markers[number % len(markers)], color=(BLUE, ORANGE)[number % 2], alpha=0.6, ms=4, label=name
        )
    scatter.set(xlabel="Jaccard index, old model", ylabel="new model", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    scatter.set_aspect("equal")
    above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 3}  # within, it hides images
    scatter.legend(fontsize=8, frameon=False, **above)
    for row, found in enumerate(intervals.values()):
        forest.plot([found.low, found.high], [row, row], color=BLUE, linewidth=2)
        forest.plot([found.mean], [row], "o", color=BLUE)
    forest.axvline(0, color="#999999", linewidth=0.8)
    forest.set_yticks(range(len(intervals)), [f"{name}\n(n = {found.count})" for name, found in intervals.items()])
    forest.set_ylim(len(intervals) - 0.5, -0.5)
    forest.set_xlabel("new less old, Jaccard index, 95 % interval")
    forest.spines[["top", "right"]].set_visible(False)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=130)
