"""The visited area: record which parts of a slide were seen, at which magnification, and show it on the overview."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QApplication, QCheckBox, QHBoxLayout, QWidget

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import SaveError
from napari_melanoma.ui.slide.navigation import UM_AT_1X
from napari_melanoma.ui.slide.run_manager import get_user_folder
from napari_melanoma.ui.viewer.camera import get_extent
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.style import named, tool_button

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.slides.notes import SlideView
    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.slide.overview import Overview
    from napari_melanoma.ui.slide.view_history import ViewHistory
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

SHOWN_SETTING = "slide/visited"
FOLDER = "visited-slides"  # in the user's own data folder: unlike results, the visited area is private
NATIVE_WITHOUT_SCALE = 40.0  # magnification that is assumed for 1:1 if the scale is unknown
# Magnifications with the opacity (0 to 255) from there on. Nothing is drawn below the first, since otherwise a view of
# the whole slide would mark everything as visited.
OPACITIES = ((2.0, 25), (5.0, 55), (10.0, 90), (20.0, 125))
COLOR = (0, 158, 115)  # distinct from stains, also for readers with a color vision deficiency


class VisitedControls(QWidget):
    """Check box and button of the visited area."""

    toggled = Signal(bool)
    clear_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        tip = (
            "Show where you have looked at the slide at 2x and above, darker at higher magnification. "
            "Kept on this computer only; not recorded while it is hidden"
        )
        self.shown_check = named(QCheckBox("visited area"), "visited_shown", "Visited area", tip)
        self._clear = tool_button("visited_clear", "Clear", "Clear the visited area of this slide", "clear")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.shown_check)
        layout.addWidget(self._clear)
        layout.addStretch(1)
        self.shown_check.toggled.connect(self.toggled)
        self._clear.clicked.connect(lambda: self.clear_requested.emit())

    def show_state(self, has_area: bool) -> None:
        """Enable the button that clears the area if there is one."""
        self._clear.setEnabled(has_area)


class VisitedArea(QObject):
    """Record the settled views of each slide in a map, show it on the overview, and save it."""

    failed = Signal(object)  # the exception

    def __init__(
        self, context: SlideContext, history: ViewHistory, overview: Overview, controls: VisitedControls
    ) -> None:
        super().__init__(context)
        self._context, self._overview, self._controls = context, overview, controls
        self._slide: ViewerSlide | None = None
        self.visited: NDArray[np.uint8] | None = None  # the map, (row, column); None until it has been read
        self._is_changed = False
        self._queue = LatestJobQueue(self)
        self._queue.succeeded.connect(self._on_read)
        self._queue.failed.connect(self.failed)
        controls.shown_check.setChecked(context.settings.get(SHOWN_SETTING, True))
        controls.toggled.connect(self._on_toggled)
        controls.clear_requested.connect(self.clear)
        history.settled.connect(self._on_settled)
        context.flush_requested.connect(self.save)

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide, and save the map of the previous one."""
        if slide is not None and self._slide is not None and slide.slide is self._slide.slide:
            self._slide = slide
            return
        self.save()
        self._slide, self.visited = slide, None
        self._show()
        if slide is not None and slide.info.fingerprint:
            work = partial(_read_visited, slide.identity, _get_map_path(slide), slide.size)
            self._queue.submit("read", lambda: work)

    def clear(self) -> None:
        """Clear the visited area of the slide."""
        if self.visited is not None:
            self.visited, self._is_changed = self.visited * 0, True
            self._show()
            self.save()

    def save(self) -> None:
        """Save the map now if it has changed: it is small, and the window may be about to close."""
        if self._slide is None or self.visited is None or not self._is_changed:
            return
        from napari_melanoma.slides.visited import write_visited

        self._is_changed = False
        try:
            write_visited(_get_map_path(self._slide), self.visited)
        except (OSError, SaveError) as error:
            self.failed.emit(error)

    def _on_read(self, identity_and_map: tuple[str, NDArray[np.uint8]]) -> None:
        identity, visited = identity_and_map
        if self._slide is not None and identity == self._slide.identity:
            self.visited, self._is_changed = visited, False
            self._show()

    def _on_toggled(self, on: bool) -> None:
        self._context.settings.set(SHOWN_SETTING, on)
        self._show()

    def _on_settled(self, view: SlideView) -> None:
        """Add a settled view to the map if the area is shown and napari is the active program."""
        slide = self._slide
        is_on = self._controls.shown_check.isChecked() and QApplication.activeWindow() is not None
        if slide is None or self.visited is None or not is_on:
            return
        from napari_melanoma.slides.visited import SeenView, add_view

        viewer = self._context.viewer
        width = float(viewer.canvas.size[1]) * self._context.pixel_ratio
        seen = SeenView((view.row, view.column), get_extent(viewer), slide.pixel_um, slide.angle, width)
        self.visited, self._is_changed = add_view(self.visited, slide.size, seen), True
        self._show()

    def _show(self) -> None:
        """Show the map on the overview, or remove it."""
        visited = self.visited if self.visited is not None and self.visited.any() else None
        self._controls.show_state(visited is not None)
        if visited is None or not self._controls.shown_check.isChecked():
            self._overview.show_visited(None)
        else:
            self._overview.show_visited(draw_visited(visited, self._native))

    @property
    def _native(self) -> float:
        """Magnification at which one pixel of the slide fills one screen pixel."""
        size = None if self._slide is None else self._slide.info.pixel_size
        return NATIVE_WITHOUT_SCALE if size is None else UM_AT_1X / size.x_um


def draw_visited(visited: NDArray[np.uint8], native: float) -> QImage:
    """Draw a map as a transparent image, which is darker where the magnification was higher.

    ``visited``: uint8 (row, column). ``native``: magnification at which one pixel of the slide fills one screen pixel.
    """
    import numpy as np

    from napari_melanoma.slides.visited import seen_ratios

    magnification = seen_ratios(visited) * native
    alpha = np.zeros(visited.shape, np.uint8)
    for start, opacity in OPACITIES:
        alpha[(visited > 0) & (magnification >= start)] = opacity
    height, width = visited.shape
    color = np.broadcast_to(np.array(COLOR, np.uint8), (height, width, 3))
    pixels = np.ascontiguousarray(np.concatenate([color, alpha[:, :, None]], axis=2))
    return QImage(pixels.tobytes(), width, height, 4 * width, QImage.Format.Format_RGBA8888).copy()


def _get_map_path(slide: ViewerSlide) -> Path:
    """Return the file of a slide's map, named by the fingerprint of its content."""
    return get_user_folder(FOLDER) / f"{slide.info.fingerprint}.png"


def _read_visited(identity: str, path: Path, size: tuple[int, int], run: RunContext) -> tuple[str, NDArray[np.uint8]]:
    from napari_melanoma.slides.visited import read_visited

    return identity, read_visited(path, size)
