"""The Regions section: classes, tools and edits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QKeyEvent, QPainter, QPixmap
from qtpy.QtWidgets import (
    QColorDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QMenu,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_melanoma.io.results import OUTLINES
from napari_melanoma.slides.regions import DEFAULT_CLASSES, RegionClass
from napari_melanoma.ui.slide.regions.layer import RegionBrush, RegionLayer
from napari_melanoma.ui.slide.regions.store import RegionKeeper, ask_export, ask_import
from napari_melanoma.ui.widgets.look import ThemedIcons, named, quiet, row, tool
from napari_melanoma.ui.widgets.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.core.placement import MapPlace
    from napari_melanoma.io.geojson import Color
    from napari_melanoma.slides.regions import Regions, ShapesNow
    from napari_melanoma.ui.slide.dock import SlideDock
    from napari_melanoma.ui.slide.regions.data_set import TileDataMaker
    from napari_melanoma.ui.viewer.slide_layers import OpenSlide

KEYS = range(1, 10)


class SlideRegions(QObject):
    """Keeps layer, fold and file of regions in step; what is in the fold is made when it is first opened."""

    failed = Signal(object)

    def __init__(self, dock: SlideDock, viewer: Viewer) -> None:
        super().__init__(dock)
        self._dock, self._viewer = dock, viewer
        self._controls: RegionControls | None = None
        self.maker: TileDataMaker | None = None
        self.keeper = RegionKeeper(self)
        self.layer = RegionLayer(viewer, self)
        self.brush = RegionBrush(viewer, self)
        self._keys: dict[str, Callable[[], None]] = {str(number): partial(self._on_key, number) for number in KEYS}
        self.layer.bind({**self._keys, "Control-Z": self.keeper.undo, "Control-Shift-Z": self.keeper.redo})
        self.layer.changed.connect(self._on_shapes)
        self.brush.painted.connect(self._on_painted)
        self.keeper.changed.connect(self._on_changed)
        self.keeper.said.connect(dock.status.say)
        self.layer.said.connect(dock.status.say)
        self.keeper.failed.connect(self.failed)
        dock.desk.found.connect(self.keeper.look)
        dock.left.connect(self.keeper.files.flush)
        dock.destroyed.connect(self.keeper.files.flush)
        self._fold = dock.regions_fold
        self._fold.toggled.connect(self._on_fold)
        self._on_fold(self._fold.isExpanded())

    @property
    def busy(self) -> bool:
        """Whether regions are being read or written."""
        return self.layer.busy or self.keeper.busy or (self.maker is not None and self.maker.busy)

    @property
    def controls(self) -> RegionControls:
        """The fold's content, made when it is first needed."""
        if self._controls is None:
            made = self._controls = RegionControls(self._dock.settings, self._dock.icons)
            self._fold.content().layout().itemAt(0).widget().layout().addWidget(made)
            made.classes.chosen.connect(self._on_class)
            made.classes.edited.connect(self._on_class_edited)
            for mode, button in made.tools.items():
                button.clicked.connect(partial(self._on_tool, mode))
            keeper = self.keeper
            slots = {"class": self._on_reclass, "remove": self._on_remove, "undo": keeper.undo, "redo": keeper.redo}
            for name, slot in slots.items():
                made.edits[name].clicked.connect(lambda _=False, slot=slot: slot())
            made.importing.connect(self._on_import)
            made.export.clicked.connect(self._on_export)
            made.data.clicked.connect(self._on_data)
        return self._controls

    def turn_to(self, slide: OpenSlide | None) -> None:
        """Be about another slide; its regions come when its folder is found."""
        self.brush.finish()  # what was painted is of the slide before
        self.layer.turn_to(slide)
        self.keeper.turn_to(slide)

    def followed(self, link: str) -> bool:
        """Do what a link in the status line says, where it is about regions."""
        return self.maker is not None and self.maker.followed(link)

    def _on_changed(self, selected: Collection[str]) -> None:
        if self.keeper.drawn is not None:
            self.layer.show(self.keeper.regions, selected)
        self._tell()

    def _on_fold(self, is_open: bool) -> None:
        if is_open:
            self._tell()

    def _tell(self) -> None:
        """Say what there is, where somebody looks."""
        if self._controls is None and not self._fold.isExpanded():
            return
        controls, now, regions = self.controls, self.keeper.drawn, self.keeper.regions
        controls.classes.learn(_classes(regions))
        controls.words.setText(_said(regions, len({one.at[0] for one in self.layer.shown})))
        able = dict.fromkeys(("class", "remove", "any"), bool(regions))
        able |= {"undo": now is not None and bool(now.history.past)}
        able |= {"redo": now is not None and bool(now.history.undone)}
        controls.enable(now is not None, able)

    def _on_key(self, number: int) -> None:
        self.controls.classes.choose(number)

    def _on_class(self) -> None:
        """Draw another class from now on."""
        self.layer.colour(self.controls.classes.current)
        self.brush.choose(self.controls.classes.number)

    def _on_class_edited(self, before: RegionClass, now: RegionClass) -> None:
        """A class has another name or colour: its regions too."""
        from napari_melanoma.slides.regions import reclassed

        ids = [one.id for one in self.keeper.regions if one.class_name == before.name]
        self.keeper.change(lambda regions: reclassed(regions, ids, now))
        self._on_class()

    def _on_tool(self, mode: str) -> None:
        """Take a tool in hand, or put it away."""
        on = self.controls.tools[mode].isChecked()
        self.brush.finish()
        slide = self._dock.slide
        self.controls.show_tool(mode if on else "")
        if slide is None:
            return
        if mode == "brush" and on:
            self.brush.start(slide, self.controls.classes.classes, self._keys)
            self.brush.choose(self.controls.classes.number)
        elif self.layer.layer is not None or on:
            self.layer.draw(mode if on and mode != "brush" else "pan_zoom", self.controls.classes.current)

    def _on_shapes(self, now: ShapesNow) -> None:
        """The user did something to the shapes."""
        from napari_melanoma.slides.regions import followed

        of, reader, shown = self.controls.classes.current, self.controls.name, self.layer.shown
        self.keeper.change(lambda regions: followed(regions, shown, now, of, reader)[0])

    def _on_painted(self, labels: NDArray[np.uint8], place: MapPlace) -> None:
        from napari_melanoma.slides.regions import painted_regions

        classes, reader = self.controls.classes.classes, self.controls.name
        self.controls.show_tool("")
        self.keeper.change(lambda regions: (*regions, *painted_regions(labels, place, classes, reader)))

    def _on_reclass(self) -> None:
        from napari_melanoma.slides.regions import reclassed

        chosen, of = self._selected(), self.controls.classes.current
        self.keeper.change(lambda regions: reclassed(regions, chosen, of), chosen)

    def _on_remove(self) -> None:
        from napari_melanoma.slides.regions import removed

        chosen = self._selected()
        self.keeper.change(lambda regions: removed(regions, chosen))

    def _selected(self) -> tuple[str, ...]:
        """Ids of the selected regions; says how to select where there are none."""
        chosen = self.layer.selected
        if not chosen:
            self._dock.status.say("Select regions first: press select, and click on them in the picture.")
        return chosen

    def _on_import(self, kind: str) -> None:
        now = self.keeper.drawn
        if now is not None and kind == "lesions":
            self.keeper.read(now.folder / OUTLINES)
        elif now is not None:
            ask_import(self._dock.window(), now.folder, lambda name: self.keeper.read(Path(name)))

    def _on_export(self) -> None:
        slide = self._dock.slide
        if slide is not None:
            ask_export(self._dock.window(), slide.info.name, lambda name: self.keeper.write(Path(name)))

    def _on_data(self) -> None:
        """Ask how tiles shall be cut, and cut them."""
        if self.maker is None:
            from napari_melanoma.ui.slide.regions.data_set import TileDataMaker

            self.maker = TileDataMaker(self._dock, self._viewer)
            self.maker.failed.connect(self.failed)
        self.maker.ask()


def _said(regions: Regions, shown: int) -> str:
    """Say how many regions there are, of which classes."""
    if not regions:
        return NONE_YET
    counts = Counter(region.class_name or "without a class" for region in regions)
    said = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    hidden = len(regions) - shown
    more = f" The last {hidden} are not drawn, but kept." if hidden > 0 else ""
    return f"{len(regions)} region{'' if len(regions) == 1 else 's'}: {said}.{more}"


def _classes(regions: Regions) -> tuple[RegionClass, ...]:
    """The classes that regions have."""
    found = {one.class_name: one.color or (255, 255, 0) for one in regions if one.class_name}
    return tuple(RegionClass(name, colour) for name, colour in found.items())


READER = "slide/region_reader"
NONE_YET = "No regions yet: choose a class, and draw."
TOOLS = {
    "add_polygon": ("polygon", "polygon", "Click each corner; a double click or Escape ends it"),
    "add_polygon_lasso": ("freehand", "polygon_lasso", "Hold the mouse button and go around"),
    "brush": ("brush", "paint", "Paint over what is in view; press again to make regions of it"),
    "select": ("select", "select", "Click on regions to select them; drag their corners with napari's own tool"),
}
*DRAWN, SELECT = TOOLS
EDITS = {
    "class": ("class", "Give the selected regions the class that is chosen in the list"),
    "remove": ("remove", "Delete the selected regions (Delete)"),
    "undo": ("↶", "Take back the last change of regions (Ctrl+Z in the picture)"),
    "redo": ("↷", "Do again what was taken back (Ctrl+Shift+Z in the picture)"),
}
IMPORTS = {"file": "From a file (GeoJSON) ...", "lesions": "The lesions that the model found"}


class RegionControls(QWidget):
    """The controls of regions in their places."""

    importing = Signal(str)

    def __init__(self, settings: Settings, icons: ThemedIcons) -> None:
        super().__init__()
        self._settings = settings
        self.classes = RegionClassList(settings, icons)
        self.tools = {name: _tool(name, icons) for name in TOOLS}
        self.edits = {name: tool(f"region_{name}", tip, tip, text) for name, (text, tip) in EDITS.items()}
        tip = "Kept with every region that you draw: where readers differ, a data set takes one, or what they agree on"
        self.reader = named(QLineEdit(settings.kept(READER, "")), "region_reader", "Your name as a reader", tip)
        self.reader.setPlaceholderText("who draws (optional)")
        self.words = named(quiet(NONE_YET), "region_words", "About the regions")
        self.words.setToolTip("")
        self.imports = self._import_button()
        self.export = tool("region_export", "Export regions", "Write the regions as GeoJSON for QuPath", "Export ...")
        tip = "Cut tiles from the regions of all slides that have some, for a model to learn from"
        self.data = named(QPushButton("Make data set ..."), "region_data", "Make data set", tip)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(5)
        for widget in (
            self.classes,
            row(*(self.tools[name] for name in DRAWN)),
            row(self.tools[SELECT], *self.edits.values()),
            self.words,
            row(QLabel("reader"), self.reader, stretch=1),
            row(self.imports, self.export, self.data),
        ):
            column.addWidget(widget)
        self.reader.editingFinished.connect(lambda: settings.keep(READER, self.reader.text().strip()))

    @property
    def name(self) -> str:
        """Who draws; empty where nobody said so."""
        return str(self.reader.text().strip())

    def show_tool(self, name: str) -> None:
        """Show which tool is in hand."""
        for mode, button in self.tools.items():
            button.setChecked(mode == name)

    def enable(self, ready: bool, able: dict[str, bool]) -> None:
        """Offer what can be done."""
        for each in (*self.tools.values(), self.imports):
            each.setEnabled(ready)
        for name, button in self.edits.items():
            button.setEnabled(ready and able.get(name, False))
        self.export.setEnabled(ready and able.get("any", False))
        self.data.setEnabled(ready and able.get("any", False))

    def _import_button(self) -> QToolButton:
        button = tool("region_import", "Import regions", "Take regions of another program, or of the model", "Import")
        menu = QMenu(button)
        for kind, text in IMPORTS.items():
            action = menu.addAction(text)
            action.setObjectName(f"region_import_{kind}")
            action.triggered.connect(lambda _=False, kind=kind: self.importing.emit(kind))
        button.setMenu(menu)
        button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        return button


def _tool(name: str, icons: ThemedIcons) -> QToolButton:
    """A button of a tool that stays pressed while it is in hand."""
    text, icon, tip = TOOLS[name]
    button = tool(f"region_{name}", tip, tip, text, checkable=True)
    button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
    icons.add(button, icon)
    return button


KEPT = "slide/region_classes"
CLASS_KEYS = 9  # classes that have a key, 1 to 9
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
            item = QListWidgetItem(_square(one.color, str(number) if number <= CLASS_KEYS else ""), one.name)
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
