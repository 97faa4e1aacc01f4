"""The layer of a line that measures a depth: made, written from two ends, read back as them; arithmetic around it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from napari_melanoma.ui.slide.camera import camera
from napari_melanoma.ui.slide.drawn_layers import HALF
from napari_melanoma.ui.slide.measure_layer import clear_of

if TYPE_CHECKING:
    from napari.layers import Shapes
    from napari.viewer import Viewer

    from napari_melanoma.io.slide_depth import Line
    from napari_melanoma.ui.slide.layers import OpenSlide

COLOUR, TEXT_COLOUR, TEXT_SIZE = "#0b3cff", "#00083d", 16
ROUNDED = 1e-2  # pixels: napari keeps less digits than a file
CLICK_PX = 8.0  # of the screen


def made(width: float) -> Shapes:
    """Make an empty layer.

    ``width``: of its line in pixels of the finest level. In pixels of the finest level.
    """
    import numpy as np
    from napari.layers import Shapes

    return Shapes(
        ndim=2,
        edge_color=COLOUR,
        edge_width=width,
        face_color="transparent",
        opacity=1,
        features={"shown": np.array([], object)},
        feature_defaults={"shown": ""},
        text={"string": "{shown}", "color": TEXT_COLOUR, "size": TEXT_SIZE, "anchor": "center"},
    )


def add_line(layer: Shapes, line: Line, width: float) -> None:
    """Draw a line.

    ``line``: both ends in pixels of the finest level. ``width``: in these pixels.
    """
    import numpy as np

    layer.add_lines([np.array(line, np.float64) - HALF], edge_width=width, edge_color=COLOUR)


def ends_of(layer: Shapes, known: Line | None) -> Line | None:
    """Read both ends of the line that was drawn last.

    In pixels of the finest level; None where there is no line.
    """
    if not len(layer.data):
        return None
    data = layer.data[-1]
    (top, left), (bottom, right) = data[0][-2:] + HALF, data[-1][-2:] + HALF
    ends = (float(top), float(left)), (float(bottom), float(right))
    return known if known is not None and _same(ends, known) else ends


def write_beside(layer: Shapes, said: str) -> None:
    """Write beside the line what it measures."""
    import numpy as np

    shown = [clear_of(data, "line", said) for data in layer.data]
    if list(layer.features["shown"]) != shown:
        layer.features = {"shown": np.array(shown, object)}
        layer.refresh_text()
    layer.feature_defaults = {"shown": ""}


def is_click(viewer: Viewer, slide: OpenSlide, line: Line) -> bool:
    """Say whether the mouse was let go where it was pressed: napari makes a short line of that.

    ``line``: both ends in pixels of the finest level.
    """
    (top, left), (bottom, right) = line
    y, x = (bottom - top) * slide.um[0], (right - left) * slide.um[1]
    return float(camera(viewer).zoom) * math.hypot(y, x) < CLICK_PX


def _same(one: Line, other: Line) -> bool:
    """Whether the ends of two lines are the same, but for rounding."""
    return all(abs(a - b) < ROUNDED for p, q in zip(one, other, strict=True) for a, b in zip(p, q, strict=True))
