"""The Overview section of a slide: its thumbnail, and everything that moves the view."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtGui import QImage

from napari_melanoma.core.context import RunContext
from napari_melanoma.slides.reading.tiled import TiledSlide
from napari_melanoma.ui.sections.base import SlideSection
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
from napari_melanoma.ui.session.navigation import rotate_view
from napari_melanoma.ui.widgets.job import run_job
from napari_melanoma.ui.widgets.status_line import show_failure
from napari_melanoma.ui.widgets.style import row

if TYPE_CHECKING:
    from napari_melanoma.ui.session.slide import SlideSession

THUMBNAIL_PX = 640  # longer side of the picture in the overview


def show_view(session: SlideSession) -> None:
    """Rotate the slide as in its notes, and read its thumbnail."""
    rotate_view(session, session.notes.value.angle)
    if session.thumbnail.value is None:
        show_error = partial(show_failure, session.services.status)
        work = partial(_read_thumbnail, session.slide.slide)
        run_job(session.owner, "thumbnail", work, session.thumbnail.set, show_error)
    QTimer.singleShot(0, partial(update_scale_bar, session.services))  # after all else is shown


def record_views(session: SlideSession) -> None:
    """Record the views, after the view that was stored is shown."""
    session.view_history.start()


class OverviewSection(SlideSection):
    """Shows where the view is; also while it is collapsed, views are recorded, and view and display are restored."""

    parts = (show_view, DisplayMemory, VisitedArea, record_views)

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session)
        self.column.setSpacing(5)
        self.add(
            Overview(session),
            row(VisitedControls(session.part(VisitedArea)), ViewButtons(session), stretch=0),
            MagnificationButtons(session),
            RotationControls(session),
            NavigationPanel(session),
        )


def _read_thumbnail(slide: TiledSlide, run: RunContext) -> QImage:
    """Read a thumbnail of a slide, in which damaged parts are marked."""
    from napari_melanoma.ui.widgets.thumbnails import to_qimage

    return to_qimage(slide.thumbnail_around_damage(THUMBNAIL_PX)[0])
