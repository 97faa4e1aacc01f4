"""Navigation on a slide, for buttons, shortcuts and keys: history of views, magnification, rotation and bookmarks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_melanoma.slides.notes import Bookmark, SlideView
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import get_camera, get_visible_region, shows_whole_slide
from napari_melanoma.ui.viewer.slide_layers import ViewerSlide
from napari_melanoma.ui.viewer.view_memory import (
    center_view,
    fit_view,
    get_current_picture,
    get_view,
    is_in_view,
    show_view,
)

if TYPE_CHECKING:
    from napari_melanoma.ui.session.open_slide import OpenSlide, SessionServices

SETTLE_MS = 300  # a view that has not moved for this time is recorded, and counts as seen
MAX_VIEWS = 100  # recorded for one slide
TOLERANCE = 1e-3  # relative to the width of a view: views that differ by less are the same
UM_AT_1X = 10.0  # micrometers per screen pixel at 1x; a 20x scan has 0.5 µm per pixel
FULL_TURN = 360.0  # degrees
NO_SCALE = "Magnification requires the pixel size: set the scale with the ruler button at the top"
NOT_IN_VIEW = "The slide is not in view. Select it in the list of slides first."


@dataclass(frozen=True)
class ViewTrail:
    """Recorded views of one slide, and the index of the current one, -1 if there is none."""

    views: tuple[SlideView, ...] = ()
    current: int = -1

    def add(self, view: SlideView) -> ViewTrail:
        """Add a view after the current one, which replaces the views that followed it."""
        if self.views and is_same_view(view, self.views[self.current]):
            return self
        views = (*self.views[: self.current + 1], view)[-MAX_VIEWS:]
        return ViewTrail(views, len(views) - 1)

    def can_step(self, direction: int) -> bool:
        """Return whether there is a previous (-1) or next (1) view."""
        return 0 <= self.current + direction < len(self.views)


def is_same_view(one: SlideView, other: SlideView) -> bool:
    """Return whether two views differ by less than users can see."""
    differences = one.row - other.row, one.column - other.column, one.width_px - other.width_px
    return max(map(abs, differences)) <= TOLERANCE * max(one.width_px, other.width_px)


class ViewHistory:
    """Record the views of a slide while it is displayed, and step back and forward through them.

    ``changed``: the trail. ``recorded``: the current view is in the history. ``settled``: it has not moved for
    ``SETTLE_MS``.
    """

    changed, recorded, settled = Signal(), Signal(SlideView), Signal(SlideView)

    def __init__(self, session: OpenSlide) -> None:
        self._session, self._slide, self._viewer = session, session.slide, session.services.viewer
        self.trail = ViewTrail()
        self._timer: QTimer | None = None  # once the views are recorded

    def start(self) -> None:
        """Record the views from now on, while the slide is displayed."""
        session = self._session
        self._timer = timer = QTimer(session.owner)
        timer.setSingleShot(True)
        timer.setInterval(SETTLE_MS)
        timer.timeout.connect(self._on_settled)
        events = get_camera(self._viewer).events
        for emitter in (events.center, events.zoom):
            session.follow(emitter, self._on_camera)
        session.follow(session.displayed.changed, self._on_displayed)
        timer.start()

    def step(self, direction: int) -> None:
        """Show the previous (-1) or next (1) view, unless another image is in view."""
        self.record_now()
        if is_in_view(self._viewer, self._slide.layers) and self.trail.can_step(direction):
            self.trail = replace(self.trail, current=self.trail.current + direction)
            show_view(self._viewer, self._slide, self.trail.views[self.trail.current])
            self.changed.emit()

    def record_now(self) -> None:
        """Record the current view now, if it has moved since the last recorded one; it has not settled yet."""
        if self._timer is not None and self._timer.isActive():
            self._record()

    def _on_displayed(self, is_displayed: bool) -> None:
        if self._timer is not None:
            (self._timer.start if is_displayed else self._timer.stop)()

    def _on_camera(self, event: object = None) -> None:
        if self._timer is not None and self._session.displayed.value:
            self._timer.start()

    def _on_settled(self) -> None:
        if (view := self._record()) is not None:
            self.settled.emit(view)

    def _record(self) -> SlideView | None:
        """Record and return the current view; None if another image is in view."""
        shown = get_current_picture(self._viewer)
        if shown is None or not any(layer == self._slide.layers[0] for layer in shown):
            return None
        view = get_view(self._viewer, self._slide)
        self.trail = self.trail.add(view)
        self.changed.emit()
        self.recorded.emit(view)
        return view


def get_native_magnification(slide: ViewerSlide) -> float | None:
    """Return the magnification at which a pixel of a slide fills a pixel of the screen; None without a scale."""
    size = slide.info.pixel_size
    return None if size is None else UM_AT_1X / size.x_um


def get_magnification(services: SessionServices, slide: ViewerSlide) -> float | None:
    """Return the magnification of the view of a slide; None without a scale."""
    zoom = float(get_camera(services.viewer).zoom) * services.pixel_ratio
    return None if slide.info.pixel_size is None else zoom * UM_AT_1X


def find_zoom(services: SessionServices, slide: ViewerSlide, magnification: float) -> float | None:
    """Return napari's zoom for a magnification, also beyond the scan; without a scale, show that and return None."""
    if slide.info.pixel_size is not None:
        return magnification / UM_AT_1X / services.pixel_ratio
    services.status.show_briefly(f"{NO_SCALE}.")
    return None


def magnify(services: SessionServices, slide: ViewerSlide, magnification: float) -> None:
    """Magnify the view about its center."""
    zoom = find_zoom(services, slide, magnification)
    if zoom is not None:
        get_camera(services.viewer).zoom = zoom


def find_pixel_zoom(services: SessionServices, slide: ViewerSlide) -> float:
    """Return napari's zoom at which each pixel of the finest level fills one pixel of the screen."""
    return 1 / slide.pixel_um[1] / services.pixel_ratio


def show_actual_pixels(services: SessionServices, slide: ViewerSlide) -> None:
    """Show each pixel of the finest level on one pixel of the screen."""
    get_camera(services.viewer).zoom = find_pixel_zoom(services, slide)


def normalize_angle(angle: float) -> float:
    """Return the same angle in degrees, above -180 and up to 180."""
    return FULL_TURN / 2 - (FULL_TURN / 2 - angle) % FULL_TURN


def rotate(session: OpenSlide, angle: float) -> None:
    """Rotate a slide to an angle in degrees clockwise, and save it in the notes."""
    rotate_view(session, normalize_angle(angle))
    session.edit_notes(lambda notes: replace(notes, angle=session.slide.angle))


def rotate_view(session: OpenSlide, angle: float) -> None:
    """Rotate a slide about the center of the view; a view of the whole slide is fitted again."""
    viewer, slide = session.services.viewer, session.slide
    if angle == slide.angle:
        return
    view = get_visible_region(viewer, slide)
    is_whole = shows_whole_slide(view, slide.size)
    slide_layers.set_angle(viewer, slide, angle)
    if is_in_view(viewer, slide.layers):
        if is_whole:
            fit_view(viewer, slide.layers)
        else:
            center_view(viewer, slide, view.center)
    session.rotated.emit()


def add_bookmark(session: OpenSlide) -> None:
    """Bookmark the view, unless another image is in view; a number makes its name unique."""
    viewer, slide = session.services.viewer, session.slide
    if not is_in_view(viewer, slide.layers):
        session.services.status.show_briefly(NOT_IN_VIEW)
        return
    view = get_view(viewer, slide)
    known = session.notes.value.bookmarks
    names = {bookmark.name for bookmark in known}
    number = next(number for number in range(1, len(names) + 2) if f"place {number}" not in names)
    bookmark = Bookmark(f"place {number}", view.row, view.column, view.width_px)
    session.edit_notes(lambda notes: replace(notes, bookmarks=(*known, bookmark)))


def show_bookmark(session: OpenSlide, bookmark: Bookmark) -> None:
    """Show a bookmarked view."""
    center_view(session.services.viewer, session.slide, (bookmark.row, bookmark.column), bookmark.width_px)
