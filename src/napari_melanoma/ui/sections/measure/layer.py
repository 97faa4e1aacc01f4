"""The measurements and the counted points of a slide on the canvas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QTimer

from napari_melanoma.slides.counts import CountedPoint, CountedPoints
from napari_melanoma.slides.notes import SlideMeasurement, format_measurement, measure_shape
from napari_melanoma.slides.regions import RegionClass, shape_outline
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.annotation_layer import AnnotationLayer
from napari_melanoma.ui.viewer.camera import get_camera, get_zoom
from napari_melanoma.ui.viewer.shape_layers import HALF, end_lines_at_pointer, offset_label, to_rgba
from napari_melanoma.ui.widgets.class_list import DEFAULT_COLOR, ClassKind, load_classes
from napari_melanoma.ui.widgets.settings import DebounceTimer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Points, Shapes

    from napari_melanoma.ui.session.slide import SlideSession

TEXT_SIZE = 14
TEXT_PX, LETTER_PX = 22, 16  # height and width of a letter of this size on the screen
COLOR, COLOR_ON_BLACK = "#006b1b", "#ffe14d"  # dark green differs from glass and stains; yellow is for fluorescence
FEATURES = ("label", "kind")  # of a shape; ``kind``: "angle" for an angle
ANGLE_POINTS = 3  # the ends of the legs, and the vertex between them
LINE_SHAPES = ("line", "path")
COUNT_CLASSES = ClassKind(
    "slide/count_classes",
    (RegionClass("Mitosis", (255, 149, 0)), RegionClass("TIL", (0, 114, 178)), RegionClass("Other", (0, 158, 115))),
    "count",
    "Classes of counted points",
    "Class of the points that you count",
    "points",
)
MARK_UM, MARK_PX = 12.0, (9, 60)  # size of a point on the slide, and its limits in pixels of the screen


class MeasureLayer(AnnotationLayer):
    """The layer of lengths, areas and angles, which are labeled with their values."""

    role, modes = "measures", {"line": "add_line", "area": "add_polygon", "angle": "add_polyline"}

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session, session.measures)
        session.follow(session.rotated, self._update_labels)  # they are beside the lines
        self._zoom_timer = DebounceTimer(self)
        self._zoom_timer.timeout.connect(self._update_labels)
        session.follow(get_camera(self.viewer).events.zoom, self._on_zoom)
        session.follow(session.findings.changed, self._on_zoom)  # whose line has a label, too
        self.show()

    def describe_measures(self) -> list[str]:
        """Return the measurements with their units."""
        return [format_measurement(measure, self.slide.info.pixel_size) for measure in self.document.value]

    @property
    def _color(self) -> str:
        return COLOR_ON_BLACK if self.slide.info.kind == "fluorescence" else COLOR

    def create(self) -> Shapes:
        """Return an empty layer."""
        from napari.layers import Shapes

        return Shapes(
            ndim=2,
            edge_color=self._color,
            edge_width=self.line_width,
            face_color="transparent",
            opacity=1,
            features={name: np.array([], object) for name in FEATURES},
            feature_defaults=dict.fromkeys(FEATURES, ""),
            text={"string": "{label}", "color": self._color, "size": TEXT_SIZE, "anchor": "center"},
        )

    def connect_layer(self, layer: Shapes) -> None:
        """Follow the user's changes, and the clicks that draw an angle."""
        super().connect_layer(layer)
        end_lines_at_pointer(layer)
        self.add_mouse_callback(layer, self._on_press)

    def prepare(self, layer: Shapes) -> None:
        """Set what the next shape measures, and clear its label, because napari would repeat the previous one."""
        layer.feature_defaults = {"label": "", "kind": "angle" if self.tool == "angle" else ""}

    def draw(self, layer: Shapes) -> None:
        """Draw the measurements, unless the layer has them, and label them."""
        measures = self.document.value
        if len(layer.data) != len(measures) or read_measures(layer) != measures:
            layer.data = []
            if measures:
                shapes = {"area": "polygon", "line": "path", "angle": "path"}
                layer.add(
                    [np.array(measure.points, np.float64) - HALF for measure in measures],
                    shape_type=["line" if len(measure.points) == 2 else shapes[measure.kind] for measure in measures],
                    edge_width=self.line_width,
                    edge_color=self._color,
                    face_color="transparent",
                )
                layer.features = {**layer.features, "kind": np.array([measure.kind for measure in measures], object)}
            layer.selected_data = set()
        self._update_labels()

    def read(self, layer: Shapes) -> None:
        """Apply the drawn measurements; shapes without length, area or angle are removed."""
        measures = read_measures(layer)
        if measures == self.document.value:
            self.show()
        self.document.apply(lambda _: measures)

    def _update_labels(self) -> None:
        """Label the shapes, unless one of them is not measured yet."""
        layer, labels = self.layer, self.describe_measures()
        if layer is None or len(labels) != len(layer.data):
            return
        shapes = zip(layer.data, layer.shape_type, labels, strict=True)
        shown = [offset_label(layer, data, shape, label) for data, shape, label in shapes]
        for index in self._find_covered(layer, labels):
            shown[index] = ""
        if list(layer.features["label"]) != shown:
            layer.features = {"label": np.array(shown, object), "kind": layer.features["kind"]}
            layer.refresh_text()
            self.prepare(layer)

    def _on_zoom(self, _: object) -> None:
        if self.session.displayed.value and self.document.value:
            self._zoom_timer.start()

    def _find_covered(self, layer: Shapes, labels: Sequence[str]) -> set[int]:
        """Return the indices of labels that would lie over the label of a depth, or of a later measurement."""
        covered: set[int] = set()
        depth: Shapes | None = slide_layers.find_layer(self.viewer, self.slide, "depth")
        free: list[tuple[float, float, float]] = []  # the labels that are shown
        if depth is not None and depth.visible:
            texts = zip(range(len(depth.data)), depth.features["shown"], strict=False)
            free = [self._place_label(depth, index, str(text).strip()) for index, text in texts if str(text).strip()]
        for index in reversed(range(len(labels))):
            y, x, width = self._place_label(layer, index, labels[index])
            if any(abs(y - row) < TEXT_PX and abs(x - column) < (width + other) / 2 for row, column, other in free):
                covered.add(index)
            else:
                free.append((y, x, width))
        return covered

    def _place_label(self, layer: Shapes, index: int, label: str) -> tuple[float, float, float]:
        """Return row, column and width of a label at the current zoom, in pixels."""
        zoom = get_zoom(self.viewer)
        corners = [layer.data_to_world(corner)[-2:] for corner in layer.data[index]]
        y, x = (zoom * (min(values) + max(values)) / 2 for values in zip(*corners, strict=True))
        return y, x, LETTER_PX * max(map(len, label.splitlines()))

    def _on_press(self, layer: Shapes, event: object) -> None:
        if self.tool == "angle":
            QTimer.singleShot(0, self._finish_angle)  # after napari has added the point

    def _finish_angle(self) -> None:
        """End the angle at the third click; napari would wait for a double click."""
        layer = self.layer
        # While a path is drawn, its last vertex follows the mouse.
        if layer is not None and self._unfinished and len(layer.data) and len(layer.data[-1]) > ANGLE_POINTS:
            self._end_shape()


def read_measures(layer: Shapes) -> tuple[SlideMeasurement, ...]:
    """Read the drawn shapes as measurements; shapes without length, area or angle are left out."""
    measures = []
    for data, shape, kind in zip(layer.data, layer.shape_type, layer.features["kind"], strict=True):
        outline = shape_outline(data[:, -2:], shape)
        points = tuple((float(row) + HALF, float(column) + HALF) for row, column in outline)
        is_angle = kind == "angle" and len(points) == ANGLE_POINTS
        measure = SlideMeasurement("angle" if is_angle else "line" if shape in LINE_SHAPES else "area", points)
        if measure_shape(measure, None) > 0:
            measures.append(measure)
    return tuple(measures)


class CountLayer(AnnotationLayer):
    """The layer of the counted points, with the tool that adds points of a class."""

    role, modes = "counts", {"count": "add"}

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session, session.points)
        self.show()

    def create(self) -> Points:
        """Return an empty layer."""
        from napari.layers import Points

        return Points(
            ndim=2,
            size=MARK_UM / self.slide.pixel_um[1],
            face_color="transparent",
            border_width=0.15,
            features={"class": np.array([], object)},
            canvas_size_limits=MARK_PX,
        )

    def draw(self, layer: Points) -> None:
        points = self.document.value
        colors = {one.name: one.color for one in load_classes(self.session.services.settings, COUNT_CLASSES)}
        layer.selected_data = set()
        if points != _read_points(layer):
            layer.data = np.array([point.at for point in points], np.float64).reshape(-1, 2) - HALF
            layer.features = {"class": np.array([point.class_name for point in points], object)}
        if points:
            layer.border_color = [to_rgba(colors.get(point.class_name, DEFAULT_COLOR)) for point in points]

    def prepare(self, layer: Points) -> None:
        """Set the class of the points that are added next."""
        layer.selected_data = set()  # otherwise napari also changes the selected points
        layer.current_border_color = to_rgba(self.region_class.color)
        layer.feature_defaults = {"class": self.region_class.name}

    def read(self, layer: Points) -> None:
        """Apply what the user has added, moved or removed."""
        points = _read_points(layer)
        self.document.apply(lambda _: points)


def _read_points(layer: Points) -> CountedPoints:
    names = layer.features["class"] if "class" in layer.features else [""] * len(layer.data)
    return tuple(
        CountedPoint(str(name), (round(float(position[-2]) + HALF, 2), round(float(position[-1]) + HALF, 2)))
        for name, position in zip(names, layer.data, strict=True)
    )
