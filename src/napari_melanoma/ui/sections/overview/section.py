"""The Overview section of a slide: its thumbnail, and everything that moves the view."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

from napari_melanoma.ui.sections import Section
from napari_melanoma.ui.sections.overview.memory import DisplayMemory
from napari_melanoma.ui.sections.overview.picture import Overview
from napari_melanoma.ui.sections.overview.view import (
    MagnificationButtons,
    NavigationPanel,
    RotationControls,
    ViewButtons,
    update_scale_bar,
)
from napari_melanoma.ui.sections.overview.visited import VisitedArea, VisitedControls
from napari_melanoma.ui.session.connections import SectionConnections
from napari_melanoma.ui.session.navigation import rotate_view
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.status_line import show_failure
from napari_melanoma.ui.widgets.style import column, row

if TYPE_CHECKING:
    from qtpy.QtGui import QImage
    from qtpy.QtWidgets import QWidget

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.reading.tiled import TiledSlide
    from napari_melanoma.ui.session.slide import SlideSession

THUMBNAIL_PX = 640  # longer side of the picture in the overview


class OverviewSection(Section):
    """Show where the view is; also while it is collapsed, views are recorded, and view and display are restored."""

    def show(self, session: SlideSession) -> None:
        """Restore rotation, view and display, and record the views from now on."""
        self._session, self._owner = session, QObject(session.sessions.parent)
        self._connections = connections = SectionConnections(self._owner)
        rotate_view(session, session.notes.value.angle)
        self._memory = DisplayMemory(session, self._owner, connections)
        self._visited = VisitedArea(session, self._owner, connections)
        session.view_history.start(self._owner, connections)
        self._queue = LatestJobQueue(self._owner)
        self._queue.succeeded.connect(session.thumbnail.set)
        self._queue.failed.connect(partial(show_failure, session.services.status))
        if session.thumbnail.value is None:
            self._queue.submit("overview", lambda: partial(_read_thumbnail, session.slide.slide))
        QTimer.singleShot(0, partial(update_scale_bar, session.services))  # after all else is shown

    def open(self, session: SlideSession) -> QWidget:
        """Return the widgets for a slide."""
        connections = self._connections
        return column(
            Overview(session, connections),
            row(VisitedControls(self._visited, connections), ViewButtons(session, connections), stretch=0),
            MagnificationButtons(session, connections),
            RotationControls(session, connections),
            NavigationPanel(session, connections),
        )

    def close(self) -> None:
        """Stop recording, and disconnect all signals."""
        self._session.view_history.stop()
        self._connections.close()
        self._visited.close()
        self._queue.cancel()
        self._owner.deleteLater()
        # With the session and the layers of a slide that may be closed
        del self._session, self._owner, self._connections, self._memory, self._visited, self._queue


def _read_thumbnail(slide: TiledSlide, run: RunContext) -> QImage:
    """Read a thumbnail of a slide, in which damaged parts are marked."""
    from napari_melanoma.ui.widgets.thumbnails import to_qimage

    return to_qimage(slide.thumbnail_around_damage(THUMBNAIL_PX)[0])
