"""The Worklist section of the Slide dock: the slides of a folder and the state of their analyses."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_melanoma.ui.slide.context import is_same_slide
from napari_melanoma.ui.viewer.docking import show_dock
from napari_melanoma.ui.viewer.shortcuts import add_shortcut, format_key
from napari_melanoma.ui.widgets.dialogs import choose_folder
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.style import named, quiet_label, row, tool_button

if TYPE_CHECKING:
    from superqt import QCollapsible

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.slide_table import WorkItem, WorkItemReader
    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

FOLDER_SETTING = "slide/worklist"
REFRESH_MS = 3000
HEIGHT = 170
NEXT_KEY, PREVIOUS_KEY = format_key("slide.list_next"), format_key("slide.list_previous")
NO_FOLDER = "No folder yet. Open a slide or choose a folder."
FolderListing = tuple[Path, "tuple[WorkItem, ...]"]


class WorklistView(QWidget):
    """Table of slides, with the name of the folder above it."""

    slide_chosen = Signal(object)
    folder_requested = Signal()
    tray_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._items: tuple[WorkItem, ...] = ()
        self._current: Path | None = None
        self.folder_label = named(quiet_label(NO_FOLDER), "worklist_words", "Folder of slides")
        folder_button = tool_button("worklist_folder", "Choose a folder", "Choose a folder of slides", "folder ...")
        previous_button = tool_button(
            "worklist_previous", "Previous slide", f"Open the previous slide ({PREVIOUS_KEY})", "previous"
        )
        next_button = tool_button("worklist_next", "Next slide", f"Open the next slide ({NEXT_KEY})", "next")
        tray_button = tool_button("worklist_tray", "Tray", "Show thumbnails of the folder in the Tray", "tray")
        self.table = named(QTableWidget(0, 2), "worklist", "Slides of the folder", "Click a slide to open it")
        self.table.setHorizontalHeaderLabels(["slide", "state"])
        self.table.verticalHeader().hide()
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setFixedHeight(HEIGHT)
        self.table.setTabKeyNavigation(False)
        header = self.table.horizontalHeader()
        for column in (0, 1):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Stretch)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (self.folder_label, self.table, row(previous_button, next_button, folder_button, tray_button)):
            layout.addWidget(widget)
        folder_button.clicked.connect(self.folder_requested)
        tray_button.clicked.connect(self.tray_requested)
        previous_button.clicked.connect(lambda: self.choose_adjacent(-1))
        next_button.clicked.connect(lambda: self.choose_adjacent(1))
        self.table.cellClicked.connect(lambda line, _: self._choose_row(line))
        self.table.cellActivated.connect(lambda line, _: self._choose_row(line))

    def show_items(self, folder: Path, items: tuple[WorkItem, ...]) -> None:
        """Show the slides of a folder."""
        states = [item.state for item in items]
        counts = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
        self.folder_label.setText(f"{folder.name or folder}: {', '.join(counts) or 'no slides'}")
        self.folder_label.setToolTip(str(folder))
        if self.table.rowCount() != len(items):
            self.table.setRowCount(len(items))
        for line, item in enumerate(items):
            for column, text in enumerate((item.slide.name, item.description)):
                cell = self.table.item(line, column)
                if cell is None:
                    cell = QTableWidgetItem()
                    self.table.setItem(line, column, cell)
                if cell.text() != text:
                    cell.setText(text)
                    cell.setToolTip(str(item.slide) if column == 0 else text)
        self._items = items
        self._highlight_current()

    def show_current(self, slide: Path | None) -> None:
        """Highlight the displayed slide."""
        self._current = slide
        self._highlight_current()

    def choose_adjacent(self, by: int) -> None:
        """Choose the next or previous slide."""
        lines = [line for line, item in enumerate(self._items) if is_same_slide(item.slide, self._current)]
        line = lines[0] + by if lines else 0
        if 0 <= line < len(self._items):
            self._choose_row(line)

    def _choose_row(self, line: int) -> None:
        self.slide_chosen.emit(self._items[line].slide)

    def _highlight_current(self) -> None:
        for line, item in enumerate(self._items):
            cell = self.table.item(line, 0)
            font = cell.font()
            font.setBold(is_same_slide(item.slide, self._current))
            cell.setFont(font)
            if font.bold():
                self.table.setCurrentCell(line, 0)


class SlideWorklist(QObject):
    """Fill the section when it is first opened, and refresh it while it is visible."""

    failed = Signal(object)
    slide_requested = Signal(object)

    def __init__(self, context: SlideContext, section: QCollapsible) -> None:
        super().__init__(context)
        self._context, self._section = context, section
        self._view: WorklistView | None = None
        self._reader: WorkItemReader | None = None
        self._latest = LatestJobQueue(self)
        self._latest.succeeded.connect(self._on_folder_listed)
        self._latest.failed.connect(self.failed)
        self._timer = QTimer(self)
        self._timer.setInterval(REFRESH_MS)
        self._timer.timeout.connect(self.refresh)
        for name, by in (("slide.list_next", 1), ("slide.list_previous", -1)):
            add_shortcut(context.dock, name, partial(self._step, by))
        self._section.toggled.connect(self._on_section_toggled)
        self._on_section_toggled(self._section.isExpanded())

    @property
    def folder(self) -> Path | None:
        """Folder that was chosen, else that of the displayed slide."""
        chosen = self._context.settings.get(FOLDER_SETTING, "")
        if chosen and Path(chosen).is_dir():
            return Path(chosen)
        slide = self._context.slide
        return None if slide is None else slide.info.path.absolute().parent

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide."""
        if self._view is not None:
            self._view.show_current(None if slide is None else slide.info.path)
            self.refresh()

    def refresh(self) -> None:
        """Read the folder again if the section is visible."""
        folder = self.folder
        if self._view is not None and self._section.isVisible() and self._section.isExpanded() and folder is not None:
            self._latest.submit("worklist", lambda: partial(_list_folder, folder, self._get_reader()))

    def _get_reader(self) -> WorkItemReader:
        """Return the reader of the results folder, which may have changed."""
        from napari_melanoma.slides.slide_table import WorkItemReader

        out = self._context.run_manager.root
        if self._reader is None or self._reader.out != out:
            self._reader = WorkItemReader(out)
        return self._reader

    def _on_section_toggled(self, is_open: bool) -> None:
        """Create the content when the section is first opened."""
        if is_open and self._view is None:
            self._view = WorklistView()
            self._view.slide_chosen.connect(self.slide_requested)
            self._view.folder_requested.connect(self._choose_folder)
            self._view.tray_requested.connect(self._show_tray)
            self._section.content().layout().itemAt(0).widget().layout().addWidget(self._view)
            self.set_slide(self._context.slide)
        if is_open:
            self._timer.start()
            QTimer.singleShot(0, self.refresh)
        else:
            self._timer.stop()

    def _on_folder_listed(self, listing: FolderListing) -> None:
        if self._view is not None and listing[0] == self.folder:
            self._view.show_items(*listing)

    def _step(self, by: int) -> None:
        if self._view is not None:
            self._view.choose_adjacent(by)

    def _choose_folder(self) -> None:
        choose_folder(self._context.window, "worklist_dialog", "Folder of slides", self.folder, self._on_folder_chosen)

    def _show_tray(self) -> None:
        """Show the folder in the Tray, without importing it before."""
        dock: Any = show_dock(self._context.viewer, "Tray")
        if self.folder is not None:
            dock.open([self.folder])

    def _on_folder_chosen(self, folder: Path) -> None:
        self._context.settings.set(FOLDER_SETTING, str(folder))
        self.refresh()


def _list_folder(folder: Path, reader: WorkItemReader, run: RunContext) -> FolderListing:
    """List the slides of a folder."""
    from napari_melanoma.slides.slide_table import list_work_items

    return folder, list_work_items(folder, reader, run)
