"""One open slide: its layers, the folders of its results, its notes, and its documents, whatever their kinds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.compat import isalive
from qtpy.QtCore import QObject
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QAbstractButton, QMainWindow, QWidget

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.provenance import utc_time
from napari_melanoma.slides.notes import SlideMeasurement, SlideNotes
from napari_melanoma.ui.session.document import Document, DocumentKind, Edited, Shared, SlideFolder
from napari_melanoma.ui.session.image import ImageSession, PartOwner
from napari_melanoma.ui.session.location import SlideResultLocation
from napari_melanoma.ui.session.patient_data import PatientData
from napari_melanoma.ui.session.results import AnalysisResults, SlideHeatmapDisplay, SlideResults
from napari_melanoma.ui.session.run_status import SlideRunUpdate, analysis_identity
from napari_melanoma.ui.session.tissue import TissueState
from napari_melanoma.ui.session.workspace import Workspace
from napari_melanoma.ui.viewer.slide_layers import ViewerSlide
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.status_line import StatusLine, show_failure
from napari_melanoma.ui.widgets.style import ThemedIcons

if TYPE_CHECKING:
    from napari.viewer import Viewer


Value = TypeVar("Value")
READING_LINK = "reading"  # link of the status line that turns the reading mode on or off
log = logging.getLogger(__name__)


class SessionServices(Protocol):
    """What a window offers to the sections of its sessions.

    ``workspace``: what is open in the viewer. ``dock``: with the sections. ``window``: that dialogs belong to.
    ``reading``: whether the reading mode is on, which a link ``READING_LINK`` in the status line turns on.
    ``tool_buttons``: of the tools on the canvas, checked while a tool is active. ``class_key_pressed``: emits the
    number of the class to use with the active tool. ``reader_changed``: emits the new name of the reader. Requests:
    emit ``analysis_requested`` with the name of a model to analyze the displayed slide with, ``slide_requested`` with
    the file of a slide to display, ``scale_requested`` to set the scale, ``section_requested`` with the title of a
    section to show, and ``tool_requested`` with the name of a tool of a section, to expand that section and start or
    stop the tool.
    """

    viewer: Viewer
    workspace: Workspace
    settings: DockSettings
    icons: ThemedIcons
    status: StatusLine
    dock: QWidget
    reading: Shared[bool]
    tool_buttons: list[QAbstractButton]
    class_key_pressed: Any  # a signal of Qt, which has no type of its own
    reader_changed: Any
    analysis_requested: Any
    slide_requested: Any
    scale_requested: Any
    section_requested: Any
    tool_requested: Any

    @property
    def window(self) -> QWidget:
        """The window of the viewer."""

    @property
    def main_window(self) -> QMainWindow | None:
        """The window of the viewer, also if the dock floats; None until the dock is in a window."""

    @property
    def pixel_ratio(self) -> float:
        """Screen pixels along each logical pixel."""

    @property
    def reader(self) -> str:
        """Name of the reader; empty if not given."""

    def set_reader(self, name: str) -> None:
        """Store the name of the reader, and show it in all sections."""

    def save_notes(self, location: SlideResultLocation) -> None:
        """Save the notes of a slide in the background."""

    def follow_scale(self, location: SlideResultLocation) -> bool:
        """Use the stored scale of the displayed slide if another program has changed it; return whether it has."""


class OpenSlide(ImageSession):
    """One open slide with the values that its sections show and edit.

    - ``notes``: bookmarks, measurements, angle, colors ...; change them with ``edit_notes``
    - ``measures``, ``selected_measure``: the measurements of the notes, with undo; the index of the selected one or -1
    - ``document``: values with files of their own
    - ``selected_regions``, ``selected_lesions``: the ids of the selected regions, the numbers of the selected lesions
    - ``is_display_restored``: view and layers are as in the notes
    - ``thumbnail``, ``visited``: images of the whole slide, the second transparent; None until they are known
    - ``run``: the latest update of the analysis of this slide; None until there is one
    - ``analysis``: identity of its finished analysis whose results are in the folder; empty until it is known
    - ``patient_data``: of the case of the slide, and what was edited in a dock
    - ``tissue``: detected and corrected
    - ``results``, ``heatmap_display``: what is shown of the results, and how the heatmap is displayed
    - ``rotated``: the slide was rotated in the view
    - ``closed``: the slide was closed; emits its identity
    - ``sessions``: those of all open slides
    """

    rotated, closed = Signal(), Signal(str)

    def __init__(
        self, slide: ViewerSlide, location: SlideResultLocation, services: SessionServices, sessions: ClosedDocuments
    ) -> None:
        super().__init__(self._on_pending_error, sessions.parent)
        self.slide, self.services, self.sessions = slide, services, sessions
        self._location = location
        self._documents: dict[str, Document[Any]] = {}
        self.notes: Shared[SlideNotes] = Shared(location.notes)
        self.measures: Edited[tuple[SlideMeasurement, ...]] = Edited(location.notes.measures)
        self.measures.edited.connect(self._on_measures)
        self.selected_measure: Shared[int] = Shared(-1)
        self.selected_regions: Shared[tuple[str, ...]] = Shared(())
        self.selected_lesions: Shared[tuple[int, ...]] = Shared(())
        self.is_display_restored = False
        self.thumbnail: Shared[QImage | None] = Shared(None)
        self.visited: Shared[QImage | None] = Shared(None)
        self.run: Shared[SlideRunUpdate | None] = Shared(None)
        self.run.changed.connect(self._on_run_update)
        self.analysis: Shared[tuple[object, ...]] = Shared(())
        self.tissue: Shared[TissueState] = Shared(location.tissue)
        self.results = SlideResults(AnalysisResults())

    @property
    def identity(self) -> str:
        """The absolute path of the slide."""
        return self.slide.identity

    @property
    def location(self) -> SlideResultLocation:
        """The folders of the results of the whole slide, with the current notes."""
        return replace(self._location, notes=self.notes.value)

    @property
    def folder(self) -> Path:
        """The result folder of the slide."""
        return self._location.folder

    @cached_property
    def heatmap_display(self) -> SlideHeatmapDisplay:
        """How the heatmap is displayed, at first as stored in the notes."""
        return SlideHeatmapDisplay(self.services.settings, self.notes.value.layers.get("heatmap"))

    @property
    def result_location(self) -> SlideResultLocation:
        """The folders of the shown results, with the current notes."""
        return self.location.of_view if self.results.value.is_view else self.location

    @property
    def corrected_tissue(self) -> NDArray[np.bool_] | None:
        """The corrected tissue, bool (row, column) of the whole slide; None if it was not corrected."""
        return self.tissue.value.mask if self.tissue.value.is_corrected else None

    @property
    def slide_folder(self) -> SlideFolder:
        """The file of the slide and its result folder."""
        return SlideFolder(self.slide.info.path, self.folder, self.slide.info.origin)

    @property
    def patient_data(self) -> PatientData:
        """The patient data of the slide."""
        return PatientData(self.slide.layers[0], self.slide.info.path, self.services.workspace)

    @property
    def ruler_line(self) -> SlideMeasurement | None:
        """The selected line of the measurements, otherwise the last line; None if no line was drawn."""
        measures, selected = self.measures.value, self.selected_measure.value
        lines = [*(one for one in measures if one.kind == "line"), *measures[selected : selected + 1]]
        return next((one for one in reversed(lines) if one.kind == "line"), None)

    def document(self, kind: DocumentKind[Value]) -> Document[Value]:
        """Return the document of a kind; it is read from the folder when it is first requested."""
        if kind.name not in self._documents:
            create = kind.create
            self._add_document(create(self) if create else Document(kind, self.slide_folder, self.sessions.parent))
        return cast("Document[Value]", self._documents[kind.name])

    def _add_document(self, document: Document[Any]) -> None:
        """Keep a document under the name of its kind; its messages are shown in the status line."""
        self._documents[document.kind.name] = document
        self.sessions.read_after_closing(document)
        status = self.services.status
        document.message.connect(status.show_message)
        document.noted.connect(status.add_note)
        document.failed.connect(lambda error: show_failure(status, error, document.edited))

    def edit_notes(self, edit: Callable[[SlideNotes], SlideNotes]) -> None:
        """Change the notes by a function, and save them."""
        notes = edit(self.notes.value)
        if notes != self.notes.value:
            self.notes.set(replace(notes, fingerprint=self.slide.info.fingerprint))
            self.services.save_notes(self.location)

    def set_scale(self, size: PixelSize | None, before: PixelSize | None) -> None:
        """Save the pixel size that the user gave, None for that of the file, with the change of the current scale.

        ``before``: the previous one.
        """
        from napari_melanoma.slides.notes import ScaleChange

        change = ScaleChange(before, self.slide.info.pixel_size, self.services.reader, utc_time())
        changes = (change,) if change.before != change.after else ()
        self.edit_notes(lambda notes: replace(notes, pixel_size=size, scale_changes=(*notes.scale_changes, *changes)))

    def update(self, location: SlideResultLocation) -> None:
        """Use what was found when the slide is displayed again; own changes of notes and tissue are kept."""
        if self.notes.value is not location.known_notes:
            location = replace(location, notes=self.notes.value, notes_file=self._location.notes_file)
        tissue, known, self._location = self.tissue.value, self._location.tissue, location
        self.notes.set(location.notes)
        self.measures.push(location.notes.measures)
        is_read = tissue.mask is None or tissue.has_mask_of(known)
        if is_read and location.tissue.mask is not None and not tissue.has_mask_of(location.tissue):
            self.tissue.set(location.tissue)

    def flush(self) -> None:
        """Save everything now: the window may be about to close."""
        self.commit_requested.emit()
        for document in self._documents.values():
            document.flush()

    def close(self) -> None:
        """Save everything, and stop all tasks: the slide was closed."""
        self.closed.emit(self.identity)
        self.end_parts()
        for document in self._documents.values():
            document.close()
        self.sessions.keep_closing(self._documents.values())

    def _on_pending_error(self, error: Exception) -> None:
        """Show why pending input could not be applied, or log it if the window is being closed."""
        if isalive(self.services.status):
            show_failure(self.services.status, error)
        else:
            log.error("%s: pending input was not applied: %s", self.identity, error)

    def _on_run_update(self, update: SlideRunUpdate | None) -> None:
        if update is not None and update.status.path == self.result_location.folder:
            self.results.follow(update)
        if update is not None and update.status.path == self.folder and str(update.status.state) == "finished":
            analysis = analysis_identity(update.content)
            if analysis != self.analysis.value:
                self.analysis.set(analysis)

    def _on_measures(self) -> None:
        self.edit_notes(lambda notes: replace(notes, measures=self.measures.value))


class ClosedDocuments(PartOwner):
    """Keeps the documents of closed slides until they are saved; ``parent``: of the tasks of all slides."""

    def __init__(self, parent: QObject) -> None:
        super().__init__()
        self.parent = parent
        self._closing: tuple[Document[Any], ...] = ()  # of closed sessions, whose edits are still computed and saved

    def keep_closing(self, documents: Iterable[Document[Any]]) -> None:
        """Keep documents of a closed session until their pending edits are saved."""
        closing = tuple(one for one in documents if one.is_ready and one.queue.busy)
        self._closing += closing
        for document in closing:
            document.queue.idle.connect(self._drop_closed)

    def read_after_closing(self, document: Document[Any]) -> None:
        """Read a document only when edits of its file in a closed session are saved, so that it contains them."""
        for closing in self._closing:
            if (closing.kind, closing.location) == (document.kind, document.location):
                document.queue.wait_for(closing.queue)

    def _drop_closed(self) -> None:
        """Keep no document, whose session holds the layers of its slide, longer than necessary."""
        self._closing = tuple(one for one in self._closing if one.queue.busy)
