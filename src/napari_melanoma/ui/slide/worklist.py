"""The Worklist section of the Slide dock: the slides in a folder with the state of their analyses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QWidget

from napari_melanoma.core.formatting import format_count
from napari_melanoma.ui.library.listing import create_image
from napari_melanoma.ui.library.model import LibraryModel
from napari_melanoma.ui.library.resolve import LibraryImage, count_states
from napari_melanoma.ui.library.states import ReadStates, SlideStates
from napari_melanoma.ui.library.view import LibraryView
from napari_melanoma.ui.viewer.docking import show_dock
from napari_melanoma.ui.viewer.shortcuts import add_shortcut, format_key
from napari_melanoma.ui.widgets.dialogs import choose_folder
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.status_line import describe_failure, show_failure
from napari_melanoma.ui.widgets.style import fill_column, named, quiet_label, row, tool_button
from napari_melanoma.ui.widgets.thumbnails import ImageThumbnails

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.ui.session.run_status import SlideRunUpdate
    from napari_melanoma.ui.session.slide import SlideSession
    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.slide.hosted_sections import HostedSections
    from napari_melanoma.ui.widgets.job import JobFunction
    from napari_melanoma.ui.widgets.style import CollapsibleSection, ThemedIcons

FOLDER_SETTING = "slide/worklist"
REFRESH_MS = 3000
READING_SHARE = 0.05  # of the time that may be spent on reading: 5,000 analyzed slides take 5 s
MAX_INTERVAL_S = 60.0  # between readings of the folder, however slow they are
HEIGHT, PICTURE_PX = 170, 34
NEXT_KEY, PREVIOUS_KEY = format_key("slide.list_next"), format_key("slide.list_previous")
NO_FOLDER = "No folder yet. Open a slide or choose a folder."


class WorklistView(QWidget):
    """List of slides, with the name of the folder above it and buttons below it."""

    slide_chosen = Signal(object)  # Path
    folder_requested = Signal()
    tray_requested = Signal()

    def __init__(self, states: SlideStates, icons: ThemedIcons) -> None:
        super().__init__()
        self._folder: Path | None = None
        self.folder_label = named(quiet_label(NO_FOLDER), "worklist_summary", "Folder of slides")
        self.thumbnails = ImageThumbnails(2 * PICTURE_PX, self)
        self.model = LibraryModel(self.thumbnails, self, states)
        self.list = LibraryView(self.model, icons, "worklist", opening="click", picture_px=PICTURE_PX)
        self.list.setToolTip("Click a slide to open it")
        self.list.setFixedHeight(HEIGHT)
        fill_column(self, self.folder_label, self.list, self._create_buttons())
        self.list.open_requested.connect(lambda images: self.slide_chosen.emit(images[0].path))
        self._label_timer = QTimer(self)  # counts the slides once after changes of many rows
        self._label_timer.setSingleShot(True)
        self._label_timer.setInterval(0)
        self._label_timer.timeout.connect(self.update_label)
        self.model.dataChanged.connect(lambda: self._label_timer.start())

    def _create_buttons(self) -> QWidget:
        folder_button = tool_button("worklist_folder", "Choose a folder", "Choose a folder of slides", "folder ...")
        previous_button = tool_button(
            "worklist_previous", "Previous slide", f"Open the previous slide ({PREVIOUS_KEY})", "previous"
        )
        next_button = tool_button("worklist_next", "Next slide", f"Open the next slide ({NEXT_KEY})", "next")
        tray_button = tool_button("worklist_tray", "Tray", "Show thumbnails of the folder in the Tray", "tray")
        folder_button.clicked.connect(self.folder_requested)
        tray_button.clicked.connect(self.tray_requested)
        previous_button.clicked.connect(lambda: self.choose_adjacent(-1))
        next_button.clicked.connect(lambda: self.choose_adjacent(1))
        return row(previous_button, next_button, folder_button, tray_button)

    @property
    def current_row(self) -> int:
        """Row of the displayed slide; -1 if it is not in the folder."""
        return self.model.find_index(self.model.displayed).row()

    def show_slides(self, folder: Path, slides: Sequence[LibraryImage]) -> None:
        """Show the slides of a folder; the selected slide stays selected and in view."""
        is_new, self._folder = folder != self._folder, folder
        self.model.images = slides
        self.thumbnails.set_images({slide.path: True for slide in slides})
        self.list.update_order()
        if is_new or not self.list.selected_images:
            self.list.select_path(self.model.displayed)
        self.update_label()

    def show_current(self, slide: Path | None) -> None:
        """Mark and select the displayed slide."""
        self.model.set_displayed(slide)
        if self.current_row >= 0:
            self.list.select_path(slide)

    def choose_adjacent(self, direction: int) -> None:
        """Choose the next (1) or previous (-1) slide, or the first if the displayed slide is not in the folder."""
        line = self.current_row + direction if self.current_row >= 0 else 0
        if 0 <= line < len(self.model.rows):
            self.slide_chosen.emit(self.model.rows[line].path)

    def update_label(self) -> None:
        """Show the folder, and the number of slides in each state."""
        folder, slides = self._folder, self.model.images
        if folder is not None:
            states = Counter(self.model.get_state(slide).state for slide in slides)
            counts = count_states(states) or format_count(len(slides), "slide")
            self.folder_label.setText(f"{folder.name or folder}: {counts if slides else 'no slides'}")
            self.folder_label.setToolTip(str(folder))


class SlideWorklist(QObject):
    """Fill the section when it is first opened, and refresh it while it is visible.

    The states of the visible rows are read every few seconds. The folder and the states of all its slides, which the
    label counts, are read as often only if that is fast, else at longer intervals (see ``READING_SHARE``). They are
    read at once when the section is opened, a folder is chosen or an analysis has ended.
    """

    def __init__(self, context: SlideContext, section: CollapsibleSection, hosted: HostedSections) -> None:
        super().__init__(context)
        self._context, self._section = context, section
        self._view: WorklistView | None = None
        self._states = SlideStates(context.settings, self)
        self._states.failed.connect(lambda error: context.status.show_message(describe_failure(error)))
        self._source: tuple[Path, Path] | None = None  # folder of slides, and folder for results
        self._next_reading = 0.0  # time of the next reading of the folder, as time.monotonic
        self._requested = 0.0  # time of the last request to read the folder at once
        self._latest = LatestJobQueue(self)
        self._latest.succeeded.connect(lambda finish: finish())
        self._latest.failed.connect(partial(show_failure, context.status))
        self._timer = QTimer(self)
        self._timer.setInterval(REFRESH_MS)
        self._timer.timeout.connect(self.refresh)
        for name, direction in (("slide.list_next", 1), ("slide.list_previous", -1)):
            add_shortcut(context.dock, name, partial(self._step, direction))
        hosted.session_changed.connect(self._on_session)
        self._section.toggled.connect(self._on_section_toggled)
        self._on_section_toggled(self._section.is_expanded)

    @property
    def folder(self) -> Path | None:
        """The folder that the user chose, else the listed one if it has the displayed slide, else its own."""
        selected = self._context.settings.get(FOLDER_SETTING, "")
        if selected and Path(selected).is_dir():
            return Path(selected)
        slide = self._context.slide
        if slide is None:
            return None
        if self._view is not None and self._source is not None and self._view.current_row >= 0:
            return self._source[0]
        folder = slide.info.path.absolute().parent
        return folder.parent if slide.info.format == "DICOM" else folder  # the folder of DICOM files is one slide

    def _on_session(self, session: SlideSession | None) -> None:
        """Mark the slide that is displayed now, and follow its analysis."""
        self._show_current()
        if session is not None:
            session.results.ended.connect(self._on_analysis_ended, unique=True)

    def _show_current(self) -> None:
        if self._view is not None:
            slide = self._context.slide
            self._view.show_current(None if slide is None else slide.info.path.absolute())
            self.refresh()

    def refresh(self) -> None:
        """Read the states of the visible rows, or the whole folder if that is due, while the section is visible."""
        folder, view = self.folder, self._view
        if view is None or folder is None or not (self._section.isVisible() and self._section.is_expanded):
            return
        source = folder, self._context.run_manager.root
        if source != self._source:
            self._source = source
            self._states.clear()
            self._latest.cancel()
        elif self._latest.busy or monotonic() < self._next_reading:
            visible = [image.path for image in view.list.list_visible()]
            self._states.refresh(visible)
            view.thumbnails.retry(visible)
            return
        self._read("list", partial(_list_slides, folder), partial(self._on_listed, view, folder))

    def _refresh_folder(self) -> None:
        """Read the folder now, or as soon as the current reading has finished."""
        self._next_reading, self._requested = 0.0, monotonic()
        self.refresh()

    def _read(self, key: str, work: JobFunction, on_success: Callable[[Any], None]) -> None:
        """Run ``work`` in a background thread, then pass its result to ``on_success`` in this thread."""
        self._latest.submit(key, lambda: lambda run: partial(on_success, work(run)))

    def _on_listed(
        self, view: WorklistView, folder: Path, slides_and_start: tuple[tuple[LibraryImage, ...], float]
    ) -> None:
        """Show the slides, and read the states of all of them."""
        slides, started = slides_and_start
        view.show_slides(folder, slides)
        paths = [slide.path for slide in slides]
        self._read("states", self._states.prepare(paths), partial(self._on_states, view, started))

    def _on_states(self, view: WorklistView, started: float, states: ReadStates) -> None:
        """Show the states, and schedule the next reading unless one was requested since ``started``."""
        self._states.add(states)
        view.list.viewport().update()
        view.update_label()
        if self._requested <= started:
            self._next_reading = monotonic() + min(MAX_INTERVAL_S, (monotonic() - started) / READING_SHARE)

    def _on_analysis_ended(self, _: SlideRunUpdate, was_running: bool) -> None:
        if was_running:
            self._refresh_folder()

    def _on_section_toggled(self, is_open: bool) -> None:
        """Create the content when the section is first opened."""
        if is_open and self._view is None:
            self._view = WorklistView(self._states, self._context.icons)
            self._view.slide_chosen.connect(self._context.slide_requested)
            self._view.folder_requested.connect(self._choose_folder)
            self._view.tray_requested.connect(self._show_tray)
            self._section.add_widget(self._view)
            self._show_current()
        if is_open:
            self._timer.start()
            QTimer.singleShot(0, self._refresh_folder)
        else:
            self._timer.stop()

    def _step(self, direction: int) -> None:
        if self._view is not None:
            self._view.choose_adjacent(direction)

    def _choose_folder(self) -> None:
        choose_folder(self._context.window, "worklist_dialog", "Folder of slides", self.folder, self._on_folder_chosen)

    def _show_tray(self) -> None:
        """Show the folder in the Tray dock, which is opened if necessary."""
        dock: Any = show_dock(self._context.viewer, "Tray")
        if self.folder is not None:
            dock.open([self.folder])

    def _on_folder_chosen(self, folder: Path) -> None:
        self._context.settings.set(FOLDER_SETTING, str(folder))
        self._refresh_folder()


def _list_slides(folder: Path, run: RunContext) -> tuple[tuple[LibraryImage, ...], float]:
    """Return the slides of a folder, and the time when reading them started, not counting imports."""
    from napari_melanoma.slides.slide_table import list_work_slides

    started = monotonic()
    return tuple(create_image(path, is_slide=True) for path in list_work_slides(folder)), started
