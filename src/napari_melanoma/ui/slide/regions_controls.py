"""What a user sees of the regions of a slide: classes, tools, what can be done with them, import, export, data set."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLabel, QLineEdit, QMenu, QPushButton, QToolButton, QVBoxLayout, QWidget

from napari_melanoma.ui.look import ThemedIcons, named, quiet, row, tool
from napari_melanoma.ui.settings import Settings
from napari_melanoma.ui.slide.regions_classes import RegionClassList

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
