"""Places on a slide: where the view is, where to go, and bookmarks that are kept with the slide's results."""

from __future__ import annotations

from dataclasses import replace

from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QCheckBox, QLineEdit, QListWidget, QListWidgetItem, QPushButton, QVBoxLayout, QWidget

from napari_melanoma.slides.notes import Bookmark
from napari_melanoma.ui.viewer.shortcuts import shown_key
from napari_melanoma.ui.widgets.look import ThemedIcons, named, quiet, row, tool

MOST_ROWS = 5


class Places(QWidget):
    """Scale bar, coordinates, and the list of bookmarks: click to fly, press F2 to rename, Delete to remove."""

    asked = Signal(str)
    chosen = Signal(object)
    adding = Signal()
    edited = Signal()
    bar = Signal(bool)

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self._bookmarks: list[Bookmark] = []
        self._at = named(quiet(), "place", "Where the view is", "The middle of the view: x, y")
        self.field = named(QLineEdit(), "go_to", "Go to")
        go = named(QPushButton("Go"), "go", "Go", "Go there (Enter)")
        self.check = named(QCheckBox("scale bar"), "scale_bar", "Scale bar")
        self._is_scaled, self._wanted = True, False  # the scale bar, where there is a scale
        add = tool(
            "bookmark", "Bookmark", f"Keep what is in view as a bookmark ({shown_key('slide.bookmark')})", "bookmark"
        )
        icons.add(add, "plus")
        tip = "Click to go there, F2 to rename, Delete to remove; kept with the results of the slide"
        self.list = named(QListWidget(), "bookmarks", "Bookmarks", tip)
        self.list.setFixedHeight(0)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(row(self.check, self._at, stretch=1))
        layout.addWidget(row(self.field, go, add, stretch=0))
        layout.addWidget(self.list)
        self._at.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.field.returnPressed.connect(self._on_go)
        go.clicked.connect(self._on_go)
        add.clicked.connect(self.adding)
        self.check.toggled.connect(self._on_bar)
        self.list.itemClicked.connect(self._on_chosen)
        self.list.itemActivated.connect(self._on_chosen)
        self.list.itemChanged.connect(self._on_renamed)
        self.list.installEventFilter(self)
        self.set_scaled(True)

    @property
    def is_bar_wanted(self) -> bool:
        """Whether the user wants a scale bar where there is a scale."""
        return self._wanted

    def set_scaled(self, scaled: bool) -> None:
        """Offer what needs a scale, or say why not."""
        self._is_scaled = scaled
        self.field.setPlaceholderText("go to x, y mm" if scaled else "go to x, y px")
        self.field.setToolTip(
            "Go to x, y in mm, or in pixels as 1200, 3400 px (Enter)"
            if scaled
            else "Go to x, y in pixels, as 1200, 3400 (Enter). Coordinates in mm need a scale."
        )
        self.check.blockSignals(True)
        self.check.setEnabled(scaled)
        self.check.setChecked(scaled and self._wanted)
        self.check.blockSignals(False)
        self.check.setToolTip(
            "A scale bar in the picture, in µm or mm"
            if scaled
            else "No scale bar: the slide has no scale. Set it with Scale, the ruler beside the slide's name."
        )

    @property
    def bookmarks(self) -> tuple[Bookmark, ...]:
        """The bookmarks as they are now."""
        return tuple(self._bookmarks)

    def show_bookmarks(self, bookmarks: tuple[Bookmark, ...]) -> None:
        """Show other bookmarks."""
        self._bookmarks = list(bookmarks)
        self.list.blockSignals(True)
        self.list.clear()
        for bookmark in bookmarks:
            item = QListWidgetItem(bookmark.name)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable)
            self.list.addItem(item)
        self.list.blockSignals(False)
        height = self.list.sizeHintForRow(0) if bookmarks else 0
        self.list.setFixedHeight(min(len(bookmarks), MOST_ROWS) * height + (6 if bookmarks else 0))

    def add(self, bookmark: Bookmark) -> None:
        """Add a bookmark, under a name that is free, ready to be renamed."""
        taken = {one.name for one in self._bookmarks}
        number = next(count for count in range(1, len(taken) + 2) if f"{bookmark.name} {count}" not in taken)
        self.show_bookmarks((*self._bookmarks, replace(bookmark, name=f"{bookmark.name} {number}")))
        self.list.setCurrentRow(self.list.count() - 1)
        self.edited.emit()

    def show_place(self, text: str) -> None:
        """Say where the view is."""
        self._at.setText(text)

    def remove_current(self) -> None:
        """Remove the bookmark that is selected."""
        index = self.list.currentRow()
        if 0 <= index < len(self._bookmarks):
            del self._bookmarks[index]
            self.show_bookmarks(self.bookmarks)
            self.edited.emit()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Hear Delete in the list."""
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress and event.key() == Qt.Key.Key_Delete:
            self.remove_current()
            return True
        return False

    def want_bar(self, wanted: bool) -> None:
        """Show whether the user wants a scale bar."""
        self._wanted = wanted
        self.set_scaled(self._is_scaled)

    def _on_bar(self, on: bool) -> None:
        self._wanted = on
        self.bar.emit(on)

    def _on_go(self) -> None:
        if self.field.text().strip():
            self.asked.emit(self.field.text())

    def _on_chosen(self, item: QListWidgetItem) -> None:
        self.chosen.emit(self._bookmarks[self.list.row(item)])

    def _on_renamed(self, item: QListWidgetItem) -> None:
        index = self.list.row(item)
        name = item.text().strip() or self._bookmarks[index].name
        self._bookmarks[index] = replace(self._bookmarks[index], name=name)
        self.show_bookmarks(self.bookmarks)
        self.edited.emit()
