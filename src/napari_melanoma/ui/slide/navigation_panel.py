"""Position of the view, go to a position, and bookmarks that are saved with the results of the slide."""

from __future__ import annotations

from dataclasses import replace

from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QCheckBox, QLineEdit, QListWidget, QListWidgetItem, QPushButton, QVBoxLayout, QWidget

from napari_melanoma.slides.notes import Bookmark
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.widgets.style import ThemedIcons, named, quiet_label, row, tool_button

MAX_ROWS = 5


class NavigationPanel(QWidget):
    """Scale bar, position, and list of bookmarks: click to go there, F2 to rename, Delete to remove."""

    position_entered = Signal(str)
    bookmark_activated = Signal(object)
    bookmark_requested = Signal()
    bookmarks_edited = Signal()
    scale_bar_toggled = Signal(bool)

    def __init__(self, icons: ThemedIcons) -> None:
        super().__init__()
        self._bookmarks: list[Bookmark] = []
        self._position_label = named(quiet_label(), "place", "Position of the view", "Center of the view: x, y")
        self.position_field = named(QLineEdit(), "go_to", "Go to")
        go = named(QPushButton("Go"), "go", "Go", "Go there (Enter)")
        self.scale_bar_check = named(QCheckBox("scale bar"), "scale_bar", "Scale bar")
        self._has_scale, self._shows_scale_bar = True, False
        add = tool_button("bookmark", "Bookmark", f"Bookmark the view ({format_key('slide.bookmark')})", "bookmark")
        icons.add(add, "plus")
        tip = "Click to go there, F2 to rename, Delete to remove; saved with the results of the slide"
        self.list = named(QListWidget(), "bookmarks", "Bookmarks", tip)
        self.list.setFixedHeight(0)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(row(self.scale_bar_check, self._position_label, stretch=1))
        layout.addWidget(row(self.position_field, go, add, stretch=0))
        layout.addWidget(self.list)
        self._position_label.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.position_field.returnPressed.connect(self._on_go)
        go.clicked.connect(self._on_go)
        add.clicked.connect(self.bookmark_requested)
        self.scale_bar_check.toggled.connect(self._on_scale_bar_toggled)
        self.list.itemClicked.connect(self._on_chosen)
        self.list.itemActivated.connect(self._on_chosen)
        self.list.itemChanged.connect(self._on_renamed)
        self.list.installEventFilter(self)
        self.set_has_scale(True)

    @property
    def shows_scale_bar(self) -> bool:
        """Whether a scale bar is shown if there is a scale."""
        return self._shows_scale_bar

    def set_has_scale(self, has_scale: bool) -> None:
        """Enable what requires a scale, or show why it is disabled."""
        self._has_scale = has_scale
        self.position_field.setPlaceholderText("go to x, y mm" if has_scale else "go to x, y px")
        self.position_field.setToolTip(
            "Go to x, y in mm, or in pixels as 1200, 3400 px (Enter)"
            if has_scale
            else "Go to x, y in pixels, as 1200, 3400 (Enter). Coordinates in mm require a scale."
        )
        self.scale_bar_check.blockSignals(True)
        self.scale_bar_check.setEnabled(has_scale)
        self.scale_bar_check.setChecked(has_scale and self._shows_scale_bar)
        self.scale_bar_check.blockSignals(False)
        self.scale_bar_check.setToolTip(
            "Scale bar on the slide, in µm or mm"
            if has_scale
            else "Not available: the slide has no scale. Set it with Scale, the ruler next to the slide's name."
        )

    @property
    def bookmarks(self) -> tuple[Bookmark, ...]:
        """The current bookmarks."""
        return tuple(self._bookmarks)

    def show_bookmarks(self, bookmarks: tuple[Bookmark, ...]) -> None:
        """Replace the bookmarks."""
        self._bookmarks = list(bookmarks)
        self.list.blockSignals(True)
        self.list.clear()
        for bookmark in bookmarks:
            item = QListWidgetItem(bookmark.name)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable)
            self.list.addItem(item)
        self.list.blockSignals(False)
        height = self.list.sizeHintForRow(0) if bookmarks else 0
        self.list.setFixedHeight(min(len(bookmarks), MAX_ROWS) * height + (6 if bookmarks else 0))

    def add(self, bookmark: Bookmark) -> None:
        """Add a bookmark with a unique name."""
        names = {one.name for one in self._bookmarks}
        number = next(count for count in range(1, len(names) + 2) if f"{bookmark.name} {count}" not in names)
        self.show_bookmarks((*self._bookmarks, replace(bookmark, name=f"{bookmark.name} {number}")))
        self.list.setCurrentRow(self.list.count() - 1)
        self.bookmarks_edited.emit()

    def show_position(self, text: str) -> None:
        """Show the position of the view."""
        self._position_label.setText(text)

    def remove_current(self) -> None:
        """Remove the selected bookmark."""
        index = self.list.currentRow()
        if 0 <= index < len(self._bookmarks):
            del self._bookmarks[index]
            self.show_bookmarks(self.bookmarks)
            self.bookmarks_edited.emit()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Handle the Delete key in the list."""
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress and event.key() == Qt.Key.Key_Delete:
            self.remove_current()
            return True
        return False

    def set_scale_bar(self, visible: bool) -> None:
        """Check or uncheck the scale bar."""
        self._shows_scale_bar = visible
        self.set_has_scale(self._has_scale)

    def _on_scale_bar_toggled(self, on: bool) -> None:
        self._shows_scale_bar = on
        self.scale_bar_toggled.emit(on)

    def _on_go(self) -> None:
        if self.position_field.text().strip():
            self.position_entered.emit(self.position_field.text())

    def _on_chosen(self, item: QListWidgetItem) -> None:
        self.bookmark_activated.emit(self._bookmarks[self.list.row(item)])

    def _on_renamed(self, item: QListWidgetItem) -> None:
        index = self.list.row(item)
        name = item.text().strip() or self._bookmarks[index].name
        self._bookmarks[index] = replace(self._bookmarks[index], name=name)
        self.show_bookmarks(self.bookmarks)
        self.bookmarks_edited.emit()
