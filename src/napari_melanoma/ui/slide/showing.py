"""How the Slide dock shows a slide."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING
from weakref import ref

from qtpy.QtCore import QObject, Qt, QTimer, Signal

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.slides.notes import Bookmark
from napari_melanoma.ui.viewer import camera as slide_camera
from napari_melanoma.ui.viewer.camera import View
from napari_melanoma.ui.widgets.job import Latest

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer
    from qtpy.QtGui import QImage

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.lesions import SlideLesion
    from napari_melanoma.slides.reading.tiled import TiledSlide
    from napari_melanoma.ui.slide.controls import SlideControls
    from napari_melanoma.ui.slide.watch import SuspiciousTile
    from napari_melanoma.ui.viewer.slide_layers import OpenSlide

OVERVIEW_PX, FOLLOW_MS = 640, 30
TILE_VIEWS = 4.0  # how many tiles wide the view is after flying to one


class SlideShowing(QObject):
    """Keeps overview and coordinates in step with the camera, and flies."""

    failed = Signal(object)

    def __init__(self, viewer: Viewer, controls: SlideControls) -> None:
        super().__init__(controls)
        self._viewer, self._controls = viewer, controls
        self._slide: OpenSlide | None = None
        self._complaint = ""
        self._latest = Latest(self)
        self._latest.succeeded.connect(self._on_picture)
        self._latest.failed.connect(self.failed)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(FOLLOW_MS)
        self._timer.timeout.connect(self.follow)
        camera = slide_camera.camera(viewer)
        for emitter in (camera.events.center, camera.events.zoom):
            controls.connections.connect(emitter, self._on_camera)
        controls.overview.wanted.connect(self._on_wanted)
        controls.places.asked.connect(self._on_asked)
        controls.places.chosen.connect(self._on_chosen)
        controls.places.adding.connect(self.bookmark)
        controls.places.bar.connect(self._on_bar)
        controls.places.want_bar(controls.settings.kept("slide/scale_bar", True))
        controls.strip.chosen.connect(self._on_tile)
        controls.table.chosen.connect(self.fly_to)

    @property
    def busy(self) -> bool:
        """Whether a picture is being read."""
        return self._latest.busy

    def turn_to(self, slide: OpenSlide | None) -> None:
        """Be about another slide."""
        if slide is None or self._slide is None or slide.identity != self._slide.identity:
            self._controls.places.field.clear()
        self._slide = slide
        self._controls.places.set_scaled(slide is None or slide.info.pixel_size is not None)
        self._controls.overview.show_slide(None if slide is None else slide.size)
        if slide is not None:
            work = partial(_picture, slide.slide, slide.identity)
            self._latest.submit("overview", lambda: work)
            self._timer.start()

    def renew(self, slide: OpenSlide) -> None:
        """The slide has another scale."""
        self._slide = slide
        self._controls.places.set_scaled(slide.info.pixel_size is not None)
        self.follow()

    def follow(self) -> None:
        """Say where the camera looks now, unless it looks at something else: a photograph, or another slide."""
        if self._slide is not None and any(layer.visible for layer in self._slide.layers):
            view = slide_camera.seen(self._viewer, self._slide)
            self._controls.overview.show_view(view)
            self._controls.places.show_place(slide_camera.said_place(self._slide, view.center))

    def bookmark(self) -> None:
        """Keep what is in view."""
        if self._slide is not None:
            view = slide_camera.seen(self._viewer, self._slide)
            self._controls.places.add(Bookmark("place", *view.center, view.width))

    def fly_to(self, lesion: SlideLesion) -> None:
        """Bring a lesion into view."""
        if self._slide is not None:
            box = lesion.box
            slide_camera.fly_to_box(self._viewer, self._slide, View(box.top, box.left, box.height, box.width))

    def _on_camera(self, event: object = None) -> None:
        if not self._timer.isActive():
            self._timer.start()

    def _on_wanted(self, row: float, column: float) -> None:
        if self._slide is not None:
            slide_camera.fly(self._viewer, self._slide, (row, column))

    def _on_asked(self, text: str) -> None:
        if self._slide is None:
            return
        try:
            slide_camera.fly(self._viewer, self._slide, slide_camera.read_place(self._slide, text))
        except MelanomaError as error:
            self._complaint = str(error)
            self._controls.status.say(self._complaint)
            return
        if self._controls.status.text == self._complaint:  # about the place that was typed before
            self._controls.status.say("")

    def _on_chosen(self, bookmark: Bookmark) -> None:
        if self._slide is not None:
            slide_camera.fly(self._viewer, self._slide, (bookmark.row, bookmark.column), bookmark.width_px)

    def _on_tile(self, tile: SuspiciousTile) -> None:
        if self._slide is not None:
            slide_camera.fly(self._viewer, self._slide, (tile.row, tile.column), TILE_VIEWS * tile.width_px)

    def _on_bar(self, on: bool) -> None:
        self._controls.settings.keep("slide/scale_bar", on)
        self.show_bar()

    def show_bar(self) -> None:
        """Show the scale bar, or hide it, as the user wants it; napari takes its time to make the first one."""
        on = self._controls.places.is_bar_wanted
        slide_camera.scale_bar(self._viewer).visible = on and self._slide is not None

    def _on_picture(self, found: tuple[str, QImage]) -> None:
        if self._slide is not None and found[0] == self._slide.identity:
            self._controls.overview.show_picture(found[1])


def _picture(slide: TiledSlide, identity: str, run: RunContext) -> tuple[str, QImage]:
    """Read the whole slide as a small picture; what is damaged of it is marked, as in the viewer."""
    from napari_melanoma.ui.slide.overview import as_image

    return identity, as_image(slide.thumbnail_around_damage(OVERVIEW_PX)[0])


class Refresher(QObject):
    """Hears in any thread that a slide can be shown exactly, and refreshes its layers in the window's."""

    _sharper = Signal()

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        # A dock sees proxies of layers, which are made anew each time and live no longer than a line.
        self._layers = [ref(getattr(layer, "__wrapped__", layer)) for layer in layers]
        self._sharper.connect(self._on_sharper, Qt.ConnectionType.QueuedConnection)

    def tell(self) -> None:
        """Ask for a refresh; may be called in any thread."""
        self._sharper.emit()

    def _on_sharper(self) -> None:
        """Read what is shown again; napari keeps the coarsest level as it was first read until the data is set."""
        for layer in filter(None, (kept() for kept in self._layers)):
            layer.data = layer.data
            layer.refresh()


def keep_sharp(slide: TiledSlide, layers: Sequence[Layer]) -> None:
    """Refresh the layers of a slide each time that what they show roughly can be read exactly."""
    refresher = Refresher(layers)
    slide.watch(refresher.tell)
    refresher.tell()  # what was asked for while the layers were made may be exact by now
