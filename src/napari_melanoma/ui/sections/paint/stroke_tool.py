"""The mouse tool of the Paint section: strokes with the button held, and areas corner by corner."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QColor, QCursor, QPainter, QPen, QPixmap
from qtpy.QtWidgets import QWidget

from napari_melanoma.core.geometry import MapPlacement
from napari_melanoma.core.polygons import Point
from napari_melanoma.io.geojson import Color
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import cover_view, find_canvas, find_main_window, get_camera, get_zoom
from napari_melanoma.ui.viewer.pixel_tools import DRAG_PX, PixelTool
from napari_melanoma.ui.viewer.shape_layers import UNFINISHED, Keys, hide_tool_layer, remove_tool_layer, to_rgba
from napari_melanoma.ui.viewer.slide_layers import ViewerSlide
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.signals import Connections

if TYPE_CHECKING:
    from napari.layers import Labels
    from napari.viewer import Viewer

    from napari_melanoma.slides.tissue_classifier.cells import CellGrid
    from napari_melanoma.slides.tissue_classifier.strokes import StrokeKind

StrokeToolName = Literal["brush", "polygon", "cells", "erase", "similar"]
CELL_TOOLS, WHITE_TOOLS = ("cells", "similar"), ("erase", "similar")
LINE_WIDTH_PX = 3.0  # on the screen, of the outline of an area while it is drawn
CLOSE_PX = 8.0  # on the screen: a click this close to the first corner closes the area
MIN_CORNERS = 3  # of an area
MIN_CIRCLE_PX, MAX_CIRCLE_PX = 8, 120  # on the screen, of the mouse cursor
PREVIEW_LABEL = 1
NOT_IN_VIEW = "The slide is not in view: press Home to show it, then select the tool again."


class DrawnPath(NamedTuple):
    """A path that was drawn with the button held, or the corners of an area.

    ``points``: float64 (point, 2), (row, column) in pixels of the finest level. ``radius_px``: half the width of the
    brush, and ``tolerance_px``: side of a pixel of the screen, in the same pixels.
    """

    tool: StrokeToolName
    points: NDArray[np.float64]
    radius_px: float
    tolerance_px: float


def simplify_path(drawn: DrawnPath, grid: CellGrid) -> tuple[StrokeKind, list[Point], float]:
    """Return kind, points and radius of the stroke of a path, without points that make no difference on the screen."""
    import shapely

    points, kind = drawn.points, _STROKE_KINDS[drawn.tool]
    if kind == "polygon" and shapely.linestrings(points).length < 4 * drawn.radius_px:
        kind = "cells"  # smaller than the line that draws it
    if kind == "cells":
        points = grid.center_of(np.unique(grid.cell_of(points), axis=0))
    elif len(points) > 2:
        points = shapely.get_coordinates(shapely.linestrings(points).simplify(drawn.tolerance_px))
    if kind == "polygon" and len(points) < MIN_CORNERS:
        kind = "brush"  # a straight line encloses no area
    radius = drawn.radius_px if kind == "brush" else 0.0
    return kind, [(float(row), float(column)) for row, column in points], radius


_STROKE_KINDS: dict[StrokeToolName, StrokeKind] = {
    "brush": "brush",
    "polygon": "polygon",
    "cells": "cells",
    "erase": "brush",
    "similar": "brush",
}


def make_cursor(color: Color, width_px: float) -> QCursor:
    """Return a mouse cursor in a color: a circle of the width of the brush, or a spot if that is small or large."""
    is_circle = MIN_CIRCLE_PX <= width_px <= MAX_CIRCLE_PX
    width = round(width_px) if is_circle else MIN_CIRCLE_PX
    picture = QPixmap(width + 6, width + 6)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setBrush(Qt.BrushStyle.NoBrush if is_circle else QColor(*color))
    for pen in (QPen(QColor("black"), 5), QPen(QColor("white"), 4), QPen(QColor(*color), 3)):
        painter.setPen(pen)
        painter.drawEllipse(3, 3, width, width)
    painter.end()
    return QCursor(picture)


def draw_outline(
    points: list[Point], placement: MapPlacement, shape: tuple[int, int], width: float
) -> NDArray[np.uint8]:
    """Draw an open outline with its corners as labels, uint8 (row, column); ``width``: of the line, in its pixels."""
    from PIL import Image, ImageDraw

    picture = Image.new("L", (shape[1], shape[0]))
    on_picture = [
        ((column - placement.left) / placement.step_x, (row - placement.top) / placement.step_y)
        for row, column in points
    ]
    draw = ImageDraw.Draw(picture)
    draw.line(on_picture, fill=PREVIEW_LABEL, width=max(1, round(width)))
    for x, y in on_picture:
        draw.ellipse((x - width, y - width, x + width, y + width), fill=PREVIEW_LABEL)
    return np.asarray(picture, np.uint8).copy()  # napari paints on it


class StrokeTool(PixelTool):
    """Draw strokes with the mouse: napari's brush shows the path, which is emitted when the button is released.

    The brush has the same width on the screen at each magnification. An area is drawn in one go, or clicked corner by
    corner: a double click, Return or a click on the first corner closes it, Backspace removes the last corner, and
    Escape drops it. The mouse cursor has the color of the class. ``dock``: a widget in the window of the canvas.
    ``cell_px``: side of a cell, in pixels of the finest level. ``left``: another layer was selected.
    ``size_changed``: the width of the brush was changed in napari. ``corners_changed``: of the unfinished area.
    """

    drawn = Signal(object)  # DrawnPath
    corners_changed = Signal()
    size_changed = Signal(int)

    def __init__(self, viewer: Viewer, dock: QWidget, cell_px: float) -> None:
        super().__init__(viewer, dock, "stroke")
        self._dock, self._cell_px = dock, cell_px
        self._tool: StrokeToolName = "brush"
        self._size_px = 1.0
        self._color: Color = (255, 255, 0)
        self._shown_color: Color | None = None
        self._placement: MapPlacement | None = None
        self._is_pressed = False
        self._corners: list[Point] = []  # of an unfinished area
        self._layer_events = Connections()
        # The preview is cleared after napari's brush has ended its stroke.
        self._clear_timer, self._view_timer = DebounceTimer(self, 0), DebounceTimer(self, 30)
        self._cursor_timer = DebounceTimer(self, 0)  # after napari has set its own cursor
        self._cursor_timer.timeout.connect(self._show_cursor)
        for event in (viewer.cursor.events.style, viewer.cursor.events.size):
            self._events.connect(event, self._on_cursor)
        self._clear_timer.timeout.connect(self._cover_view)
        self._view_timer.timeout.connect(self._cover_view)
        camera = get_camera(viewer)
        for event in (camera.events.center, camera.events.zoom):
            self._events.connect(event, self._on_camera)

    def start(self, slide: ViewerSlide, tool: StrokeToolName, keys: Keys) -> bool:
        """Activate a tool; return False if no part of the slide is in view."""
        if min(cover_view(self._viewer, slide)[1]) < 1:
            return False
        self._tool = tool
        layer = self.layer
        if layer is None:
            layer = self.add_layer(slide, {**keys, **self._list_keys(keys)})
            if self._on_move not in layer.mouse_move_callbacks:  # it is a new layer
                layer.mouse_move_callbacks.append(self._on_move)
                layer.mouse_double_click_callbacks.append(self._on_double_click)
                self._placement = self._shown_color = None
        layer.mode = "paint"
        self._layer_events.end()
        self._layer_events.connect(layer.events.brush_size, self._on_brush_size)
        self._cover_view()
        self.set_color(self._color)
        self._cursor_timer.start()
        return True

    @property
    def corner_count(self) -> int:
        """Number of corners of the unfinished area; 0 if there is none."""
        return len(self._corners)

    def finish(self) -> None:
        """Close the unfinished area; without enough corners, drop it."""
        corners, placement = self._corners, self._placement
        self._set_corners([])
        if len(corners) >= MIN_CORNERS and placement is not None:
            self._emit(placement, [*corners, corners[0]])

    def _list_keys(self, keys: Keys) -> Keys:
        def undo() -> None:
            if self._corners:
                self._remove_corner()
            else:
                keys["Control-Z"]()

        return {
            "Enter": self.finish,
            "Escape": lambda: self._set_corners([]),
            "Backspace": self._remove_corner,
            "Control-Z": undo,
        }

    def _remove_corner(self) -> None:
        self._set_corners(self._corners[:-1])

    def _set_corners(self, corners: list[Point]) -> None:
        if corners == self._corners:
            return
        self._corners, layer = corners, self.layer
        if layer is not None:
            layer.metadata[UNFINISHED] = bool(corners)
        self._clear_timer.start()
        self.corners_changed.emit()

    def set_size(self, size_px: float) -> None:
        """Set the width of the brush, in pixels of the screen."""
        self._size_px = size_px
        if self.layer is not None:
            self._cover_view()

    def set_color(self, color: Color) -> None:
        """Draw in the color of a class."""
        from napari.utils.colormaps import DirectLabelColormap

        self._color, layer = color, self.layer
        shown = (255, 255, 255) if self._tool in WHITE_TOOLS else color
        if layer is not None and shown != self._shown_color:  # each change takes napari 30 ms
            self._shown_color = shown
            colors = {None: "transparent", 0: "transparent", PREVIEW_LABEL: to_rgba(shown)}
            layer.colormap = DirectLabelColormap(color_dict=colors)
            layer.selected_label = PREVIEW_LABEL
        self._cursor_timer.start()

    def _on_cursor(self, event: object) -> None:
        if self._slide is not None:
            self._cursor_timer.start()

    def _show_cursor(self) -> None:
        """Show the class at the pointer, unless napari has another cursor, such as while the space bar is held."""
        layer, placement, window = self.layer, self._placement, find_main_window(self._dock)
        canvas = None if window is None else find_canvas(window)
        if canvas is not None and layer is not None and placement is not None and str(layer.mode) == "paint":
            width_px = self._find_width(placement) * get_zoom(self._viewer) * placement.scale[1]
            canvas.setCursor(make_cursor(self._shown_color or self._color, width_px))

    def _on_camera(self, event: object = None) -> None:
        if self._slide is not None:
            self._view_timer.start()

    def _cover_view(self) -> None:
        """Show an empty layer over the view, about one of its pixels for each pixel of the screen."""
        layer, slide = self.layer, self._slide
        if layer is None or slide is None or self._is_pressed:
            return
        placement, shape = cover_view(self._viewer, slide)
        if min(shape) < 1:
            return
        width = self._find_width(placement)
        preview = draw_outline(self._corners, placement, shape, width) if self._corners else np.zeros(shape, np.uint8)
        if placement == self._placement and layer.data.shape == shape:
            self._show_preview(layer, preview)
        else:
            self._placement = placement
            slide_layers.set_placement(slide, layer, placement)
            layer.data = preview
        with layer.events.brush_size.blocker():
            layer.brush_size = max(1, round(width))

    def _find_width(self, placement: MapPlacement) -> float:
        """Return the width of the drawn line, in pixels of the layer."""
        if self._tool in CELL_TOOLS:
            return self._cell_px / placement.step_x
        on_screen = self._size_px if self._tool == "brush" else LINE_WIDTH_PX
        return on_screen / (get_zoom(self._viewer) * placement.scale[1])

    def _on_brush_size(self, event: object) -> None:
        """React to another width, such as by napari's keys ``[`` and ``]``."""
        layer = self.layer
        if layer is not None and self._placement is not None and self._tool == "brush":
            self._size_px = max(1.0, float(layer.brush_size) * get_zoom(self._viewer) * self._placement.scale[1])
            self.size_changed.emit(round(self._size_px))

    def _on_press(self, layer: Labels, event: Any) -> Iterator[None]:  # noqa: ANN401 - napari's event
        """Record the path from the press to the release."""
        slide = self._slide
        if slide is None or str(layer.mode) != "paint":
            return
        points, start, distance = [slide.to_slide(tuple(event.position[-2:]))], tuple(event.pos), 0.0
        is_left, self._is_pressed = event.button == 1, True
        yield
        while True:
            point = slide.to_slide(tuple(event.position[-2:]))
            points += [point] if point != points[-1] else []
            distance = max(distance, math.dist(start, event.pos))
            if event.type != "mouse_move":  # a release counts, too: moves are dropped while the window is busy
                break
            yield
        self._is_pressed = False
        self._clear_timer.start()
        placement = self._placement
        if not is_left or placement is None:
            return
        is_click = distance <= DRAG_PX
        if self._tool == "polygon" and (is_click or self._corners):
            self._add_corners(points[:1] if is_click else points, placement)
        else:
            self._emit(placement, points)

    def _add_corners(self, points: list[Point], placement: MapPlacement) -> None:
        """Add a corner, or the points of a freehand part of the outline; close an area that ends where it began."""
        corners = self._corners
        reach = CLOSE_PX * max(placement.step_y, placement.step_x)
        if len(corners) >= MIN_CORNERS and math.dist(points[-1], corners[0]) <= reach:
            self._set_corners([*corners, *points[:-1]])
            self.finish()
        else:
            self._set_corners([*corners, *points])

    def _emit(self, placement: MapPlacement, points: list[Point]) -> None:
        step = placement.step_x
        radius = 0.5 * max(1, round(self._find_width(placement))) * step
        self.drawn.emit(DrawnPath(self._tool, np.array(points, np.float64), radius, step))

    def _on_move(self, layer: Labels, event: Any) -> None:  # noqa: ANN401 - napari's event
        """Draw the outline of an unfinished area to the mouse."""
        slide, placement = self._slide, self._placement
        if self._corners and slide is not None and placement is not None and not self._is_pressed:
            points = [*self._corners, slide.to_slide(tuple(event.position[-2:]))]
            width = self._find_width(placement)
            self._show_preview(layer, draw_outline(points, placement, layer.data.shape, width))

    def _show_preview(self, layer: Labels, preview: NDArray[np.uint8]) -> None:
        """Show another picture at the same position, without the 0.1 s that napari takes for other data."""
        layer.data[:] = preview
        layer.refresh(thumbnail=False, highlight=False, extent=False)

    def _on_double_click(self, layer: Labels, event: object) -> None:
        """Close the unfinished area, whose last corner the first of the two clicks has added."""
        if self._corners:
            self.finish()

    def stop(self) -> None:
        """Deactivate the tool; an unfinished area is closed."""
        self.finish()
        self._is_pressed = False
        self._layer_events.end()
        for timer in (self._clear_timer, self._view_timer, self._cursor_timer):
            timer.stop()
        layer, slide = self.layer, self._slide
        self._slide = None
        if layer is not None and slide is not None:
            hide_tool_layer(self._viewer, slide, layer)

    def close(self, slide: ViewerSlide) -> None:
        """Deactivate the tool, and remove its layer later, since napari may be removing several layers."""
        self.stop()
        viewer, layer = self._viewer, slide_layers.find_layer(self._viewer, slide, self._role)

        def remove() -> None:
            if layer is not None and layer in viewer.layers:
                remove_tool_layer(viewer, slide, layer)

        QTimer.singleShot(0, remove)
