"""The Regions section: classes, tools and edits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
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

from napari_melanoma.core.formatting import format_class
from napari_melanoma.io.results import OUTLINES
from napari_melanoma.slides.regions import DEFAULT_CLASSES, RegionClass
from napari_melanoma.ui.slide.regions_layer import RegionBrush, RegionLayer
from napari_melanoma.ui.slide.regions_store import RegionStore, choose_export_file, choose_import_file
from napari_melanoma.ui.widgets.settings import READER_SETTING, DockSettings
from napari_melanoma.ui.widgets.style import ThemedIcons, named, quiet_label, row, tool_button

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from superqt import QCollapsible

    from napari_melanoma.core.map_placement import MapPlacement
    from napari_melanoma.io.geojson import Color
    from napari_melanoma.slides.regions import Regions, ShapesState
    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.slide.regions_data_set import TileDataMaker
    from napari_melanoma.ui.slide.run_manager import SlideResultLocation
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

KEYS = range(1, 10)


class SlideRegionSection(QObject):
    """Synchronize layer, widgets and file of the regions; the widgets are created when the section is first opened."""

    failed = Signal(object)

    def __init__(self, context: SlideContext, section: QCollapsible) -> None:
        super().__init__(context)
        self._context, self._viewer = context, context.viewer
        self._controls: RegionControls | None = None
        self.data_set_maker: TileDataMaker | None = None
        self.store = RegionStore(self)
        self.layer = RegionLayer(self._viewer, self)
        self.brush = RegionBrush(self._viewer, self)
        self._keys: dict[str, Callable[[], None]] = {str(number): partial(self._on_key, number) for number in KEYS}
        self.layer.bind({**self._keys, "Control-Z": self.store.undo, "Control-Shift-Z": self.store.redo})
        self.layer.changed.connect(self._on_shapes)
        self.brush.painted.connect(self._on_painted)
        self.store.changed.connect(self._on_changed)
        self.store.message.connect(context.status.show_message)
        self.layer.message.connect(context.status.show_message)
        self.store.failed.connect(self.failed)
        context.run_manager.results_found.connect(self._on_results_found)
        context.dock_hidden.connect(self.store.flush)
        self._section = section
        self._section.toggled.connect(self._on_section_toggled)
        self._on_section_toggled(self._section.isExpanded())

    @property
    def controls(self) -> RegionControls:
        """The widgets, created when they are first needed."""
        if self._controls is None:
            controls = self._controls = RegionControls(self._context.settings, self._context.icons)
            self._section.content().layout().itemAt(0).widget().layout().addWidget(controls)
            controls.class_list.class_selected.connect(self._on_class)
            controls.class_list.class_edited.connect(self._on_class_edited)
            self._context.reader_changed.connect(controls.reader_field.setText)
            for mode, button in controls.tools.items():
                button.clicked.connect(partial(self._on_tool, mode))
            slots = {
                "class": self._on_change_class,
                "remove": self._on_remove,
                "undo": self.store.undo,
                "redo": self.store.redo,
            }
            for name, slot in slots.items():
                controls.edit_buttons[name].clicked.connect(lambda _=False, slot=slot: slot())
            controls.import_requested.connect(self._on_import)
            controls.export_button.clicked.connect(self._on_export)
            controls.data_set_button.clicked.connect(self._on_make_data_set)
        return self._controls

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide; its regions are loaded when its folder is found."""
        self.brush.finish()  # the painting belongs to the previous slide
        self.layer.set_slide(slide)
        self.store.show(None if slide is None else slide.identity)

    def open_link(self, link: str) -> bool:
        """Open a link of the status line if it is about regions; return whether it is."""
        return self.data_set_maker is not None and self.data_set_maker.open_link(link)

    def _on_results_found(self, location: SlideResultLocation) -> None:
        self.store.load(location.identity, location.folder)

    def _on_changed(self) -> None:
        if self.store.state is not None:
            self.layer.show(self.store.regions)
        self._update_controls()

    def _on_section_toggled(self, is_open: bool) -> None:
        if is_open:
            self._update_controls()

    def _update_controls(self) -> None:
        """Show the current state, if the section is open or was opened."""
        if self._controls is None and not self._section.isExpanded():
            return
        controls, now, regions = self.controls, self.store.state, self.store.regions
        controls.class_list.add_missing_classes(_list_classes(regions))
        controls.summary_label.setText(
            _describe_regions(regions, len({one.ring_key[0] for one in self.layer.outlines}))
        )
        enabled = dict.fromkeys(("class", "remove", "any"), bool(regions))
        enabled |= {"undo": now is not None and bool(now.history.past)}
        enabled |= {"redo": now is not None and bool(now.history.undone)}
        controls.update_enabled(now is not None, enabled)

    def _on_key(self, number: int) -> None:
        self.controls.class_list.select_class(number)

    def _on_class(self) -> None:
        """Draw with the selected class."""
        self.layer.set_class(self.controls.class_list.current)
        self.brush.set_class(self.controls.class_list.current_number)

    def _on_class_edited(self, previous: RegionClass, now: RegionClass) -> None:
        """Apply the new name or color of a class to its regions."""
        from napari_melanoma.slides.regions import set_region_class

        ids = [one.id for one in self.store.regions if one.class_name == previous.name]
        self.store.apply_edit(lambda regions: set_region_class(regions, ids, now))
        self._on_class()

    def _on_tool(self, mode: str) -> None:
        """Activate or deactivate a tool."""
        on = self.controls.tools[mode].isChecked()
        self.brush.finish()
        slide = self._context.slide
        self.controls.show_tool(mode if on else "")
        if slide is None:
            return
        if mode == "brush" and on:
            self.brush.start(slide, self.controls.class_list.classes, self._keys)
            self.brush.set_class(self.controls.class_list.current_number)
        elif self.layer.layer is not None or on:
            self.layer.set_mode(mode if on and mode != "brush" else "pan_zoom", self.controls.class_list.current)

    def _on_shapes(self, now: ShapesState) -> None:
        """Apply edits of the shapes to the regions."""
        from napari_melanoma.slides.regions import apply_shape_edits

        region_class, reader = self.controls.class_list.current, self.controls.reader_name
        outlines = self.layer.outlines
        self.store.apply_edit(lambda regions: apply_shape_edits(regions, outlines, now, region_class, reader)[0])

    def _on_painted(self, labels: NDArray[np.uint8], placement: MapPlacement) -> None:
        from napari_melanoma.slides.regions import regions_from_labels

        classes, reader = self.controls.class_list.classes, self.controls.reader_name
        self.controls.show_tool("")
        self.store.apply_edit(lambda regions: (*regions, *regions_from_labels(labels, placement, classes, reader)))

    def _on_change_class(self) -> None:
        from napari_melanoma.slides.regions import set_region_class

        selected, region_class = self._require_selection(), self.controls.class_list.current
        self.store.apply_edit(lambda regions: set_region_class(regions, selected, region_class))
        self.layer.select(selected)

    def _on_remove(self) -> None:
        from napari_melanoma.slides.regions import remove_regions

        selected = self._require_selection()
        self.store.apply_edit(lambda regions: remove_regions(regions, selected))

    def _require_selection(self) -> tuple[str, ...]:
        """Return the ids of the selected regions; show how to select if there are none."""
        selected = self.layer.selected
        if not selected:
            self._context.status.show_message("Select regions first: press select, then click them on the slide.")
        return selected

    def _on_import(self, kind: str) -> None:
        now, slide = self.store.state, self._context.slide
        if now is None or slide is None:
            return
        if kind == "lesions":
            self.store.import_file(now.folder / OUTLINES, slide.size)
        else:
            choose_import_file(self._context.window, now.folder, self._import_file)

    def _import_file(self, name: str) -> None:
        if self._context.slide is not None:
            self.store.import_file(Path(name), self._context.slide.size)

    def _on_export(self) -> None:
        slide = self._context.slide
        if slide is not None:
            choose_export_file(self._context.window, slide.info.name, lambda name: self.store.export_file(Path(name)))

    def _on_make_data_set(self) -> None:
        """Ask for the options, and cut tiles from the regions."""
        if self.data_set_maker is None:
            from napari_melanoma.ui.slide.regions_data_set import TileDataMaker

            self.data_set_maker = TileDataMaker(self._context)
            self.data_set_maker.failed.connect(self.failed)
        self.data_set_maker.open_dialog()


def _describe_regions(regions: Regions, shown: int) -> str:
    """Describe the number of regions by class."""
    if not regions:
        return NONE_YET
    counts = Counter(format_class(region.class_name) or "without a class" for region in regions)
    classes = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    hidden = len(regions) - shown
    more = f" The last {hidden} are not drawn, but saved." if hidden > 0 else ""
    return f"{len(regions)} region{'' if len(regions) == 1 else 's'}: {classes}.{more}"


def _list_classes(regions: Regions) -> tuple[RegionClass, ...]:
    """List the classes of the regions."""
    found = {one.class_name: one.color or (255, 255, 0) for one in regions if one.class_name}
    return tuple(RegionClass(name, color) for name, color in found.items())


NONE_YET = "No regions yet. Select a class and draw."
TOOLS = {
    "add_polygon": ("polygon", "polygon", "Click each corner; finish with a double click or Escape"),
    "add_polygon_lasso": ("freehand", "polygon_lasso", "Hold the mouse button and draw around the region"),
    "brush": ("brush", "paint", "Paint on the view; press again to convert the painting to regions"),
    "select": ("select", "select", "Click regions to select them; drag their corners with napari's own tool"),
}
*DRAWING_TOOLS, SELECT_TOOL = TOOLS
EDITS = {
    "class": ("class", "Assign the class that is selected in the list to the selected regions"),
    "remove": ("remove", "Delete the selected regions (Delete)"),
    "undo": ("↶", "Undo the last change of the regions (Ctrl+Z on the canvas)"),
    "redo": ("↷", "Redo the last change that was undone (Ctrl+Shift+Z on the canvas)"),
}
IMPORTS = {"file": "From a file (GeoJSON) ...", "lesions": "The lesions detected by the model"}


class RegionControls(QWidget):
    """The widgets of the Regions section."""

    import_requested = Signal(str)

    def __init__(self, settings: DockSettings, icons: ThemedIcons) -> None:
        super().__init__()
        self._settings = settings
        self.class_list = RegionClassList(settings, icons)
        self.tools = {name: _create_tool_button(name, icons) for name in TOOLS}
        self.edit_buttons = {name: tool_button(f"region_{name}", tip, tip, text) for name, (text, tip) in EDITS.items()}
        tip = "Saved with every region that you draw: a data set can use one reader, or where readers agree"
        self.reader_field = named(
            QLineEdit(settings.get(READER_SETTING, "")), "region_reader", "Your name as a reader", tip
        )
        self.reader_field.setPlaceholderText("your name (optional)")
        self.summary_label = named(quiet_label(NONE_YET), "region_words", "Summary of the regions")
        self.summary_label.setToolTip("")
        self.import_button = self._create_import_button()
        self.export_button = tool_button(
            "region_export", "Export regions", "Write the regions as GeoJSON for QuPath", "Export ..."
        )
        tip = "Cut training tiles from the regions of all annotated slides"
        self.data_set_button = named(QPushButton("Make data set ..."), "region_data", "Make data set", tip)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(5)
        for widget in (
            self.class_list,
            row(*(self.tools[name] for name in DRAWING_TOOLS)),
            row(self.tools[SELECT_TOOL], *self.edit_buttons.values()),
            self.summary_label,
            row(QLabel("reader"), self.reader_field, stretch=1),
            row(self.import_button, self.export_button, self.data_set_button),
        ):
            column.addWidget(widget)
        self.reader_field.editingFinished.connect(
            lambda: settings.set(READER_SETTING, self.reader_field.text().strip())
        )

    @property
    def reader_name(self) -> str:
        """Name of the reader; empty if not given."""
        return str(self.reader_field.text().strip())

    def show_tool(self, name: str) -> None:
        """Show the active tool."""
        for mode, button in self.tools.items():
            button.setChecked(mode == name)

    def update_enabled(self, ready: bool, available: dict[str, bool]) -> None:
        """Enable what is possible."""
        for each in (*self.tools.values(), self.import_button):
            each.setEnabled(ready)
        for name, button in self.edit_buttons.items():
            button.setEnabled(ready and available.get(name, False))
        self.export_button.setEnabled(ready and available.get("any", False))
        self.data_set_button.setEnabled(ready and available.get("any", False))

    def _create_import_button(self) -> QToolButton:
        button = tool_button(
            "region_import", "Import regions", "Import regions of another program, or of the model", "Import"
        )
        menu = QMenu(button)
        for kind, text in IMPORTS.items():
            action = menu.addAction(text)
            action.setObjectName(f"region_import_{kind}")
            action.triggered.connect(lambda _=False, kind=kind: self.import_requested.emit(kind))
        button.setMenu(menu)
        button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        return button


def _create_tool_button(name: str, icons: ThemedIcons) -> QToolButton:
    """Create the checkable button of a tool."""
    text, icon, tip = TOOLS[name]
    button = tool_button(f"region_{name}", tip, tip, text, checkable=True)
    button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
    icons.add(button, icon)
    return button


CLASSES_SETTING = "slide/region_classes"
CLASS_KEYS = 9  # classes that have a key, 1 to 9
VISIBLE_ROWS, SQUARE = 6, 20
NEW_CLASS_NAME = "New class"
NEW_CLASS_COLORS: tuple[Color, ...] = ((0, 158, 115), (230, 159, 0), (86, 180, 233), (213, 94, 0), (204, 121, 167))


class RegionClassList(QWidget):
    """List of classes: click selects, F2 renames, double click changes the color, Delete removes."""

    class_selected = Signal()
    class_edited = Signal(object, object)

    def __init__(self, settings: DockSettings, icons: ThemedIcons) -> None:
        super().__init__()
        self._settings = settings
        self._classes = _load_classes(settings)
        tip = "Class of what you draw (keys 1 to 9). F2: rename; double click: change the color"
        self.list = named(QListWidget(), "region_classes", "Classes of regions", tip)
        self.list.setIconSize(QSize(SQUARE, SQUARE))
        add = tool_button("add_region_class", "Add a class", "Add a class")
        remove = tool_button(
            "remove_region_class",
            "Remove the class from the list",
            "Remove the class from the list; regions keep their class",
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
        """The selected class."""
        return self._classes[max(0, self.list.currentRow())]

    @property
    def current_number(self) -> int:
        """Number of the selected class, 1 for the first."""
        return max(0, self.list.currentRow()) + 1

    def select_class(self, number: int) -> None:
        """Select a class by its number."""
        if 0 < number <= len(self._classes):
            self.list.setCurrentRow(number - 1)

    def add_missing_classes(self, classes: Sequence[RegionClass]) -> None:
        """Add classes that are not in the list."""
        known = {one.name for one in self._classes}
        new = {one.name: one for one in classes if one.name and one.name not in known}
        if new:
            self._set_classes((*self._classes, *new.values()), self.list.currentRow())

    def remove(self) -> None:
        """Remove the selected class, unless it is the last one."""
        row = self.list.currentRow()
        if len(self._classes) > 1 and row >= 0:
            self._set_classes(tuple(one for index, one in enumerate(self._classes) if index != row), max(0, row - 1))
            self.class_selected.emit()

    def set_color(self, row: int, color: Color) -> None:
        """Change the color of a class."""
        self._edit_class(row, replace(self._classes[row], color=color))

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Handle the Delete key and digits in the list."""
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            if event.key() == Qt.Key.Key_Delete:
                self.remove()
                return True
            if event.text().isdigit() and event.text() != "0":
                self.select_class(int(event.text()))
                return True
        return False

    def _set_classes(self, classes: tuple[RegionClass, ...], row: int) -> None:
        self._classes = classes
        self._settings.set(CLASSES_SETTING, [[one.name, *one.color] for one in classes])
        self._update_list(row)

    def _update_list(self, row: int) -> None:
        self.list.blockSignals(True)
        self.list.clear()
        for number, one in enumerate(self._classes, start=1):
            icon = _class_icon(one.color, str(number) if number <= CLASS_KEYS else "")
            item = QListWidgetItem(icon, format_class(one.name))
            item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable)
            self.list.addItem(item)
        self.list.setCurrentRow(row)
        self.list.blockSignals(False)
        rows = min(VISIBLE_ROWS, len(self._classes))
        self.list.setFixedHeight(rows * max(SQUARE + 2, self.list.sizeHintForRow(0)) + 2 * self.list.frameWidth())

    def _edit_class(self, row: int, now: RegionClass) -> None:
        previous = self._classes[row]
        if now != previous:
            self._set_classes((*self._classes[:row], now, *self._classes[row + 1 :]), self.list.currentRow())
            self.class_edited.emit(previous, now)

    def _on_row(self, row: int) -> None:
        self.class_selected.emit()

    def _on_renamed(self, item: QListWidgetItem) -> None:
        row, name = self.list.row(item), item.text().strip()
        other_names = {one.name for index, one in enumerate(self._classes) if index != row}
        if name == format_class(self._classes[row].name):
            return  # the stored name may be spelled differently
        if not name or name in {*other_names, *map(format_class, other_names)}:
            self._update_list(row)  # restore the name
        else:
            self._edit_class(row, replace(self._classes[row], name=name))

    def _choose_color(self, item: QListWidgetItem) -> None:
        row = self.list.row(item)
        dialog = QColorDialog(QColor(*self._classes[row].color), self.window())
        dialog.setObjectName("region_colour_dialog")
        dialog.colorSelected.connect(lambda color: self.set_color(row, (color.red(), color.green(), color.blue())))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_add(self) -> None:
        names, number = {one.name for one in self._classes}, 1
        while (name := NEW_CLASS_NAME if number == 1 else f"{NEW_CLASS_NAME} {number}") in names:
            number += 1
        color = NEW_CLASS_COLORS[len(self._classes) % len(NEW_CLASS_COLORS)]
        self._set_classes((*self._classes, RegionClass(name, color)), len(self._classes))
        self.class_selected.emit()
        self.list.editItem(self.list.currentItem())


def _load_classes(settings: DockSettings) -> tuple[RegionClass, ...]:
    """Load the stored classes, or the defaults."""
    found = []
    for one in settings.get(CLASSES_SETTING, list[object]()):
        if isinstance(one, list) and len(one) == 4 and isinstance(one[0], str):
            found.append(RegionClass(one[0], (int(one[1]), int(one[2]), int(one[3]))))
    return tuple(found) or DEFAULT_CLASSES


def _class_icon(color: Color, digit: str) -> QIcon:
    """Draw a colored square with the key in it."""
    picture = QPixmap(2 * SQUARE, 2 * SQUARE)
    picture.fill(QColor(*color))
    painter = QPainter(picture)
    font = painter.font()
    font.setPixelSize(round(1.4 * SQUARE))
    painter.setFont(font)
    painter.setPen(Qt.GlobalColor.white if sum(color) < 420 else Qt.GlobalColor.black)
    painter.drawText(picture.rect(), Qt.AlignmentFlag.AlignCenter, digit)
    painter.end()
    return QIcon(picture)
