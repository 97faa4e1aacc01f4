"""The sections of the Slide dock: a session for each open slide, shown one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer, Signal

from napari_melanoma.ui.sections.base import SlideSection
from napari_melanoma.ui.sections.host import SectionHost
from napari_melanoma.ui.session.document import Document
from napari_melanoma.ui.session.location import SlideResultLocation
from napari_melanoma.ui.session.slide import SlideSession, SlideSessions
from napari_melanoma.ui.slide.context import SlideContext
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

if TYPE_CHECKING:
    from napari_melanoma.ui.slide.controls import SlideControls


class HostedSections(SectionHost[SlideSession]):
    """Open the sections on the session of the displayed slide, which is kept until the slide is closed.

    ``session``: None until the folder of the displayed slide was found. ``session_changed``: emits it.
    """

    session_changed = Signal(object)

    def __init__(self, context: SlideContext, controls: SlideControls) -> None:
        super().__init__(controls, SlideSection, context.waiting)
        self._context = context
        self.sessions = SlideSessions(self)
        context.flush_requested.connect(self.flush)
        context.tool_requested.connect(self.toggle_tool)
        context.section_requested.connect(self.show_section)
        context.connections.connect(context.viewer.layers.events.removed, self._remove_closed)

    def show_slide(self, slide: ViewerSlide | None) -> None:
        """Show the session of a slide; that of a slide that was just opened follows when its folder is found.

        For the same slide with another scale, the sections are opened again.
        """
        known, previous = None if slide is None else self.sessions.get(slide.identity), self.session
        self.show_session(None)
        if known is not None and known is previous:
            self.remove_session(known)
            known.end_parts()
        self._remove_closed()
        self.show_session(known if known is not None and known.slide == slide else None)
        self.session_changed.emit(self.session)

    def open_session(self, location: SlideResultLocation) -> SlideSession | None:
        """Return the session of the displayed slide, whose results were found; None if it is of another slide.

        Call ``show_results`` when the slide has the scale of its notes.
        """
        slide, session = self._context.slide, self.session
        if slide is None or location.identity != slide.identity:
            return None
        self._is_open_first = not location.is_phantom
        if session is not None and session.folder == location.folder:
            session.update(location)
            return session
        self._close_sections()
        session = self.session = SlideSession(slide, location, self._context, self.sessions)
        if (replaced := self.sessions.get(slide.identity)) is not None:
            session.keep_views(replaced)
        session.closed.connect(partial(self._on_closed, session))
        self.sessions.add(session)
        session.displayed.set(True)
        self.session_changed.emit(session)
        return session

    def show_results(self) -> None:
        self._show_defaults()
        self._open_sections()

    def flush(self) -> None:
        """Apply what is being typed or drawn, and save pending changes."""
        if self.session is not None:
            self.session.flush()

    def _on_closed(self, session: SlideSession, identity: str) -> None:
        self.remove_session(session)

    def _find_documents(self, section: Any, session: SlideSession) -> Sequence[Document[Any]]:  # noqa: ANN401
        return [session.document(kind) for kind in (*section.documents, *section.awaited)]

    def _remove_closed(self, _: object = None) -> None:
        """Remove the sessions of slides that were closed, also while another slide is displayed."""
        open_slides = {one.identity for one in slide_layers.list_slides(self._context.viewer)}
        for session in self.sessions:
            if session is not self.session and session.identity not in open_slides:
                self.sessions.remove(session.identity)
                # Later, since napari may be removing several layers.
                QTimer.singleShot(0, partial(slide_layers.remove_left, self._context.viewer, session.identity))
