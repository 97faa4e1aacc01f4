"""Detection of the tissue of slides in the background, also of slides that are no longer displayed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui.session.tissue import DetectedTissue
from napari_melanoma.ui.viewer.slide_layers import slide_display_name
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.status_line import show_failure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.geometry import PixelSize
    from napari_melanoma.slides.reading.tiled import TiledSlide
    from napari_melanoma.slides.tissue import TissueMethod
    from napari_melanoma.ui.session.slide import SlideSession, SlideSessions
    from napari_melanoma.ui.widgets.status_line import StatusLine


CORRECTED = "The tissue of {} was corrected during detection: your corrections are kept. Detect again to replace them."


@dataclass(frozen=True, eq=False)
class PendingDetection:
    """A detection that is running or waiting.

    ``previous``: the method before it was requested. ``corrected``: the corrected tissue then, which it may replace.
    """

    slide_name: str
    previous: TissueMethod
    corrected: NDArray[np.bool_] | None

    def may_replace(self, corrected: NDArray[np.bool_] | None) -> bool:
        """Whether the tissue has not been corrected since the request."""
        if corrected is None or self.corrected is None:
            return corrected is None
        return np.array_equal(corrected, self.corrected)


class TissueDetections(QObject):
    """Detects the tissue of one slide at a time.

    ``detected``: the session of the slide, and its tissue. ``canceled``: the session, and the method before; also if
    the tissue was corrected in the meantime.
    """

    detected = Signal(object, object)  # SlideSession, DetectedTissue
    canceled = Signal(object, str)  # SlideSession, TissueMethod

    def __init__(self, status: StatusLine, sessions: SlideSessions) -> None:
        super().__init__(status)
        self._status, self._sessions = status, sessions
        self._pending: dict[str, PendingDetection] = {}  # by identity of the slide
        self._queue = LatestJobQueue(self)
        self._queue.succeeded.connect(self._on_done)
        status.cancelled.connect(self._on_canceled)
        sessions.changed.connect(self._drop_closed)

    def is_pending(self, session: SlideSession) -> bool:
        """Return whether the tissue of a slide is being detected."""
        return session.identity in self._pending

    def start(self, session: SlideSession, previous: TissueMethod) -> None:
        """Detect the tissue of the displayed slide; this replaces a pending detection."""
        slide, info = session.slide, session.slide.info
        replaced = self._pending.pop(session.identity, None)
        previous = previous if replaced is None else replaced.previous
        pending = PendingDetection(slide_display_name(info), previous, session.corrected_tissue)
        self._pending[session.identity] = pending
        self._queue.stop(session.identity)
        method = session.tissue.value.method
        work = partial(_try_detecting, session.identity, pending, slide.slide, info.pixel_size, method)
        self._queue.submit(session.identity, lambda: work)
        self.show_progress(session)

    def show_progress(self, displayed: SlideSession | None) -> None:
        """Show whether tissue is being detected, of which slide unless it is the displayed one."""
        if displayed is not None and self.is_pending(displayed):
            self._status.begin("finding", "Detecting tissue ...")
        elif self._pending:
            *_, last = self._pending.values()
            self._status.begin("finding", f"Detecting the tissue of {last.slide_name} ...")

    def _on_done(self, outcome: tuple[str, PendingDetection, DetectedTissue | Exception]) -> None:
        identity, pending, tissue = outcome
        session = self._sessions.get(identity)
        if self._pending.get(identity) is not pending:  # another one was requested, or the slide was closed
            return
        del self._pending[identity]
        if not self._pending:
            self._status.end("finding")
        if session is None:
            return
        if isinstance(tissue, Exception):
            show_failure(self._status, tissue)
        elif not pending.may_replace(session.corrected_tissue):
            self.canceled.emit(session, pending.previous)
            self._status.show_message(CORRECTED.format(pending.slide_name))
        else:
            self.detected.emit(session, tissue)

    def _on_canceled(self, task: str) -> None:
        """Cancel the detections of all slides."""
        if task != "finding":
            return
        canceled, self._pending = self._pending, {}
        self._queue.cancel()
        self._status.end("finding", "Canceled.")
        for identity, pending in canceled.items():
            if (session := self._sessions.get(identity)) is not None:
                self.canceled.emit(session, pending.previous)

    def _drop_closed(self) -> None:
        """Forget the detections of slides that were closed."""
        for identity in [one for one in self._pending if self._sessions.get(one) is None]:
            del self._pending[identity]
            self._queue.stop(identity)
            if not self._pending:
                self._status.end("finding")


def _try_detecting(
    identity: str,
    pending: PendingDetection,
    slide: TiledSlide,
    size: PixelSize | None,
    method: TissueMethod,
    run: RunContext,
) -> tuple[str, PendingDetection, DetectedTissue | Exception]:
    """Detect the tissue as the analysis does; return the slide and the request, and the tissue or an error.

    ``size``: of a pixel, None if unknown.
    """
    from napari_melanoma.slides.tissue import TissueConfig, read_overview, tissue_of_overview

    try:
        overview = read_overview(slide)
        run.check()
        mask, warnings = tissue_of_overview(slide.info, overview, TissueConfig(method=method), size, run)
    except Exception as error:  # noqa: BLE001 - shown to the user
        return identity, pending, error
    return identity, pending, DetectedTissue(mask, warnings, method)
