"""Lines to compare with: those that the analysis found, and other readers' own; a layer that nobody can move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_melanoma.ui.slide import layers as slide_layers
from napari_melanoma.ui.slide.drawn_layers import HALF
from napari_melanoma.ui.slide.line_width import line_width
from napari_melanoma.ui.slide.measure_layer import clear_of

if TYPE_CHECKING:
    from napari.layers import Shapes
    from napari.viewer import Viewer

    from napari_melanoma.io.slide_depth import Line, Proposed, SlideDepth
    from napari_melanoma.ui.slide.layers import OpenSlide

MODEL, READER, TEXT_SIZE = "#5a5a5a", "#006b1b", 11
BELOW = "\n\n\n"  # clear of what stands beside the line that counts, which lies close by


@dataclass(frozen=True)
class Compared:
    """A line with the words beside it, and its colour."""

    line: Line
    said: str
    colour: str


def compared_lines(depth: SlideDepth, reader: str, found: Proposed, hidden: Line | None) -> tuple[Compared, ...]:
    """Choose the lines to compare with: other readers' own only once the reader has measured.

    Returns the analysis's, numbered, then the readers'.
    """
    own = depth.of(reader)
    model = [(one.line, str(number), MODEL) for number, one in enumerate(found.proposals, start=1)]
    others = []
    if own is not None and own.when and own.line is not None:
        others = [
            (one.line, one.reader or "(no name)", READER) for one in depth.readings if one is not own and one.when
        ]
    return tuple(Compared(line, *how) for line, *how in (*model, *others) if line is not None and line != hidden)


def show_compared(viewer: Viewer, slide: OpenSlide, lines: Sequence[Compared]) -> None:
    """Show lines in place of those that are shown."""
    import numpy as np

    layer = slide_layers.part(viewer, slide, "readings")
    if layer is None and not lines:
        return
    layer = slide_layers.put(viewer, slide, "readings", _shapes)
    layer.editable = True
    layer.data = []
    if lines:
        width = line_width(viewer, slide, "readings")
        ends = [np.array(one.line, np.float64) - HALF for one in lines]
        layer.add_lines(ends, edge_width=width, edge_color=[one.colour for one in lines])
        shown = [f"{BELOW}{clear_of(data, 'line', one.said)}" for data, one in zip(layer.data, lines, strict=True)]
        layer.features = {"shown": np.array(shown, object)}
        layer.refresh_text()
    layer.editable = False


def _shapes() -> Shapes:
    import numpy as np
    from napari.layers import Shapes

    return Shapes(
        ndim=2,
        face_color="transparent",
        opacity=0.9,
        features={"shown": np.array([], object)},
        feature_defaults={"shown": ""},
        text={"string": "{shown}", "color": MODEL, "size": TEXT_SIZE, "anchor": "center"},
    )
