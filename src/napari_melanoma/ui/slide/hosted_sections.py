"""Host the sections of ``ui.sections`` in the Slide dock: a session for each open slide, shown one at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.errors import PluginError
from napari_melanoma.ui.plugin_dialog import announce_new_files
from napari_melanoma.ui.sections import find_sections
from napari_melanoma.ui.sections.guarded import GuardedSection
from napari_melanoma.ui.session.slide import SlideSession, SlideSessions
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.shortcuts import SHORTCUTS, add_shortcut
from napari_melanoma.ui.widgets.job import BackgroundJob
from napari_melanoma.ui.widgets.style import add_to_section, column, problem_label, section

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qtpy.QtWidgets import QWidget
    from superqt import QCollapsible

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.notes import SlideNotes
    from napari_melanoma.ui.sections import Section
    from napari_melanoma.ui.session.location import SlideResultLocation
    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.slide.controls import SlideControls
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide


@dataclass
class HostedSection:
    """A section with its collapsible frame.

    ``is_added``: the dock has no place for it, so it was added above the others. ``is_shown``: it shows the session on
    the canvas. ``widget``: of the open section, None while it is closed.
    """

    frame: QCollapsible
    section: Section
    is_added: bool
    is_shown: bool = False
    widget: QWidget | None = None


class HostedSections(QObject):
    """Open the sections on the session of the displayed slide; close them when another slide is displayed.

    A section is shown in the frame of the dock that has its title. The session of a slide is kept until the slide is
    closed. ``session``: that of the displayed slide; None until its folder was found.
    """

    failed = Signal(object)

    def __init__(self, context: SlideContext, controls: SlideControls) -> None:
        super().__init__(context)
        self._context, self._controls = context, controls
        self.sessions = SlideSessions(self)
        self.session: SlideSession | None = None
        self.sections: dict[str, HostedSection] = {}  # by title
        self._is_open_first = True  # whether sections are expanded that the user has never expanded or collapsed
        context.flush_requested.connect(self.flush)
        context.tool_requested.connect(self._on_tool)
        self._search = BackgroundJob(_find_sections)
        self._search.succeeded.connect(self._on_found)
        self._search.failed.connect(self.failed)
        context.waiting.add_task(lambda: self._search.start(self))
        context.dock.destroyed.connect(self._close_sections)
        context.connections.connect(context.viewer.layers.events.removed, self._remove_closed)

    @property
    def notes(self) -> SlideNotes | None:
        """The notes of the displayed slide; None until they were found."""
        return None if self.session is None else self.session.notes.value

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show the session of a slide; that of a slide that was just opened follows when its folder is found.

        For the same slide with another scale, the sections are opened again.
        """
        self._close_sections()
        self.session = None
        self._remove_closed()
        known = None if slide is None else self.sessions.get(slide.identity)
        self.session = known if known is not None and known.slide == slide else None
        self._open_sections()

    def open_session(self, location: SlideResultLocation) -> SlideSession | None:
        """Return the session of the displayed slide, whose results were found; None if it is of another slide.

        Call ``show_session`` when the slide has the scale of its notes.
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
        self.sessions.add(session)
        return session

    def show_session(self) -> None:
        """Open the sections that are expanded."""
        self._show_defaults()
        self._open_sections()

    def flush(self) -> None:
        """Apply what is being typed or drawn, and save pending changes."""
        if self.session is not None:
            self.session.flush()

    def _remove_closed(self, _: object = None) -> None:
        """Remove the sessions of slides that were closed, also while another slide is displayed."""
        open_slides = {one.identity for one in slide_layers.list_slides(self._context.viewer)}
        for session in self.sessions:
            if session is not self.session and session.identity not in open_slides:
                self.sessions.remove(session.identity)

    def _on_found(self, sections: Mapping[str, Callable[[], Section]]) -> None:
        for title, create in sections.items():
            self._add(title, create())
        self._show_defaults()
        self._open_sections()
        announce_new_files()

    def _add(self, title: str, made: Section) -> None:
        """Add a section to its frame, which is created above the others if the dock has none of its title."""
        frame = self._controls.find_section(title)
        if frame is not None and isinstance(made, GuardedSection):
            self.failed.emit(made.plugin.make_error(f"expected a new title, found that of the section {title}"))
            return
        is_added = frame is None
        if frame is None:
            name = f"slide_{title.lower()}_section"
            frame = section(title, name, column(), self._context.settings, self._is_open_first)
            self._controls.add_section(frame)
        self.sections[title] = hosted = HostedSection(frame, made, is_added)
        frame.toggled.connect(partial(self._on_toggled, hosted))
        for tool in (one for one in made.tools if f"slide.{one}" in SHORTCUTS):
            add_shortcut(self._context.dock, f"slide.{tool}", partial(self._on_tool, tool))

    def _show_defaults(self) -> None:
        """Expand or collapse added sections as the user did last; at first use, expand them on real slides only.

        The overview is collapsed at first use while one of them is expanded.
        """
        added = [one.frame for one in self.sections.values() if one.is_added]
        for frame in added:
            self._show_default(frame, self._is_open_first)
        if added:
            self._show_default(self._controls.overview_section, not any(frame.isExpanded() for frame in added))

    def _show_default(self, frame: QCollapsible, default: bool) -> None:
        is_open = self._context.settings.is_section_open(frame.objectName(), default)
        if is_open != frame.isExpanded():
            frame.blockSignals(True)  # this is not the user's choice
            (frame.expand if is_open else frame.collapse)(animate=False)
            frame.blockSignals(False)

    def _open_sections(self) -> None:
        for hosted in self.sections.values():
            self._open(hosted)

    def _open(self, hosted: HostedSection) -> None:
        """Show a section on the canvas once its documents have been read, and its widgets if it is expanded."""
        session, part = self.session, hosted.section
        if session is None:
            return
        documents = [session.document(kind) for kind in part.documents]
        for document in documents:
            document.ready.connect(self._open_sections, unique=True)
        if not all(document.is_ready for document in documents):
            return
        problem = next((document.problem for document in documents if document.problem), "")
        if not problem and not hosted.is_shown:
            part.show(session)
            hosted.is_shown = True
        if hosted.widget is None and hosted.frame.isExpanded():
            hosted.widget = problem_label(problem) if problem else part.open(session)
            add_to_section(hosted.frame, hosted.widget)

    def _on_toggled(self, hosted: HostedSection, expanded: bool) -> None:
        if expanded:
            self._open(hosted)

    def _on_tool(self, name: str) -> None:
        """Expand the section of a tool, and start or stop the tool."""
        for hosted in self.sections.values():
            if self.session is not None and name in hosted.section.tools:
                hosted.frame.expand()
                if hosted.is_shown and hosted.widget is not None:
                    try:
                        hosted.section.toggle_tool(name)
                    except PluginError as error:
                        self.failed.emit(error)

    def _close_sections(self) -> None:
        if self.session is not None:
            self.session.flushing.emit()
        for hosted in self.sections.values():
            if hosted.is_shown:
                hosted.section.close()
                hosted.is_shown = False
            if hosted.widget is not None:
                hosted.widget.deleteLater()
                hosted.widget = None


def _find_sections(run: RunContext) -> Mapping[str, Callable[[], Section]]:
    return find_sections()
