"""A list widget of classes with names, colors and keys, used for regions and for counted points."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from qtpy.QtCore import QEvent, QObject, QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QKeyEvent, QPainter, QPixmap
from qtpy.QtWidgets import QHBoxLayout, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from napari_melanoma.core.formatting import format_class
from napari_melanoma.io.geojson import Color
from napari_melanoma.slides.regions import DEFAULT_CLASSES, RegionClass
from napari_melanoma.ui.viewer.shortcuts import is_delete_key
from napari_melanoma.ui.widgets.dialogs import choose_color
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import ThemedIcons, named, tool_button


@dataclass(frozen=True)
class ClassKind:
    """What the classes are for: their setting and defaults, and the texts of the list.

    ``name``: part of object names. ``use``: first sentence of the tooltip. ``members``: plural noun for the objects
    that have these classes. ``removal``: what the button that removes a class does.
    """

    setting: str
    defaults: tuple[RegionClass, ...]
    name: str
    title: str
    use: str
    members: str
    removal: str = ""


REGION_CLASSES = ClassKind(
    "slide/region_classes", DEFAULT_CLASSES, "region", "Classes of regions", "Class of what you draw", "regions"
)
DEFAULT_COLOR: Color = (255, 255, 0)  # of regions without a color, and of points whose class is not in the list
CLASS_KEYS = range(1, 10)  # digits that select the first classes
MAX_ROWS, ROW_PX, SQUARE = 10, 22, 20  # visible classes; height of each; side of a color icon in pixels
NEW_CLASS_NAME = "New class"
NEW_CLASS_COLORS: tuple[Color, ...] = ((0, 158, 115), (230, 159, 0), (86, 180, 233), (213, 94, 0), (204, 121, 167))


class RegionClassList(QWidget):
    """List of classes: click selects, F2 renames, double click changes the color, Delete removes."""

    class_selected = Signal()
    class_edited = Signal(object, object)  # RegionClass before and after
    class_added = Signal(object)  # RegionClass
    class_removed = Signal(object)  # RegionClass

    def __init__(self, settings: DockSettings, icons: ThemedIcons, kind: ClassKind = REGION_CLASSES) -> None:
        super().__init__()
        self._settings, self._kind = settings, kind
        self._classes = load_classes(settings, kind)
        tip = f"{kind.use} (Ctrl with 1 to 9 on the image). F2: rename; double click: change the color"
        self.list = named(QListWidget(), f"{kind.name}_classes", kind.title, tip)
        self.list.setIconSize(QSize(SQUARE, SQUARE))
        add = tool_button(f"add_{kind.name}_class", "Add a class", "Add a class")
        remove = tool_button(
            f"remove_{kind.name}_class",
            "Remove the class from the list",
            kind.removal or f"Remove the class from the list; {kind.members} keep their class",
        )
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
        self._update_list(0)
        self.list.currentRowChanged.connect(self._on_row)
        self.list.itemChanged.connect(self._on_renamed)
        self.list.itemDoubleClicked.connect(self._choose_color)
        self.list.installEventFilter(self)
        add.clicked.connect(self._on_add)
        remove.clicked.connect(self.remove)

    @property
    def classes(self) -> tuple[RegionClass, ...]:
        """All classes in their order."""
        return self._classes

    @property
    def current(self) -> RegionClass:
        return self._classes[max(0, self.list.currentRow())]

    def select_class(self, number: int) -> None:
        """Select a class by its number."""
        if 0 < number <= len(self._classes):
            self.list.setCurrentRow(number - 1)

    def select_named(self, name: str) -> None:
        """Select a class by its name, if it is in the list."""
        self.select_class(1 + next((row for row, one in enumerate(self._classes) if one.name == name), -1))

    def show_classes(self, classes: Sequence[RegionClass]) -> None:
        """Show other classes, such as those of another slide; the selected class stays selected if it is among them."""
        if classes and tuple(classes) != self._classes:
            names = [one.name for one in classes]
            selected = self.current.name
            self._set_classes(tuple(classes), names.index(selected) if selected in names else 0)

    def add_missing_classes(self, classes: Sequence[RegionClass]) -> None:
        """Add those classes whose names are not in the list."""
        listed = {one.name for one in self._classes}
        new = {one.name: one for one in classes if one.name and one.name not in listed}
        if new:
            self._set_classes((*self._classes, *new.values()), self.list.currentRow())

    def add_named_classes(self, names: Iterable[str]) -> None:
        """Add classes by name, unless they are in the list, and assign colors to them."""
        listed = {one.name for one in self._classes}
        new = [name for name in dict.fromkeys(names) if name not in listed]
        for name in new:
            self.add_missing_classes([RegionClass(name, _choose_new_color(self._classes))])

    def remove(self) -> None:
        """Remove the selected class, unless it is the last one."""
        row = self.list.currentRow()
        if len(self._classes) > 1 and row >= 0:
            removed = self._classes[row]
            self._set_classes(tuple(one for index, one in enumerate(self._classes) if index != row), max(0, row - 1))
            self.class_selected.emit()
            self.class_removed.emit(removed)

    def set_color(self, row: int, color: Color) -> None:
        self._edit_class(row, replace(self._classes[row], color=color))

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Handle the Delete key and digits in the list."""
        if is_delete_key(event):
            self.remove()
            return True
        if not isinstance(event, QKeyEvent) or event.type() != QEvent.Type.KeyPress:
            return False
        if event.text().isdigit() and event.text() != "0":
            self.select_class(int(event.text()))
            return True
        return False

    def _set_classes(self, classes: tuple[RegionClass, ...], row: int) -> None:
        self._classes = classes
        self._settings.set(self._kind.setting, [[one.name, *one.color] for one in classes])
        self._update_list(row)

    def _update_list(self, row: int) -> None:
        self.list.blockSignals(True)
        self.list.clear()
        for number, region_class in enumerate(self._classes, start=1):
            icon = class_icon(region_class.color, str(number) if number in CLASS_KEYS else "")
            item = QListWidgetItem(icon, region_class.name)
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable)
            item.setSizeHint(QSize(0, ROW_PX))
            self.list.addItem(item)
        self.list.setFixedHeight(min(MAX_ROWS, len(self._classes)) * ROW_PX + 4)
        self.list.setCurrentRow(row)
        self.list.blockSignals(False)

    def _edit_class(self, row: int, edited: RegionClass) -> None:
        previous = self._classes[row]
        if edited != previous:
            self._set_classes((*self._classes[:row], edited, *self._classes[row + 1 :]), self.list.currentRow())
            self.class_edited.emit(previous, edited)

    def _on_row(self, row: int) -> None:
        self.class_selected.emit()

    def _on_renamed(self, item: QListWidgetItem) -> None:
        row, name = self.list.row(item), format_class(item.text().strip())
        other_names = {one.name for index, one in enumerate(self._classes) if index != row}
        if name and name not in other_names:
            self._edit_class(row, replace(self._classes[row], name=name))
        self._update_list(row)  # restores a name that is not possible, and shows the spelling that is stored

    def _choose_color(self, item: QListWidgetItem) -> None:
        row = self.list.row(item)
        choose_color(self, "region_color_dialog", self._classes[row].color, partial(self.set_color, row))

    def _on_add(self) -> None:
        names, number = {one.name for one in self._classes}, 1
        while (name := NEW_CLASS_NAME if number == 1 else f"{NEW_CLASS_NAME} {number}") in names:
            number += 1
        added = RegionClass(name, _choose_new_color(self._classes))
        self._set_classes((*self._classes, added), len(self._classes))
        self.class_selected.emit()
        self.class_added.emit(added)
        self.list.editItem(self.list.currentItem())


def _choose_new_color(classes: Iterable[RegionClass]) -> Color:
    """Return the color that differs most from those of the other classes."""
    used = [one.color for one in classes]
    return max(NEW_CLASS_COLORS, key=lambda color: min((math.dist(color, other) for other in used), default=0.0))


def load_classes(settings: DockSettings, kind: ClassKind) -> tuple[RegionClass, ...]:
    """Load the stored classes; the defaults if there are none."""
    stored = settings.get(kind.setting, list[tuple[str, int, int, int]]())
    classes = (RegionClass(format_class(name), (red, green, blue)) for name, red, green, blue in stored)
    return tuple(classes) or kind.defaults


def class_icon(color: Color, digit: str) -> QIcon:
    """Draw a colored square with a digit in it: the key that selects the class."""
    picture = QPixmap(2 * SQUARE, 2 * SQUARE)
    picture.fill(QColor(*color))
    painter = QPainter(picture)
    font = painter.font()
    font.setPixelSize(round(1.4 * SQUARE))
    painter.setFont(font)
    painter.setPen(Qt.GlobalColor.white if sum(color) < 420 else Qt.GlobalColor.black)
    painter.drawText(picture.rect(), Qt.AlignmentFlag.AlignCenter, digit)
    painter.end()
    icon = QIcon(picture)
    icon.addPixmap(picture, QIcon.Mode.Selected)  # otherwise Qt tints the color of the selected class
    return icon
