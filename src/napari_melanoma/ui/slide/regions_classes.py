"""The classes that regions may have: a list with colour and key, edited in place and remembered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QKeyEvent, QPainter, QPixmap
from qtpy.QtWidgets import QColorDialog, QHBoxLayout, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from napari_melanoma.analysis.regions import DEFAULT_CLASSES, RegionClass
from napari_melanoma.ui.look import ThemedIcons, named, tool

if TYPE_CHECKING:
    from napari_melanoma.io.geojson import Color
    from napari_melanoma.ui.settings import Settings

KEPT = "slide/region_classes"
KEYS = 9  # classes that have a key, 1 to 9
ROWS_IN_SIGHT, SQUARE = 6, 20
NEW = "New class"
NEW_COLOURS: tuple[Color, ...] = ((0, 158, 115), (230, 159, 0), (86, 180, 233), (213, 94, 0), (204, 121, 167))


class RegionClassList(QWidget):
    """The classes: a click chooses one, F2 renames, a double click on it changes its colour, Delete takes it off."""

    chosen = Signal()
    edited = Signal(object, object)

    def __init__(self, settings: Settings, icons: ThemedIcons) -> None:
        super().__init__()
        self._settings = settings
        self._classes = _kept(settings)
        tip = (
            "Class of what you draw (keys 1 to 9). F2 or a slow second click renames, a double click changes the colour"
        )
        self.list = named(QListWidget(), "region_classes", "Classes of regions", tip)
        self.list.setIconSize(QSize(SQUARE, SQUARE))
        add = tool("add_region_class", "Add a class", "Add a class")
        remove = tool("remove_region_class", "Take the class off the list", "Take it off the list; regions keep theirs")
        icons.add(add, "plus")
        icons.add(remove, "delete_shape")
        side = QVBoxLayout()
        side.addWidget(add)
        side.addWidget(remove)
        side.addStretch(1)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.list, 1)
        layout.addLayout(side)
        self._show(0)
        self.list.currentRowChanged.connect(self._on_row)
        self.list.itemChanged.connect(self._on_renamed)
        self.list.itemDoubleClicked.connect(self._on_colour)
        self.list.installEventFilter(self)
        add.clicked.connect(self._on_add)
        remove.clicked.connect(self.remove)

    @property
    def classes(self) -> tuple[RegionClass, ...]:
        """All of them, in their order."""
        return self._classes

    @property
    def current(self) -> RegionClass:
        """The class that is drawn."""
        return self._classes[max(0, self.list.currentRow())]

    @property
    def number(self) -> int:
        """Of the class that is drawn, 1 for the first."""
        return max(0, self.list.currentRow()) + 1

    def choose(self, number: int) -> None:
        """Draw another class."""
        if 0 < number <= len(self._classes):
            self.list.setCurrentRow(number - 1)

    def learn(self, classes: Sequence[RegionClass]) -> None:
        """Put classes on the list that regions of a slide have and that are not on it."""
        known = {one.name for one in self._classes}
        fresh = {one.name: one for one in classes if one.name and one.name not in known}
        if fresh:
            self._set((*self._classes, *fresh.values()), self.list.currentRow())

    def remove(self) -> None:
        """Take the class that is chosen off the list; one always stays."""
        row = self.list.currentRow()
        if len(self._classes) > 1 and row >= 0:
            self._set(tuple(one for place, one in enumerate(self._classes) if place != row), max(0, row - 1))
            self.chosen.emit()

    def recolour(self, row: int, colour: Color) -> None:
        """Give a class another colour."""
        self._change(row, replace(self._classes[row], color=colour))

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Hear Delete and the digits in the list."""
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            if event.key() == Qt.Key.Key_Delete:
                self.remove()
                return True
            if event.text().isdigit() and event.text() != "0":
                self.choose(int(event.text()))
                return True
        return False

    def _set(self, classes: tuple[RegionClass, ...], row: int) -> None:
        self._classes = classes
        self._settings.keep(KEPT, [[one.name, *one.color] for one in classes])
        self._show(row)

    def _show(self, row: int) -> None:
        self.list.blockSignals(True)
        self.list.clear()
        for number, one in enumerate(self._classes, start=1):
            item = QListWidgetItem(_square(one.color, str(number) if number <= KEYS else ""), one.name)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable)
            self.list.addItem(item)
        self.list.setCurrentRow(row)
        self.list.blockSignals(False)
        rows = min(ROWS_IN_SIGHT, len(self._classes))
        self.list.setFixedHeight(rows * max(SQUARE + 2, self.list.sizeHintForRow(0)) + 2 * self.list.frameWidth())

    def _change(self, row: int, now: RegionClass) -> None:
        before = self._classes[row]
        if now != before:
            self._set((*self._classes[:row], now, *self._classes[row + 1 :]), self.list.currentRow())
            self.edited.emit(before, now)

    def _on_row(self, row: int) -> None:
        self.chosen.emit()

    def _on_renamed(self, item: QListWidgetItem) -> None:
        row, name = self.list.row(item), item.text().strip()
        taken = {one.name for place, one in enumerate(self._classes) if place != row}
        if not name or name in taken:
            self._show(row)  # as it was
        else:
            self._change(row, replace(self._classes[row], name=name))

    def _on_colour(self, item: QListWidgetItem) -> None:
        row = self.list.row(item)
        dialog = QColorDialog(QColor(*self._classes[row].color), self.window())
        dialog.setObjectName("region_colour_dialog")
        dialog.colorSelected.connect(lambda colour: self.recolour(row, (colour.red(), colour.green(), colour.blue())))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_add(self) -> None:
        names, number = {one.name for one in self._classes}, 1
        while (name := NEW if number == 1 else f"{NEW} {number}") in names:
            number += 1
        colour = NEW_COLOURS[len(self._classes) % len(NEW_COLOURS)]
        self._set((*self._classes, RegionClass(name, colour)), len(self._classes))
        self.chosen.emit()
        self.list.editItem(self.list.currentItem())


def _kept(settings: Settings) -> tuple[RegionClass, ...]:
    """The classes of the last time; the usual ones where none were kept."""
    found = []
    for one in settings.kept(KEPT, list[object]()):
        if isinstance(one, list) and len(one) == 4 and isinstance(one[0], str):
            found.append(RegionClass(one[0], (int(one[1]), int(one[2]), int(one[3]))))
    return tuple(found) or DEFAULT_CLASSES


def _square(colour: Color, digit: str) -> QIcon:
    """A square in a colour, with the key in it."""
    picture = QPixmap(2 * SQUARE, 2 * SQUARE)
    picture.fill(QColor(*colour))
    painter = QPainter(picture)
    font = painter.font()
    font.setPixelSize(round(1.4 * SQUARE))
    painter.setFont(font)
    painter.setPen(Qt.GlobalColor.white if sum(colour) < 420 else Qt.GlobalColor.black)
    painter.drawText(picture.rect(), Qt.AlignmentFlag.AlignCenter, digit)
    painter.end()
    return QIcon(picture)
