"""The slides of a folder in a fold of the Slide dock: how far each is, a click opens one, next and previous."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_melanoma.ui.viewer.shortcuts import add_shortcut, shown_key
from napari_melanoma.ui.widgets.job import Latest
from napari_melanoma.ui.widgets.look import named, quiet, row, tool

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.table import WorkItem
    from napari_melanoma.ui.slide.dock import SlideDock
    from napari_melanoma.ui.viewer.slide_layers import OpenSlide

FOLDER = "slide/worklist"
LOOK_MS = 3000
HEIGHT = 170
NEXT_KEY, PREVIOUS_KEY = shown_key("slide.list_next"), shown_key("slide.list_previous")
NONE = "No folder yet: open a slide, or choose a folder."
Told = tuple[Path, "tuple[WorkItem, ...]"]


class WorklistView(QWidget):
    """Table of slides, with the folder above it."""

    chosen = Signal(object)
    folder_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._items: tuple[WorkItem, ...] = ()
        self._current: Path | None = None
        self.words = named(quiet(NONE), "worklist_words", "Folder of slides")
        pick = tool("worklist_folder", "Choose a folder of slides", "Choose a folder of slides", "folder ...")
        before = tool("worklist_previous", "Previous slide", f"Open the slide before ({PREVIOUS_KEY})", "previous")
        after = tool("worklist_next", "Next slide", f"Open the next slide ({NEXT_KEY})", "next")
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
        for widget in (self.words, self.table, row(before, after, pick)):
            layout.addWidget(widget)
        pick.clicked.connect(self.folder_wanted)
        before.clicked.connect(lambda: self.step(-1))
        after.clicked.connect(lambda: self.step(1))
        self.table.cellClicked.connect(lambda line, _: self._choose(line))
        self.table.cellActivated.connect(lambda line, _: self._choose(line))

    def show_items(self, folder: Path, items: tuple[WorkItem, ...]) -> None:
        """Show a folder."""
        states = [item.state for item in items]
        counts = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
        self.words.setText(f"{folder.name or folder}: {', '.join(counts) or 'no slides'}")
        self.words.setToolTip(str(folder))
        if self.table.rowCount() != len(items):
            self.table.setRowCount(len(items))
        for line, item in enumerate(items):
            for column, text in enumerate((item.slide.name, item.said)):
                cell = self.table.item(line, column)
                if cell is None:
                    cell = QTableWidgetItem()
                    self.table.setItem(line, column, cell)
                if cell.text() != text:
                    cell.setText(text)
                    cell.setToolTip(str(item.slide) if column == 0 else text)
        self._items = items
        self._mark()

    def show_current(self, slide: Path | None) -> None:
        """Mark the slide that the dock is about."""
        self._current = slide
        self._mark()

    def step(self, by: int) -> None:
        """Want the next or previous slide."""
        places = [line for line, item in enumerate(self._items) if _same(item.slide, self._current)]
        line = places[0] + by if places else 0
        if 0 <= line < len(self._items):
            self._choose(line)

    def _choose(self, line: int) -> None:
        self.chosen.emit(self._items[line].slide)

    def _mark(self) -> None:
        for line, item in enumerate(self._items):
            cell = self.table.item(line, 0)
            font = cell.font()
            font.setBold(_same(item.slide, self._current))
            cell.setFont(font)
            if font.bold():
                self.table.setCurrentCell(line, 0)


class SlideWorklist(QObject):
    """Fills the fold when it is first opened, and looks again while it is seen."""

    failed = Signal(object)

    def __init__(self, dock: SlideDock) -> None:
        super().__init__(dock)
        self._dock, self._fold = dock, dock.worklist_fold
        self._view: WorklistView | None = None
        self._latest = Latest(self)
        self._latest.succeeded.connect(self._on_found)
        self._latest.failed.connect(self.failed)
        self._timer = QTimer(self)
        self._timer.setInterval(LOOK_MS)
        self._timer.timeout.connect(self.look)
        for name, by in (("slide.list_next", 1), ("slide.list_previous", -1)):
            add_shortcut(dock, name, partial(self._step, by))
        self._fold.toggled.connect(self._on_fold)
        self._on_fold(self._fold.isExpanded())

    @property
    def busy(self) -> bool:
        """Whether a folder is being looked at."""
        return self._latest.busy

    @property
    def folder(self) -> Path | None:
        """The folder of slides: the one that was chosen, else that of the slide in view."""
        kept = self._dock.settings.kept(FOLDER, "")
        if kept and Path(kept).is_dir():
            return Path(kept)
        slide = self._dock.slide
        return None if slide is None else slide.info.path.absolute().parent

    def turn_to(self, slide: OpenSlide | None) -> None:
        """Be about another slide."""
        if self._view is not None:
            self._view.show_current(None if slide is None else slide.info.path)
            self.look()

    def look(self) -> None:
        """Look at the folder again, where somebody sees it."""
        folder, out = self.folder, self._dock.desk.root
        if self._view is not None and self._fold.isVisible() and self._fold.isExpanded() and folder is not None:
            self._latest.submit("worklist", lambda: partial(_look, folder, out))

    def _on_fold(self, is_open: bool) -> None:
        """Make what is inside when somebody looks for the first time."""
        if is_open and self._view is None:
            self._view = WorklistView()
            self._view.chosen.connect(self._on_chosen)
            self._view.folder_wanted.connect(self._on_folder)
            self._fold.content().layout().itemAt(0).widget().layout().addWidget(self._view)
            self.turn_to(self._dock.slide)
        if is_open:
            self._timer.start()
            QTimer.singleShot(0, self.look)
        else:
            self._timer.stop()

    def _on_found(self, told: Told) -> None:
        if self._view is not None and told[0] == self.folder:
            self._view.show_items(*told)

    def _on_chosen(self, path: Path) -> None:
        """Show a slide that is open, or open it."""
        combo = self._dock.picker.combo
        for index in range(combo.count()):
            if _same(path, Path(combo.itemData(index))):
                combo.setCurrentIndex(index)
                combo.activated.emit(index)
                return
        self._dock.opener.open([path])

    def _step(self, by: int) -> None:
        if self._view is not None:
            self._view.step(by)

    def _on_folder(self) -> None:
        dialog = QFileDialog(self._dock.window(), "Folder of slides", str(self.folder or Path.home()))
        dialog.setObjectName("worklist_dialog")
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.fileSelected.connect(self._on_picked)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_picked(self, name: str) -> None:
        self._dock.settings.keep(FOLDER, name)
        self.look()


def _same(one: Path, other: Path | None) -> bool:
    """Whether two paths are of one slide; a DICOM slide is opened by a file or by its folder."""
    return other is not None and other.absolute() in (one.absolute(), *(one.absolute() / other.name,))


def _look(folder: Path, out: Path, run: RunContext) -> Told:
    """List the slides of a folder."""
    from napari_melanoma.slides.table import worklist

    return folder, worklist(folder, out, run)
