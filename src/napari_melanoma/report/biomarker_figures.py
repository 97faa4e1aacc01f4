"""The gallery of biomarkers: for each number the pictures that have most of it, and where in them it lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

OPACITY = 0.65  # of the strongest place


@dataclass(frozen=True, eq=False)
class Shown:
    """A picture with the map of a number.

    ``rgb`` is uint8 (row, column, channel=3), ``heat`` float32 (row, column) in [0, 1] of the same size, ``title`` what
    stands above it.
    """

    rgb: NDArray[np.uint8]
    heat: NDArray[np.float32]
    title: str


@dataclass(frozen=True, eq=False)
class GalleryRow:
    """A number by its name and what is known of it, with the pictures that have most of it, the most first."""

    title: str
    shown: Sequence[Shown]


def draw_gallery(rows: Sequence[GalleryRow], path: Path) -> None:
    """Draw a line of pictures for each number, each picture twice: as it is, and with the map over it."""
    from matplotlib.figure import Figure

    columns = 2 * max(len(row.shown) for row in rows)
    figure = Figure(figsize=(1.5 * columns, 1.85 * len(rows)), layout="constrained")
    lines = figure.subplots(len(rows), columns, squeeze=False)
    for line, row in zip(lines, rows, strict=True):
        for axes in line:
            axes.set_axis_off()
        line[0].set_title(row.title, fontsize=8, loc="left")
        for place, shown in enumerate(row.shown):
            _draw(line[2 * place], line[2 * place + 1], shown)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=110)


def overlaid(shown: Shown) -> NDArray[np.uint8]:
    """Lay a map over its picture.

    Returns uint8 (row, column, channel=3): dark where there is nothing of the number, warm where there is most.
    """
    from matplotlib import colormaps

    colour = 255 * colormaps["inferno"](np.clip(shown.heat, 0, 1))[..., :3]
    share = (0.25 + (OPACITY - 0.25) * shown.heat)[..., None]
    return np.asarray((1 - share) * shown.rgb + share * colour).round().astype(np.uint8)


def _draw(left: Axes, right: Axes, shown: Shown) -> None:
    """A picture, and the map over it."""
    left.imshow(shown.rgb)
    right.imshow(overlaid(shown))
    left.text(
        0, 1.0, shown.title, fontsize=5.5, va="top", transform=left.transAxes, color="white", backgroundcolor="#0008"
    )
