"""Host the sections of ``ui.sections`` in the Slide dock: a session for each open slide, shown one at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui.sections import find_sections
from napari_melanoma.ui.session.autosave import Autosave
from napari_melanoma.ui.session.slide import SlideSession, SlideSessions, SlideState
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.widgets.job import BackgroundJob
from napari_melanoma.ui.widgets.style import add_to_section, column, section

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qtpy.QtWidgets import QWidget
    from superqt import QCollapsible

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.ui.sections import Section
    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.slide.run_manager import SlideResultLocation
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide


@dataclass
class HostedSection:
    """A section with its collapsible frame; ``widget``: of the open section, None while it is closed."""

    frame: QCollapsible
    section: Section
    widget: QWidget | None = None


class HostedSections(QObject):
    """Open the sections on the session of the displayed slide; close them when another slide is displayed.

    The session of a slide is kept until the slide is closed. ``add_frame``: adds the frame of a section to the dock.
    ``below``: a section below, which is collapsed at first use while one of these is expanded.
    """

    failed = Signal(object)

    def __init__(self, context: SlideContext, add_frame: Callable[[QCollapsible], None], below: QCollapsible) -> None:
        super().__init__(context)
        self._context, self._add_frame, self._below = context, add_frame, below
        self.sessions = SlideSessions()
        self.autosave = Autosave(self)
        self.sections: dict[str, HostedSection] = {}  # by title
        self._is_open_first = True  # whether sections are expanded that the user has never expanded or collapsed
        self._session: SlideSession | None = None  # of the displayed slide; None until its strokes have been read
        self.autosave.failed.connect(self.failed)
        self.autosave.message.connect(context.status.show_message)
        context.flush_requested.connect(self.autosave.flush)
        context.run_manager.results_found.connect(self._on_results_found)
        self._search = BackgroundJob(_find_sections)
        self._search.succeeded.connect(self._on_found)
        self._search.failed.connect(self.failed)
        context.waiting.add_task(lambda: self._search.start(self))
        context.dock.destroyed.connect(self._close_sections)

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Close the sections of the previous slide; those of the new one are opened when its folder is found.

        For the same slide with another scale, the sections are opened again.
        """
        self._close_sections()
        if slide is not None and self._session is not None and self._session.slide == slide:
            self._open_sections()
            return
        self._session = None
        open_slides = {one.identity for one in slide_layers.list_slides(self._context.viewer)}
        for session in self.sessions:
            if session.identity not in open_slides:
                self.sessions.remove(session.identity)

    def _on_found(self, sections: Mapping[str, Callable[[], Section]]) -> None:
        settings = self._context.settings
        for title, create in sections.items():
            frame = section(title, f"slide_{title.lower()}_section", column(), settings, self._is_open_first)
            self.sections[title] = hosted = HostedSection(frame, create())
            frame.toggled.connect(partial(self._on_toggled, hosted))
            self._add_frame(frame)
        self._show_defaults()
        self._open_sections()

    def _on_results_found(self, location: SlideResultLocation) -> None:
        slide = self._context.slide
        if slide is None or location.identity != slide.identity or self._session is not None:
            return
        self._is_open_first = not location.is_phantom
        self._show_defaults()
        folder = location.slide_folder or location.folder
        session = self.sessions.get(slide.identity)
        if session is not None and session.folder == folder and session.slide == slide:
            self._show(session)
        else:
            self.autosave.read(folder, slide.info.origin, partial(self._on_read, slide, location))

    def _show_defaults(self) -> None:
        """Expand or collapse the sections as the user did last; at first use, expand them on real slides only."""
        for hosted in self.sections.values():
            self._show_default(hosted.frame, self._is_open_first)
        if self.sections:
            self._show_default(self._below, not any(one.frame.isExpanded() for one in self.sections.values()))

    def _show_default(self, frame: QCollapsible, default: bool) -> None:
        is_open = self._context.settings.is_section_open(frame.objectName(), default)
        if is_open != frame.isExpanded():
            frame.blockSignals(True)  # this is not the user's choice
            (frame.expand if is_open else frame.collapse)(animate=False)
            frame.blockSignals(False)

    def _on_read(self, slide: ViewerSlide, location: SlideResultLocation, state: SlideState) -> None:
        if self._context.slide is not slide or self._session is not None:
            return
        folder = location.slide_folder or location.folder
        session = SlideSession(slide, folder, self._context, self.sessions, state)
        self.sessions.add(session)
        self.autosave.follow(session)
        self._show(session)

    def _show(self, session: SlideSession) -> None:
        self._session = session
        self._open_sections()

    def _open_sections(self) -> None:
        for hosted in self.sections.values():
            self._open(hosted)

    def _open(self, hosted: HostedSection) -> None:
        """Open a section that is expanded, unless it is open."""
        if self._session is not None and hosted.widget is None and hosted.frame.isExpanded():
            hosted.widget = hosted.section.open(self._session)
            add_to_section(hosted.frame, hosted.widget)
            self._context.icons.apply()

    def _on_toggled(self, hosted: HostedSection, expanded: bool) -> None:
        if expanded:
            self._open(hosted)

    def _close_sections(self) -> None:
        for hosted in self.sections.values():
            if hosted.widget is not None:
                hosted.section.close()
                hosted.widget.deleteLater()
                hosted.widget = None


def _find_sections(run: RunContext) -> Mapping[str, Callable[[], Section]]:
    return find_sections()
