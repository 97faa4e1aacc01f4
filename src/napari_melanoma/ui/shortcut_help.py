"""The window that lists the keyboard shortcuts of all docks, grouped by dock, with a field to search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QDialog,
    QLineEdit,
    QMainWindow,
    QStyle,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_melanoma.ui.look import named, quiet
from napari_melanoma.ui.shortcuts import SHORTCUTS, WHERE, add_shortcut, shown_key

if TYPE_CHECKING:
    from napari.viewer import Viewer

NAME = "melanoma_shortcuts"
WIDTH_PX, HEIGHT_PX = 560, 600


class ShortcutHelp(QDialog):
    """Lists the shortcuts; what is typed in the field leaves those that contain it."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName(NAME)
        self.setWindowTitle("Keyboard shortcuts (Melanoma)")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.search = named(QLineEdit(), "shortcut_search", "Search", "Search by key, dock or what it does")
        self.search.setPlaceholderText("Search")
        self.search.setClearButtonEnabled(True)
        self.list = named(QTreeWidget(), "shortcut_list", "Keyboard shortcuts")
        self.list.setToolTip("")
        self.list.setHeaderHidden(True)
        self.list.setColumnCount(2)
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.list.setUniformRowHeights(True)
        for name, shortcut in SHORTCUTS.items():
            item = QTreeWidgetItem(self._group(shortcut.dock), [shown_key(name), shortcut.text])
            for column in range(2):
                item.setToolTip(column, f"Works {WHERE[shortcut.scope]}.")
        self.list.expandAll()
        self.list.resizeColumnToContents(0)
        self.list.setColumnWidth(0, self.list.columnWidth(0) + 24)
        self.nothing = quiet("No shortcut matches.")
        self.nothing.hide()
        layout = QVBoxLayout(self)
        for widget in (self.search, self.list, self.nothing):
            layout.addWidget(widget)
        self.search.textChanged.connect(self._on_search)
        room = parent.screen().availableGeometry()
        self.list.resizeColumnToContents(1)
        frame = layout.contentsMargins()
        bar = self.list.style().pixelMetric(QStyle.PixelMetric.PM_ScrollBarExtent) + 2 * self.list.frameWidth()
        needed = self.list.columnWidth(0) + self.list.columnWidth(1) + bar + frame.left() + frame.right()
        self.resize(min(max(WIDTH_PX, needed), room.width()), min(HEIGHT_PX, room.height() - 60))

    def _group(self, dock: str) -> QTreeWidgetItem:
        """The heading of a dock, made where it is missing."""
        found = self.list.findItems(dock, Qt.MatchFlag.MatchExactly)
        if found:
            return found[0]
        group = QTreeWidgetItem(self.list, [dock])
        group.setFirstColumnSpanned(True)
        font = group.font(0)
        font.setBold(True)
        group.setFont(0, font)
        return group

    def _on_search(self, text: str) -> None:
        found = False
        for index in range(self.list.topLevelItemCount()):
            group = self.list.topLevelItem(index)
            shown = 0
            for row in range(group.childCount()):
                item = group.child(row)
                fits = text.strip().lower() in f"{group.text(0)} {item.text(0)} {item.text(1)}".lower()
                item.setHidden(not fits)
                shown += fits
            group.setHidden(shown == 0)
            found = found or shown > 0
        self.nothing.setVisible(not found)


def show_help(window: QWidget) -> ShortcutHelp:
    """Show the list over a window, or bring the one that is there to the front.

    Not modal: it can stay open while one works.
    """
    dialog = window.findChild(ShortcutHelp, NAME) or ShortcutHelp(window)
    dialog.show()
    dialog.raise_()
    dialog.activateWindow()
    dialog.search.setFocus()
    return dialog


def show_shortcuts(napari_viewer: Viewer | None = None) -> None:
    """Show the list, as napari's menu asks for it."""
    windows = [window for window in QApplication.topLevelWidgets() if isinstance(window, QMainWindow)]
    active = [window for window in windows if window.isActiveWindow()] or [one for one in windows if one.isVisible()]
    if active:
        show_help(active[0])


def add_help(dock: QWidget) -> None:
    """Let F1 and ``?`` show the list in a dock."""
    for name in ("help", "help.dock"):
        add_shortcut(dock, name, lambda: show_help(dock.window()))
