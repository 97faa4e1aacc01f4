"""napari's camera: the view of a slide, movements of the view, and the window's canvas."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QMainWindow, QWidget

from napari_melanoma.core.geometry import MapPlacement
from napari_melanoma.ui.viewer.slide_layers import ViewerSlide
from napari_melanoma.ui.widgets.signals import follow

if TYPE_CHECKING:
    from napari.viewer import Viewer
    from qtpy.QtGui import QShowEvent
    from qtpy.QtOpenGLWidgets import QOpenGLWidget


COVER_CELLS = 1024  # along the longer side of the view: about one for each pixel of the screen
CAMERA_MS = 30  # interval at which widgets follow the camera
WHOLE_BORDER = 0.03  # share of the longer side that may lie outside the view of a whole slide


class ViewRectangle(NamedTuple):
    """The visible region: corner (row, column) and sides of a rectangle, in pixels of the slide's finest level."""

    top: float
    left: float
    height: float
    width: float

    @property
    def center(self) -> tuple[float, float]:
        """The center, (row, column)."""
        return self.top + self.height / 2, self.left + self.width / 2


def get_camera(viewer: Viewer) -> Any:  # noqa: ANN401 - its class depends on napari's version
    """Return the camera of a viewer, in any supported version of napari."""
    return getattr(viewer, "scene", viewer).camera


def get_zoom(viewer: Viewer) -> float:
    """Return the number of canvas pixels for each unit of the viewer; never 0."""
    return max(float(get_camera(viewer).zoom), 1e-12)


def get_scale_bar(viewer: Any) -> Any:  # noqa: ANN401 - its class depends on napari's version
    """Return the scale bar of a viewer, in any supported version of napari."""
    overlays = getattr(getattr(viewer, "canvas", None), "overlays", None)
    return viewer.scale_bar if overlays is None else overlays.scale_bar


def shows_whole_slide(view: ViewRectangle, size: tuple[int, int]) -> bool:
    """Return whether a whole slide is in view, except for a narrow border.

    ``size``: height and width of the slide, in pixels of the finest level.
    """
    border = WHOLE_BORDER * max(size)
    bottom, right = view.top + view.height, view.left + view.width
    return max(view.top, view.left) <= border and bottom >= size[0] - border and right >= size[1] - border


def get_extent(viewer: Viewer) -> tuple[float, float]:
    """Return height and width of the view in the viewer's unit."""
    zoom = get_zoom(viewer)
    return float(viewer.canvas.size[0]) / zoom, float(viewer.canvas.size[1]) / zoom


def get_visible_region(viewer: Viewer, slide: ViewerSlide) -> ViewRectangle:
    """Return the visible region of a slide.

    It may extend beyond the slide; if the slide is rotated, it is the bounding box of the visible region.
    """
    camera = get_camera(viewer)
    row, column = slide.to_slide((float(camera.center[-2]), float(camera.center[-1])))
    cosine, sine = abs(math.cos(math.radians(slide.angle))), abs(math.sin(math.radians(slide.angle)))
    view_height, view_width = get_extent(viewer)
    height = (view_height * cosine + view_width * sine) / slide.pixel_um[0]
    width = (view_width * cosine + view_height * sine) / slide.pixel_um[1]
    return ViewRectangle(row - height / 2, column - width / 2, height, width)


def get_view_width(viewer: Viewer, slide: ViewerSlide) -> float:
    """Return the width of the view in pixels of the finest level, the unit of ``view_memory.center_view``."""
    return get_extent(viewer)[1] / slide.pixel_um[1]


def cover_view(viewer: Viewer, slide: ViewerSlide) -> tuple[MapPlacement, tuple[int, int]]:
    """Return placement and shape (rows, columns) of a grid over the view, whose cells measure whole pixels."""
    view = get_visible_region(viewer, slide)
    top, left = max(0.0, view.top), max(0.0, view.left)
    bottom, right = min(float(slide.size[0]), view.top + view.height), min(float(slide.size[1]), view.left + view.width)
    step = max(1, round(max(bottom - top, right - left) / COVER_CELLS))
    corner = int(top // step * step), int(left // step * step)
    shape = int(-((corner[0] - bottom) // step)), int(-((corner[1] - right) // step))
    return MapPlacement(float(corner[0]), float(corner[1]), float(step), float(step), slide.info.pixel_size), shape


def pan_view(viewer: Viewer, rows: float, columns: float) -> None:
    """Move the view by shares of its height and width."""
    camera = get_camera(viewer)
    height, width = get_extent(viewer)
    y, x = camera.center[-2:]
    camera.center = (*tuple(camera.center)[:-2], y + rows * height, x + columns * width)


def zoom_about(viewer: Viewer, factor: float, point: tuple[float, float]) -> None:
    """Zoom by a factor about a point of the canvas, at which the image stays in place.

    ``point``: (row, column) in pixels of the canvas.
    """
    camera = get_camera(viewer)
    center, old_zoom = tuple(camera.center), float(camera.zoom)
    rows, columns = (
        (position - side / 2) / old_zoom * (1 - 1 / factor)
        for position, side in zip(point, viewer.canvas.size, strict=True)
    )
    camera.zoom = old_zoom * factor
    camera.center = (*center[:-2], center[-2] + rows, center[-1] + columns)


def center_on_canvas(viewer: Viewer, point: tuple[float, float]) -> None:
    """Move a point of the canvas to its center.

    ``point``: (row, column) in pixels of the canvas.
    """
    rows, columns = (position / side - 0.5 for position, side in zip(point, viewer.canvas.size, strict=True))
    pan_view(viewer, rows, columns)


class CameraWidget(QWidget):
    """A widget of a slide that is updated at most every ``CAMERA_MS`` while the camera moves, and when it is shown.

    A hidden one, or that of a hidden slide, does not follow the camera, which then shows another image.
    """

    def __init__(self, viewer: Viewer, slide: ViewerSlide) -> None:
        super().__init__()
        self._followed_slide = slide
        self._camera_timer = QTimer(self)
        self._camera_timer.setSingleShot(True)
        self._camera_timer.setInterval(CAMERA_MS)
        self._camera_timer.timeout.connect(self.update_view)
        events = get_camera(viewer).events
        size = viewer.canvas.events.size  # which changes with the layout of docks
        for emitter in (events.center, events.zoom, size, *(layer.events.visible for layer in slide.layers)):
            follow(self, emitter, self._on_camera)

    def update_view(self) -> None:
        """Show what depends on the camera, unless the slide is hidden."""
        if self._followed_slide.is_shown:
            self.show_view()

    def show_view(self) -> None:
        raise NotImplementedError

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Follow what the camera has done while the widget was hidden."""
        super().showEvent(event)
        self._camera_timer.start()

    def _on_camera(self, event: object = None) -> None:
        if not self._camera_timer.isActive() and self.isVisibleTo(self.window()):
            self._camera_timer.start()


def find_main_window(widget: QWidget | None) -> QMainWindow | None:
    """Return the viewer's window that contains a dock, also if the dock floats; None until it is in a window."""
    from qtpy.QtWidgets import QMainWindow

    while widget is not None and not isinstance(widget, QMainWindow):
        widget = widget.parentWidget()
    return widget


def find_canvas(window: QMainWindow) -> QOpenGLWidget | None:
    """Return the widget of the viewer's canvas; None in a window without one."""
    from qtpy.QtOpenGLWidgets import QOpenGLWidget

    central = window.centralWidget()
    canvas: QOpenGLWidget | None = None if central is None else central.findChild(QOpenGLWidget)
    return canvas


def format_position(slide: ViewerSlide, point: tuple[float, float]) -> str:
    """Format the position of a point as x, y, such as ``3.214, 1.080 mm``; in pixels if the slide has no scale.

    ``point``: (row, column) in pixels of the finest level.
    """
    if slide.info.pixel_size is None:
        return f"{point[1]:.0f}, {point[0]:.0f} px"
    return f"{point[1] * slide.pixel_um[1] / 1000:.3f}, {point[0] * slide.pixel_um[0] / 1000:.3f} mm"
