"""The layer of lines and areas that measure a slide: written from values, read back as values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from napari_melanoma.ui.slide.drawn_layers import HALF

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Shapes
    from numpy.typing import NDArray

    from napari_melanoma.io.slide_notes import Measure

COLOUR, TEXT_SIZE = "#006b1b", 14  # dark green: neither glass nor a usual stain has that colour
FLAT = 0.15  # a line that rises less has its words above it, a steeper one beside it
BESIDE = " " * 24  # moves words that stand in the middle of a line to its right
WIDTHS = 600  # of the line; this many of its widths are as long as the slide
NOTHING = {"said": "", "shown": ""}
LINES = ("line", "path")
ROUND = 72  # corners of an ellipse, whose area is off by 0.1 % then


def made(size: tuple[int, int]) -> Shapes:
    """Make an empty layer.

    ``size``: height and width of the slide in pixels. In pixels of the finest level.
    """
    import numpy as np
    from napari.layers import Shapes

    return Shapes(
        ndim=2,
        edge_color=COLOUR,
        edge_width=max(size) / WIDTHS,
        face_color="transparent",
        opacity=1,
        features={"said": np.array([], object), "shown": np.array([], object)},
        feature_defaults=NOTHING,
        text={"string": "{shown}", "color": COLOUR, "size": TEXT_SIZE, "anchor": "center"},
    )


def write(layer: Shapes, measures: Sequence[Measure], said: Sequence[str], size: tuple[int, int]) -> None:
    """Draw measures in place of what is there.

    ``size``: height and width of the slide in pixels.
    """
    import numpy as np

    layer.data = []
    if measures:
        kinds = {"area": "polygon", "line": "path"}
        layer.add(
            [np.array(one.points, np.float64) - HALF for one in measures],
            shape_type=["line" if len(one.points) == 2 else kinds[one.kind] for one in measures],
            edge_width=max(size) / WIDTHS,
            edge_color=COLOUR,
            face_color="transparent",
        )
    layer.selected_data = set()
    say(layer, said)


def say(layer: Shapes, said: Sequence[str]) -> None:
    """Write what was measured beside it."""
    import numpy as np

    if len(said) == len(layer.data) and list(layer.features["said"]) != list(said):
        shown = [clear_of(*one) for one in zip(layer.data, layer.shape_type, said, strict=True)]
        layer.features = {"said": np.array(said, object), "shown": np.array(shown, object)}
        layer.refresh_text()
        say_nothing_yet(layer)


def say_nothing_yet(layer: Shapes) -> None:
    """Write nothing at what is drawn next: napari would repeat the words of what was drawn before."""
    layer.feature_defaults = NOTHING


def clear_of(data: NDArray[np.float64], kind: str, said: str) -> str:
    """Give words that a line does not run through, for they stand in its middle: blanks put them above or beside it.

    With blanks or a line break.
    """
    if kind != "line":
        return said
    height, width = abs(data[-1] - data[0])[-2:]
    return f"{said}\n " if height < FLAT * width else BESIDE + said


def read(layer: Shapes) -> tuple[Measure, ...]:
    """Read what is drawn.

    In their order; what has no length or no area is left out.
    """
    from napari_melanoma.analysis.slide_measures import measured
    from napari_melanoma.io.slide_notes import Measure

    found = []
    for data, kind in zip(layer.data, layer.shape_type, strict=True):
        corners = _round(data) if kind == "ellipse" else data
        points = tuple((float(row) + HALF, float(column) + HALF) for row, column in corners[:, -2:])
        one = Measure("line" if kind in LINES else "area", points)
        if measured(one, None) > 0:
            found.append(one)
    return tuple(found)


def box_of(measure: Measure) -> tuple[float, float, float, float]:
    """Box around a measure.

    Top, left, height and width in pixels of the finest level.
    """
    rows, columns = zip(*measure.points, strict=True)
    return min(rows), min(columns), max(rows) - min(rows), max(columns) - min(columns)


def _round(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corners on an ellipse that is given by those of its box."""
    import numpy as np

    box = corners[:, -2:]
    middle, across, down = box.mean(axis=0), (box[1] - box[0]) / 2, (box[3] - box[0]) / 2
    angles = np.linspace(0, 2 * np.pi, ROUND, endpoint=False)[:, None]
    return middle + np.cos(angles) * across + np.sin(angles) * down
