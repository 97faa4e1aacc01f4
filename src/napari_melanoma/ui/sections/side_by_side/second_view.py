"""The second view of the viewer's window: a canvas beside the first, with copies of the layers of a slide."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from psygnal import Signal
from qtpy.compat import isalive
from qtpy.QtCore import QObject, Qt, QTimer
from qtpy.QtWidgets import QDockWidget, QMainWindow

from napari_melanoma.ui.session.open_slide import READING_LINK, SessionServices
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import get_scale_bar
from napari_melanoma.ui.viewer.docking import find_frame, place_next_to_canvas
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.viewer.slide_layers import ViewerSlide
from napari_melanoma.ui.widgets.signals import Connections

if TYPE_CHECKING:
    from napari.layers import Layer


WIDEN_MS = 100  # delay after which Qt has laid out the docks
NARROW_PX = 400  # a view below this width is too narrow
SIDE_AREAS = Qt.DockWidgetArea.LeftDockWidgetArea, Qt.DockWidgetArea.RightDockWidgetArea
OVERLAYS: tuple[slide_layers.Role, ...] = ("heatmap", "lesions")  # layers that the second view shows too


class SecondView(QObject):
    """An open second view; it closes with its slide, and offers the reading mode if it is narrow.

    ``closed``: it is being closed. ``model``: napari's model of the view; None after it was closed. ``slide``: in it.
    """

    closed = Signal()

    def __init__(self, services: SessionServices, parent: QObject, slide: ViewerSlide) -> None:
        from napari.components.viewer_model import ViewerModel
        from napari.qt import QtViewer

        super().__init__(parent)
        self._services, self._viewer, self.slide = services, services.viewer, slide
        viewer, self._window = services.viewer, services.main_window
        self._shown: tuple[object, ...] = ()  # what identifies the copied layers
        frame = find_frame(services.dock)
        self._beside = frame if frame is not None and not frame.isFloating() else None  # its neighbor
        self._dock_width = 0 if self._beside is None else self._beside.width()
        self.model: Any = ViewerModel()  # its module differs between versions of napari
        self.model.theme = viewer.theme
        self.canvas: Any = QtViewer(self.model)
        self._dock_widget: Any = viewer.window.add_dock_widget(self.canvas, name="Second slide", area="right")
        self._dock_widget.destroyed.connect(self._on_frame_closed)
        self._connections = Connections(self)
        for signal, slot in (
            (viewer.events.theme, self._on_theme),
            (get_scale_bar(viewer).events.visible, self._show_scale_bar),
            (viewer.layers.events.inserted, self._on_layers),
            (viewer.layers.events.removed, self._on_layers),
            (services.reading.changed, self._on_reading),
        ):
            self._connections.connect(signal, slot)
        self._arrange_views()

    def show_slide(self, slide: ViewerSlide) -> None:
        self.slide = slide
        shown = (slide.slide, slide.info.pixel_size, len(slide.layers))
        if shown != self._shown:
            self._shown = shown
            self.model.layers.clear()
            for layer in slide.layers:
                _add_copy(self.model, layer)
        for role in OVERLAYS:  # which may have changed while the slide was displayed
            if (copy := slide_layers.find_layer(self.model, slide, role)) is not None:
                self.model.layers.remove(copy)
        self._copy_overlays()
        self._show_scale_bar()

    def _copy_overlays(self) -> None:
        """Copy heatmap and lesions of the slide, unless the view shows them already."""
        for role in OVERLAYS:
            layer = slide_layers.find_layer(self._viewer, self.slide, role)
            if layer is not None and slide_layers.find_layer(self.model, self.slide, role) is None:
                _add_copy(self.model, layer)

    def widen(self) -> None:
        """Give both views the same width if one of them is too narrow, once Qt has laid them out."""
        QTimer.singleShot(WIDEN_MS, partial(self._equalize_widths, NARROW_PX))

    def close(self) -> None:
        """Close the view, and release its layers."""
        if self.model is None:
            return
        self.closed.emit()
        model, self.model = self.model, None
        self._connections.end()
        frame, self._dock_widget = self._dock_widget, None
        if frame is not None:
            self._viewer.window.remove_dock_widget(frame)
        model.layers.clear()
        self.canvas.close()
        self.canvas.deleteLater()
        if self._beside is not None:  # Qt widens it when this view is closed
            QTimer.singleShot(WIDEN_MS, partial(_set_width, self._beside, self._dock_width))
        self.deleteLater()

    def _on_frame_closed(self) -> None:
        """Close the view after the user closed its frame in the title bar."""
        if self._dock_widget is not None and isalive(self):
            self._dock_widget = None
            self.close()

    def _on_theme(self, event: object) -> None:
        self.model.theme = self._viewer.theme

    def _on_layers(self, event: object) -> None:
        """Copy new results, or close the view with its slide."""
        if slide_layers.find_slide(self._viewer, self.slide.identity) is not None:
            self._copy_overlays()
        else:
            self.close()

    def _show_scale_bar(self, event: object = None) -> None:
        """Show or hide the scale bar as in the first view; without a scale its units would be pixels."""
        is_shown = get_scale_bar(self._viewer).visible
        get_scale_bar(self.model).visible = is_shown and self.slide.info.pixel_size is not None

    def _arrange_views(self) -> None:
        """Place the view between the first and the dock, with the same width."""
        frame = find_frame(self.canvas)
        if self._beside is not None and self._window is not None and frame is not None:
            place_next_to_canvas(self._window, frame)
            QTimer.singleShot(WIDEN_MS, self._equalize_widths)

    def _equalize_widths(self, limit: int | None = None) -> None:
        """Give both views the same width, and make an offer if it is too small. ``limit``: as in ``_share_width``."""
        if not isalive(self) or self.model is None or self._window is None or not isalive(self._window):
            return
        frame = find_frame(self.canvas)
        width = None if frame is None else _share_width(self._window, frame, limit)
        if width is not None and width < NARROW_PX:
            self._offer_reading(width)

    def _on_reading(self, on: bool) -> None:
        """Give narrow views more width in the reading mode."""
        if on:
            self.widen()

    def _offer_reading(self, width: int) -> None:
        """Offer the reading mode if both views are only ``width`` pixels wide, unless a task is running."""
        services = self._services
        if not services.status.is_busy and not services.reading.value:
            link = services.icons.link(READING_LINK, "Enter the reading mode")
            offer = f"{link} ({format_key('slide.reading')}) to give them the width of the window."
            message = f"Each view is only {width} pixels wide. {offer}"
            services.status.show_until(message, services.reading.changed, self.closed)


def _set_width(frame: QDockWidget, width: int) -> None:
    if isalive(frame) and isinstance(window := frame.parent(), QMainWindow):
        window.resizeDocks([frame], [width], Qt.Orientation.Horizontal)


def _share_width(window: QMainWindow, frame: QDockWidget, limit: int | None) -> int | None:
    """Give a dock and the canvas next to it the same width, and return that width.

    Do nothing and return None if they are not side by side, or if both are at least ``limit`` pixels wide.
    """
    canvas = window.centralWidget()
    if canvas is None or frame.isFloating() or window.dockWidgetArea(frame) not in SIDE_AREAS:
        return None
    widths = frame.width(), canvas.width()
    if limit is not None and min(widths) >= limit:
        return None
    width = int(sum(widths)) // 2
    window.resizeDocks([frame], [width], Qt.Orientation.Horizontal)
    return width


def _add_copy(model: Any, layer: Layer) -> None:  # noqa: ANN401 - its module differs between versions of napari
    """Add a visible copy of a layer to the second view; the data are shared."""
    from napari.layers import Layer

    copy = Layer.create(*layer.as_layer_data_tuple())
    copy.visible = True
    model.add_layer(copy)
