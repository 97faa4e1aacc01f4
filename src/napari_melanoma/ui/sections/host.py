"""A dock as a list of sections, each with one widget for each open image: a stack that shows those of one image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar
from weakref import ref

from qtpy.compat import isalive
from qtpy.QtCore import QObject, QPoint, QTimer, Signal
from qtpy.QtWidgets import QApplication, QLineEdit, QScrollArea, QWidget

from napari_melanoma.core.errors import PluginError
from napari_melanoma.ui.sections import find_sections
from napari_melanoma.ui.sections.base import ImageSection
from napari_melanoma.ui.sections.choice import SectionDock
from napari_melanoma.ui.sections.guarded import GuardedSection
from napari_melanoma.ui.session.document import Document
from napari_melanoma.ui.session.image import ImageSession
from napari_melanoma.ui.viewer.camera import find_canvas, find_main_window
from napari_melanoma.ui.viewer.docking import DeferredWidgets
from napari_melanoma.ui.viewer.shortcuts import SHORTCUTS, add_shortcut
from napari_melanoma.ui.widgets.job import BackgroundJob, cancel_jobs
from napari_melanoma.ui.widgets.style import CollapsibleSection, KeptRoom, problem_label, section, section_title

Session = TypeVar("Session", bound=ImageSession)


@dataclass
class HostedSection(Generic[Session]):
    """A section with its place in the dock.

    ``section``: creates the widget of an image. ``opens_first``: whether it may be expanded at first. ``is_shown``: its
    stored values are shown on the canvas. ``widget``: that is displayed. ``widgets``: those of the open images.
    """

    frame: QWidget
    section: Any
    opens_first: bool
    is_shown: bool = False
    widget: QWidget | None = None
    widgets: dict[Session, QWidget] = field(default_factory=dict)

    @property
    def is_expanded(self) -> bool:
        """Whether its widgets are needed; always if the place is not collapsible."""
        return not isinstance(self.frame, CollapsibleSection) or self.frame.is_expanded


class SectionHost(QObject, Generic[Session]):
    """Open the sections of a base class on the displayed session, each in the part of the dock that has its title.

    ``session``: that is displayed; None for none. ``is_open_first``: whether sections for which the dock has no place,
    and its ``first_sections``, are expanded if the user has never expanded or collapsed them.
    """

    failed = Signal(object)

    def __init__(
        self,
        dock: SectionDock,
        base: type[ImageSection[Any]],
        deferred: DeferredWidgets,
        *,
        is_open_first: bool = True,
    ) -> None:
        super().__init__(dock)
        self.dock = dock
        self.session: Session | None = None
        self.sections: dict[str, HostedSection[Session]] = {}  # by title
        self._is_open_first = is_open_first
        self._requested_tool: tuple[Session, str] | None = None  # started once its section is made
        self._search = BackgroundJob(lambda run: find_sections(base))
        self._search.succeeded.connect(self._on_found)
        self._search.failed.connect(self.failed)
        deferred.add_task(lambda: self._search.start(self))
        self._canvas: ref[QWidget] | None = None  # of the window of the dock
        dock.destroyed.connect(self._on_destroyed)
        dock.choice.find_content = self._find_content

    def show_session(self, session: Session | None) -> None:
        """Hide the sections of the displayed session, and show those of another one."""
        focused = self._find_focused()
        try:
            self._close_sections()
        finally:
            self.session = session
            if session is not None:
                session.displayed.set(True)
            self._open_sections()
        for title, name in focused.items():
            widget = self.sections[title].widget
            if widget is not None and (field := widget.findChild(QWidget, name)) is not None:
                field.setFocus()

    def remove_session(self, session: Session) -> None:
        """Delete the sections of an image that was closed, or has another scale."""
        session.displayed.set(False)  # stops tools
        for hosted in self.sections.values():
            if (widget := hosted.widgets.pop(session, None)) is not None:
                if widget is hosted.widget:
                    _show_widget(hosted, None)
                cancel_jobs(widget)
                widget.setParent(None)  # not found by its name any more
                widget.deleteLater()

    def _find_focused(self) -> dict[str, str]:
        """Return the name of the widget with the keyboard focus by the title of its section, if it is in one."""
        focus = QApplication.focusWidget()
        return {
            title: focus.objectName()
            for title, hosted in self.sections.items()
            if focus is not None and focus.objectName() and hosted.widget is not None
            if hosted.widget.isAncestorOf(focus)
        }

    def show_section(self, title: str) -> None:
        """Expand a section, and scroll to its title."""
        frame = self.dock.list_places().get(title)
        if isinstance(frame, CollapsibleSection):
            frame.expand()
            QTimer.singleShot(0, partial(_scroll_to, frame))  # after its widgets were laid out

    def toggle_tool(self, name: str) -> None:
        """Expand the section of a tool, and start or stop the tool; if it is not made yet, once it is."""
        session, self._requested_tool = self.session, None
        if session is None:
            return
        found = [hosted for hosted in self.sections.values() if name in hosted.section.tools]
        for hosted in found:
            if isinstance(hosted.frame, CollapsibleSection):
                hosted.frame.expand()
        if not any(hosted.is_shown and hosted.widget is not None for hosted in found):
            self._requested_tool = session, name
        for hosted in found:
            if hosted.is_shown and hosted.widget is not None:
                widget: Any = hosted.widget
                try:
                    widget.toggle_tool(name)
                except PluginError as error:
                    self.failed.emit(error)

    def _start_requested(self) -> None:
        """Start the tool that was requested before its section was made, unless another image is displayed by now."""
        if self._requested_tool is not None:
            (session, name), self._requested_tool = self._requested_tool, None
            if session is self.session:
                self.toggle_tool(name)

    def _on_found(self, sections: Mapping[str, Any]) -> None:
        for title, create in sections.items():
            self._add(title, create)
        self.dock.choice.update()
        self._show_defaults()
        self._open_sections()

    def _add(self, title: str, create: Any) -> None:  # noqa: ANN401 - a class of sections, or ``GuardedSection``
        """Add a section to its place; the dock adds a frame if it has none of this title."""
        dock, place = self.dock, self.dock.list_places().get(title)
        if place is not None and isinstance(create, GuardedSection):
            self.failed.emit(create.plugin.make_error(f"expected a new title, found that of the section {title}"))
            return
        opens_first = place is None or title in dock.first_sections
        if place is None:
            name = f"{dock.name}_{title.lower()}_section"
            place = frame = section(title, name, None, dock.settings, self._is_open_first)
            dock.add_section(frame)
        hosted: HostedSection[Session] = HostedSection(place, create, opens_first)
        self.sections[title] = hosted
        if isinstance(place, CollapsibleSection):
            place.toggled.connect(partial(self._on_toggled, hosted))
        for tool in (one for one in create.tools if f"{dock.name}.{one}" in SHORTCUTS):
            add_shortcut(dock, f"{dock.name}.{tool}", partial(self.toggle_tool, tool))

    def _show_defaults(self) -> None:
        """Expand or collapse sections as the user did last."""
        for hosted in self.sections.values():
            if hosted.opens_first and isinstance(hosted.frame, CollapsibleSection):
                self._show_default(hosted.frame, self._is_open_first)

    def _show_default(self, frame: CollapsibleSection, default: bool) -> None:
        is_open = self.dock.settings.is_section_open(frame.objectName(), default)
        if self.dock.choice.is_hidden(section_title(frame)):
            return
        if is_open != frame.is_expanded:
            frame.blockSignals(True)  # this is not the user's choice
            (frame.expand if is_open else frame.collapse)()
            frame.blockSignals(False)

    def _find_documents(self, section: Any, session: Session) -> Sequence[Document[Any]]:  # noqa: ANN401
        """Return the documents that must be read before a section is shown."""
        return ()

    def _find_content(self) -> list[str]:
        """Return the titles of the sections with stored values of the displayed session."""
        session = self.session
        if session is None:
            return []
        return [title for title, hosted in self.sections.items() if hosted.section.has_content(session)]

    def _open_sections(self) -> None:
        if self.session is None:
            return  # the sections of the previous image stay until those of the next one are known
        if self._canvas is None and (window := find_main_window(self.dock)) is not None:
            canvas = find_canvas(window)
            self._canvas = None if canvas is None else ref(canvas)
        with ExitStack() as steps:  # all are opened, also if one fails
            steps.callback(self._start_requested)
            steps.callback(self.dock.choice.update)  # last: what was read may be content
            for hosted in reversed(self.sections.values()):
                steps.callback(self._open, hosted)

    def _open(self, hosted: HostedSection[Session]) -> None:
        """Show a section on the canvas once its documents have been read, and its widgets if it is expanded."""
        session, create = self.session, hosted.section
        if session is None:
            return
        documents = self._find_documents(create, session)
        for document in documents:
            document.ready.connect(self._open_sections, unique=True)
            document.changed.connect(self.dock.choice.update, unique=True)
        if not all(document.is_ready for document in documents):
            return
        own = [document for document in documents if document.kind in create.documents]
        problem = next((document.problem for document in own if document.problem), "")
        if not problem and not hosted.is_shown:
            for part in create.parts:
                session.part(part)
            hosted.is_shown = True
        if hosted.widget is None and hosted.is_expanded:
            if session not in hosted.widgets:
                widget = hosted.widgets[session] = problem_label(problem) if problem else create(session)
                for line in widget.findChildren(QLineEdit):
                    line.setAcceptDrops(False)  # the dock opens files that are dropped on it
            _show_widget(hosted, hosted.widgets[session])

    def _on_toggled(self, hosted: HostedSection[Session], expanded: bool) -> None:
        if expanded:
            self._open(hosted)

    def _on_destroyed(self) -> None:
        """Apply what was drawn; stop tools unless the canvas is gone as well, on which napari would draw the rest."""
        canvas = None if self._canvas is None else self._canvas()
        if self._canvas is None or (canvas is not None and isalive(canvas)):
            self._close_sections()
        elif self.session is not None:
            self.session.commit_requested.emit()

    def _close_sections(self) -> None:
        session = self.session
        if session is not None:
            session.commit_requested.emit()
        for hosted in self.sections.values():
            hosted.is_shown = False
            _show_widget(hosted, None)
            for document in () if session is None else self._find_documents(hosted.section, session):
                document.changed.disconnect(self.dock.choice.update)
        if session is not None:
            session.displayed.set(False)


def _scroll_to(frame: QWidget) -> None:
    """Scroll the page that a frame is in to its top."""
    area = frame.parentWidget()
    while area is not None and not isinstance(area, QScrollArea):
        area = area.parentWidget()
    page = None if area is None else area.widget()
    if area is not None and page is not None:
        area.verticalScrollBar().setValue(frame.mapTo(page, QPoint()).y())


def _show_widget(hosted: HostedSection[Session], widget: QWidget | None) -> None:
    """Show a widget in the frame of a section instead of the displayed one; with None, state that it is being read."""
    previous, hosted.widget = hosted.widget, widget
    if previous is not None:
        focus = QApplication.focusWidget()
        if focus is not None and previous.isAncestorOf(focus):
            focus.clearFocus()  # Qt would give it to a widget below, which would be kept in place
        previous.hide()
    if widget is None:
        if isinstance(hosted.frame, KeptRoom):
            hosted.frame.clear()
    else:
        if isinstance(hosted.frame, KeptRoom):
            hosted.frame.add_widget(widget)
        else:
            hosted.frame.layout().addWidget(widget)
        widget.lower()  # findChild finds it by its name before those of other images
        widget.show()
