"""Measurements as shapes of a napari layer: draw, label and read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from napari_melanoma.ui.viewer import camera
from napari_melanoma.ui.viewer.shape_layers import HALF, offset_label

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Shapes
    from numpy.typing import NDArray

    from napari_melanoma.slides.notes import SlideMeasurement
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

COLOR, TEXT_SIZE = "#006b1b", 14  # dark green, which differs from glass and common stains
COLOR_ON_BLACK = "#ffe14d"  # for fluorescence, which is black where there is no signal
EMPTY_FEATURES = {"label": "", "shown": "", "kind": ""}  # of a shape; ``shown``: its label, moved off the line
ANGLE_POINTS = 3  # the ends of the legs, and the vertex between them
LINE_SHAPES = ("line", "path")
ELLIPSE_CORNERS = 72  # corners of the polygon for an ellipse, whose area is 0.1 % too small


def choose_color(slide: ViewerSlide) -> str:
    """Return a color that is visible on a slide."""
    return COLOR_ON_BLACK if slide.info.kind == "fluorescence" else COLOR


def create_measure_layer(width: float, color: str) -> Shapes:
    """Create an empty layer; ``width``: of lines, in pixels of the finest level."""
    import numpy as np
    from napari.layers import Shapes

    return Shapes(
        ndim=2,
        edge_color=color,
        edge_width=width,
        face_color="transparent",
        opacity=1,
        features={name: np.array([], object) for name in EMPTY_FEATURES},
        feature_defaults=EMPTY_FEATURES,
        text={"string": "{shown}", "color": color, "size": TEXT_SIZE, "anchor": "center"},
    )


def draw_measures(
    layer: Shapes,
    measures: Sequence[SlideMeasurement],
    labels: Sequence[str],
    width: float,
    color: str,
) -> None:
    """Replace the drawn measurements; ``labels``: one for each; ``width``: of lines, in pixels of the finest level."""
    import numpy as np

    layer.data = []
    if measures:
        shapes = {"area": "polygon", "line": "path", "angle": "path"}
        layer.add(
            [np.array(measure.points, np.float64) - HALF for measure in measures],
            shape_type=["line" if len(measure.points) == 2 else shapes[measure.kind] for measure in measures],
            edge_width=width,
            edge_color=color,
            face_color="transparent",
        )
        layer.features = {**layer.features, "kind": np.array([measure.kind for measure in measures], object)}
    layer.selected_data = set()
    label_measures(layer, labels)


def label_measures(layer: Shapes, labels: Sequence[str]) -> None:
    """Set the labels of the shapes, unless one of them is not measured yet."""
    import numpy as np

    if len(labels) == len(layer.data) and list(layer.features["label"]) != list(labels):
        shown = [
            offset_label(data, shape, label)
            for data, shape, label in zip(layer.data, layer.shape_type, labels, strict=True)
        ]
        layer.features = {
            "label": np.array(labels, object),
            "shown": np.array(shown, object),
            "kind": layer.features["kind"],
        }
        layer.refresh_text()
        set_next_kind(layer)


def set_next_kind(layer: Shapes, kind: str = "") -> None:
    """Set what the next shape measures, and clear its label, because napari would repeat the previous one."""
    layer.feature_defaults = {**EMPTY_FEATURES, "kind": kind}


def read_measures(layer: Shapes) -> tuple[SlideMeasurement, ...]:
    """Read the drawn shapes as measurements; shapes without length, area or angle are left out."""
    from napari_melanoma.slides.notes import SlideMeasurement, measure_shape

    measures = []
    for data, shape, kind in zip(layer.data, layer.shape_type, layer.features["kind"], strict=True):
        corners = _ellipse_to_polygon(data) if shape == "ellipse" else data
        points = tuple((float(row) + HALF, float(column) + HALF) for row, column in corners[:, -2:])
        is_angle = kind == "angle" and len(points) == ANGLE_POINTS
        measure = SlideMeasurement("angle" if is_angle else "line" if shape in LINE_SHAPES else "area", points)
        if measure_shape(measure, None) > 0:
            measures.append(measure)
    return tuple(measures)


def bounding_box(measure: SlideMeasurement) -> camera.ViewRectangle:
    """Return the bounding box of a measurement."""
    rows, columns = zip(*measure.points, strict=True)
    return camera.ViewRectangle(min(rows), min(columns), max(rows) - min(rows), max(columns) - min(columns))


def _ellipse_to_polygon(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a polygon for an ellipse, float64 (point, 2); ``corners``: those of its box, float64 (4, axes)."""
    import numpy as np

    box = corners[:, -2:]
    middle, across, down = box.mean(axis=0), (box[1] - box[0]) / 2, (box[3] - box[0]) / 2
    angles = np.linspace(0, 2 * np.pi, ELLIPSE_CORNERS, endpoint=False)[:, None]
    return middle + np.cos(angles) * across + np.sin(angles) * down
