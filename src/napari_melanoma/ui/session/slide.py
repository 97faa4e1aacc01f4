"""The session of a slide: everything about one open slide, which its sections share; and those of all open slides."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from psygnal import Signal
from qtpy.QtCore import QObject

from napari_melanoma.ui.session.annotations import REGION_DOCUMENT, Annotations
from napari_melanoma.ui.session.counts import COUNT_DOCUMENT
from napari_melanoma.ui.session.document import Document, Shared
from napari_melanoma.ui.session.lesions import LesionDocument
from napari_melanoma.ui.session.navigation import ViewHistory
from napari_melanoma.ui.session.open_slide import ClosedDocuments, OpenSlide
from napari_melanoma.ui.session.strokes import STROKE_DOCUMENT, Command, PaintState

if TYPE_CHECKING:
    from napari_melanoma.slides.counts import CountedPoints
    from napari_melanoma.slides.regions import Regions
    from napari_melanoma.ui.session.depth import FindingsDocument, SynopticForm


class SlideSession(OpenSlide):
    """An open slide with its documents by name; sections meet here and know nothing of each other.

    - ``painted``, ``regions``, ``points``, ``findings``: the values of the documents of these kinds
    - ``synoptic``: the form of the synoptic report, a view of the findings
    - ``lesions``: in the shown results
    - ``annotations``: the common undo of regions, measurements, points and lesions
    - ``view_history``: the views of the slide
    """

    sessions: SlideSessions

    @cached_property
    def view_history(self) -> ViewHistory:
        """The views of the slide, recorded while it is displayed."""
        return ViewHistory(self)

    @property
    def painted(self) -> Document[PaintState]:
        """The strokes and classes of the Paint section."""
        return self.document(STROKE_DOCUMENT)

    @property
    def regions(self) -> Document[Regions]:
        """The regions of the slide."""
        return self.document(REGION_DOCUMENT)

    @property
    def points(self) -> Document[CountedPoints]:
        """The counted points of the slide."""
        return self.document(COUNT_DOCUMENT)

    @cached_property
    def annotations(self) -> Annotations:
        """Undo and redo of everything that is drawn on the slide."""
        return Annotations(self)

    @property
    def lesions(self) -> LesionDocument:
        """The lesions in the shown results."""
        return LesionDocument.of(self)

    @property
    def findings(self) -> FindingsDocument:
        """The findings of the slide: the readings and the synoptic report."""
        from napari_melanoma.ui.session.depth import FindingsDocument

        return FindingsDocument.of(self)

    @property
    def synoptic(self) -> SynopticForm:
        """The form of the synoptic report, a view of the findings."""
        return self.findings.form

    def keep_views(self, replaced: SlideSession) -> None:
        """Keep the views of a session of the same file, such as before the folder of the results was changed."""
        if replaced.slide.slide is self.slide.slide:
            self.is_display_restored = replaced.is_display_restored
            self.view_history.trail = replaced.view_history.trail

    def check_files(self) -> bool:
        """Follow what other programs have changed since the files were read.

        Returns whether they have changed the findings or the scale.
        """
        if "findings" not in self._documents:
            return False
        is_changed = self.findings.reload_if_changed()
        self.synoptic.compare_files()
        return self.services.follow_scale(self.location) or is_changed


class SlideSessions(ClosedDocuments):
    """The sessions of the open slides.

    ``changed``: a session was added or removed, or the strokes of a session have changed.
    ``second``: identity of the slide in the second view; empty while that is closed.
    """

    changed = Signal()

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.second: Shared[str] = Shared("")
        self._sessions: dict[str, SlideSession] = {}

    def __iter__(self) -> Iterator[SlideSession]:
        """Iterate over the sessions, in the order in which the slides were opened."""
        return iter(tuple(self._sessions.values()))

    def get(self, identity: str) -> SlideSession | None:
        """Return the session of a slide; None if it has none."""
        return self._sessions.get(identity)

    def add(self, session: SlideSession) -> None:
        """Add a session, which replaces that of the same slide."""
        self.remove(session.identity)
        self._sessions[session.identity] = session
        session.painted.changed.connect(self._on_changed)
        self.changed.emit()

    def remove(self, identity: str) -> None:
        """Remove the session of a slide that was closed."""
        session = self._sessions.pop(identity, None)
        if session is not None:
            session.painted.changed.disconnect(self._on_changed)
            session.close()
            self.changed.emit()

    def apply(self, command: Command) -> None:
        """Apply a command to the strokes of all slides, such as another name of a class."""
        for session in self:
            session.painted.apply(command)

    def _on_changed(self, state: PaintState) -> None:
        self.changed.emit()
