"""Navigate on the displayed slide: overview, position, bookmarks and scale bar."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING
from weakref import ref

from qtpy.QtCore import QObject, Qt, QTimer, Signal

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.slides.notes import Bookmark
from napari_melanoma.ui.viewer import camera as slide_camera
from napari_melanoma.ui.viewer.camera import ViewRectangle
from napari_melanoma.ui.widgets.job import LatestJobQueue

if TYPE_CHECKING:
    from napari.layers import Layer
    from qtpy.QtGui import QImage

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.lesions import SlideLesion
    from napari_melanoma.slides.reading.tiled import TiledSlide
    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.slide.navigation_panel import NavigationPanel
    from napari_melanoma.ui.slide.overview import Overview
    from napari_melanoma.ui.slide.run_status import SuspiciousTile
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

OVERVIEW_PX, FOLLOW_MS = 640, 30
TILE_VIEWS = 4.0  # width of the view in tiles after going to one


class SlideNavigation(QObject):
    """Synchronize overview and position with the camera, and move the camera."""

    failed = Signal(object)

    def __init__(self, context: SlideContext, overview: Overview, panel: NavigationPanel) -> None:
        super().__init__(context)
        self._context, self._viewer = context, context.viewer
        self._overview, self._panel = overview, panel
        self._slide: ViewerSlide | None = None
        self._position_error = ""
        self._latest = LatestJobQueue(self)
        self._latest.succeeded.connect(self._on_thumbnail)
        self._latest.failed.connect(self.failed)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(FOLLOW_MS)
        self._timer.timeout.connect(self.update_position)
        camera = slide_camera.get_camera(self._viewer)
        for emitter in (camera.events.center, camera.events.zoom):
            context.connections.connect(emitter, self._on_camera)
        overview.position_requested.connect(self._on_position_requested)
        panel.position_entered.connect(self._on_position_entered)
        panel.bookmark_activated.connect(self._show_bookmark)
        panel.bookmark_requested.connect(self.add_bookmark)
        panel.scale_bar_toggled.connect(self._on_scale_bar_toggled)
        panel.set_scale_bar(context.settings.get("slide/scale_bar", True))

    @property
    def busy(self) -> bool:
        """Whether the thumbnail is being read."""
        return self._latest.busy

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide."""
        if slide is None or self._slide is None or slide.identity != self._slide.identity:
            self._panel.position_field.clear()
        self._slide = slide
        self._panel.set_has_scale(slide is None or slide.info.pixel_size is not None)
        self._overview.show_slide(None if slide is None else slide.size)
        if slide is not None:
            work = partial(_read_thumbnail, slide.slide, slide.identity)
            self._latest.submit("overview", lambda: work)
            self._timer.start()

    def update_scale(self, slide: ViewerSlide) -> None:
        """Update after a change of the slide's scale."""
        self._slide = slide
        self._panel.set_has_scale(slide.info.pixel_size is not None)
        self.update_position()

    def update_position(self) -> None:
        """Show the position of the camera, unless the slide is hidden."""
        if self._slide is not None and any(layer.visible for layer in self._slide.layers):
            view = slide_camera.get_visible_region(self._viewer, self._slide)
            self._overview.show_view(view)
            self._panel.show_position(slide_camera.format_position(self._slide, view.center))

    def add_bookmark(self) -> None:
        """Bookmark the view."""
        if self._slide is not None:
            view = slide_camera.get_visible_region(self._viewer, self._slide)
            self._panel.add(Bookmark("place", *view.center, view.width))

    def show_lesion(self, lesion: SlideLesion) -> None:
        """Zoom to a lesion."""
        if self._slide is not None:
            box = lesion.box
            slide_camera.zoom_to_box(self._viewer, self._slide, ViewRectangle(box.top, box.left, box.height, box.width))

    def _on_camera(self, event: object = None) -> None:
        if not self._timer.isActive():
            self._timer.start()

    def _on_position_requested(self, row: float, column: float) -> None:
        if self._slide is not None:
            slide_camera.center_view(self._viewer, self._slide, (row, column))

    def _on_position_entered(self, text: str) -> None:
        if self._slide is None:
            return
        try:
            slide_camera.center_view(self._viewer, self._slide, slide_camera.parse_position(self._slide, text))
        except MelanomaError as error:
            self._position_error = str(error)
            self._context.status.show_message(self._position_error)
            return
        if self._context.status.text == self._position_error:  # about the position that was entered before
            self._context.status.show_message("")

    def _show_bookmark(self, bookmark: Bookmark) -> None:
        if self._slide is not None:
            slide_camera.center_view(self._viewer, self._slide, (bookmark.row, bookmark.column), bookmark.width_px)

    def show_tile(self, tile: SuspiciousTile) -> None:
        """Center the view on a tile."""
        if self._slide is not None:
            slide_camera.center_view(self._viewer, self._slide, (tile.row, tile.column), TILE_VIEWS * tile.width_px)

    def _on_scale_bar_toggled(self, on: bool) -> None:
        self._context.settings.set("slide/scale_bar", on)
        self.update_scale_bar()

    def update_scale_bar(self) -> None:
        """Show or hide the scale bar; napari needs long to create the first one."""
        on = self._panel.shows_scale_bar
        slide_camera.get_scale_bar(self._viewer).visible = on and self._slide is not None

    def _on_thumbnail(self, thumbnail: tuple[str, QImage]) -> None:
        if self._slide is not None and thumbnail[0] == self._slide.identity:
            self._overview.show_picture(thumbnail[1])


def _read_thumbnail(slide: TiledSlide, identity: str, run: RunContext) -> tuple[str, QImage]:
    """Read a thumbnail of the slide; damaged parts are marked as in the viewer."""
    from napari_melanoma.ui.slide.overview import to_qimage

    return identity, to_qimage(slide.thumbnail_around_damage(OVERVIEW_PX)[0])


class LayerRefresher(QObject):
    """Refresh layers in the GUI thread when a worker thread reports that exact pixels are available."""

    _refresh_requested = Signal()

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        # Docks get short-lived proxies of layers: keep the layers themselves.
        self._layers = [ref(getattr(layer, "__wrapped__", layer)) for layer in layers]
        self._refresh_requested.connect(self._refresh_layers, Qt.ConnectionType.QueuedConnection)

    def request_refresh(self) -> None:
        """Request a refresh; may be called in any thread."""
        self._refresh_requested.emit()

    def _refresh_layers(self) -> None:
        """Reload the layers; napari keeps the coarsest level as first read until the data is set."""
        for layer in filter(None, (reference() for reference in self._layers)):
            layer.data = layer.data
            layer.refresh()


def refresh_when_loaded(slide: TiledSlide, layers: Sequence[Layer]) -> None:
    """Refresh the layers of a slide whenever exact pixels replace approximate ones."""
    refresher = LayerRefresher(layers)
    slide.add_watcher(refresher.request_refresh)
    refresher.request_refresh()  # exact pixels may have arrived while the layers were created
