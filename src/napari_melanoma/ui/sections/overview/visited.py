"""The visited area: record which parts of a slide were seen, at which magnification, and show it on the overview."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QApplication, QCheckBox, QHBoxLayout, QWidget

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import SaveError
from napari_melanoma.slides.notes import SeenView, SlideView, add_view, read_visited, seen_ratios, write_visited
from napari_melanoma.ui.session.navigation import get_native_magnification
from napari_melanoma.ui.viewer.camera import get_extent
from napari_melanoma.ui.widgets.job import run_job
from napari_melanoma.ui.widgets.settings import get_user_folder
from napari_melanoma.ui.widgets.signals import follow
from napari_melanoma.ui.widgets.status_line import show_failure
from napari_melanoma.ui.widgets.style import named, tool_button

if TYPE_CHECKING:
    from napari_melanoma.ui.session.slide import SlideSession

SHOWN_SETTING = "slide/visited"
FOLDER = "visited-slides"  # in the user's own data folder: unlike results, the visited area is private
NATIVE_WITHOUT_SCALE = 40.0  # magnification that is assumed for 1:1 if the scale is unknown
# Magnifications with the opacity (0 to 255) from there on. Nothing is drawn below the first, since otherwise a view of
# the whole slide would mark everything as visited.
OPACITIES = ((2.0, 25), (5.0, 55), (10.0, 90), (20.0, 125))
COLOR = (0, 158, 115)  # distinct from stains, also for readers with a color vision deficiency


class VisitedArea:
    """Record the settled views of a slide in a map, and show it on the overview.

    ``changed``: the map, or whether it is shown. ``visited``: the map, (row, column); None until it has been read.
    """

    changed = Signal()

    def __init__(self, session: SlideSession) -> None:
        self._session, self._slide, self._services = session, session.slide, session.services
        self.visited: NDArray[np.uint8] | None = None
        self._is_changed = False
        session.follow(session.view_history.settled, self._on_settled)
        session.follow(session.commit_requested.drawn, self.save)
        if self._slide.info.fingerprint:
            work = partial(_read_visited, self._path, self._slide.size)
            run_job(session.owner, "visited", work, self._on_read, partial(show_failure, self._services.status))

    @property
    def is_shown(self) -> bool:
        return bool(self._services.settings.get(SHOWN_SETTING, True))

    @property
    def is_empty(self) -> bool:
        """Whether nothing was visited, or it is not known yet."""
        return self.visited is None or not self.visited.any()

    @property
    def _path(self) -> Path:
        """The file of the map, named by the fingerprint of the slide's content."""
        return get_user_folder(FOLDER) / f"{self._slide.info.fingerprint}.png"

    def set_shown(self, shown: bool) -> None:
        """Show or hide the area, for all slides."""
        self._services.settings.set(SHOWN_SETTING, shown)
        self._show()

    def clear(self) -> None:
        if self.visited is not None:
            self.visited, self._is_changed = self.visited * 0, True
            self._show()
            self.save()

    def save(self) -> None:
        """Save the map now if it has changed: it is small, and the window may be about to close."""
        if self.visited is None or not self._is_changed:
            return
        self._is_changed = False
        try:
            write_visited(self._path, self.visited)
        except (OSError, SaveError) as error:
            show_failure(self._services.status, error)

    def _on_read(self, visited: NDArray[np.uint8]) -> None:
        self.visited = visited
        self._show()

    def _on_settled(self, view: SlideView) -> None:
        """Add a settled view to the map if the area is shown and napari is the active program."""
        if self.visited is None or not self.is_shown or QApplication.activeWindow() is None:
            return
        viewer, slide = self._services.viewer, self._slide
        width = float(viewer.canvas.size[1]) * self._services.pixel_ratio
        seen = SeenView((view.row, view.column), get_extent(viewer), slide.pixel_um, slide.angle, width)
        self.visited, self._is_changed = add_view(self.visited, slide.size, seen), True
        self._show()

    def _show(self) -> None:
        """Show the map on the overview, or remove it."""
        picture = None
        if self.visited is not None and not self.is_empty and self.is_shown:
            picture = draw_visited(self.visited, get_native_magnification(self._slide) or NATIVE_WITHOUT_SCALE)
        self._session.visited.set(picture)
        self.changed.emit()


class VisitedControls(QWidget):
    """Check box and button of the visited area."""

    def __init__(self, area: VisitedArea) -> None:
        super().__init__()
        tip = (
            "Show where you have looked at the slide at 2x and above, darker at higher magnification. "
            "Kept on this computer only; not recorded while it is hidden"
        )
        shown_check = named(QCheckBox("Visited area"), "visited_shown", "Visited area", tip)
        self._area = area
        self._clear = tool_button("visited_clear", "Clear", "Clear the visited area of this slide", "Clear")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(shown_check)
        layout.addWidget(self._clear)
        layout.addStretch(1)
        shown_check.setChecked(area.is_shown)
        shown_check.toggled.connect(area.set_shown)
        self._clear.clicked.connect(lambda: area.clear())
        follow(self, area.changed, self._on_changed)
        self._on_changed()

    def _on_changed(self) -> None:
        self._clear.setEnabled(not self._area.is_empty)


def draw_visited(visited: NDArray[np.uint8], native: float) -> QImage:
    """Draw a map as a transparent image, which is darker where the magnification was higher.

    ``visited``: uint8 (row, column). ``native``: magnification at which one pixel of the slide fills one screen pixel.
    """
    magnification = seen_ratios(visited) * native
    alpha = np.zeros(visited.shape, np.uint8)
    for start, opacity in OPACITIES:
        alpha[(visited > 0) & (magnification >= start)] = opacity
    height, width = visited.shape
    color = np.broadcast_to(np.array(COLOR, np.uint8), (height, width, 3))
    pixels = np.ascontiguousarray(np.concatenate([color, alpha[:, :, None]], axis=2))
    return QImage(pixels.tobytes(), width, height, 4 * width, QImage.Format.Format_RGBA8888).copy()


def _read_visited(path: Path, size: tuple[int, int], run: RunContext) -> NDArray[np.uint8]:
    return read_visited(path, size)
