"""The widgets of the Regions section: classes, tools, list, operations and files."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QAbstractButton, QLabel, QLineEdit, QMenu, QPushButton, QToolButton, QVBoxLayout, QWidget

from napari_melanoma.ui.slide.pixel_tools import CLICK_HINT
from napari_melanoma.ui.slide.regions_classes import RegionClassList
from napari_melanoma.ui.slide.regions_list import RegionListView
from napari_melanoma.ui.slide.regions_tools import RegionOperationPanel, RegionSettings
from napari_melanoma.ui.widgets.settings import READER_SETTING, DockSettings
from napari_melanoma.ui.widgets.style import ThemedIcons, WrappedLabel, named, row, tool_button

TOOLS = {
    "rectangle": ("rectangle", "rectangle", "Drag from corner to corner; Shift draws a square"),
    "ellipse": ("ellipse", "ellipse", "Drag from corner to corner of its box; Shift draws a circle"),
    "add_polygon": ("polygon", "polygon", "Click each corner; finish with a double click or Escape"),
    "add_polygon_lasso": ("freehand", "polygon_lasso", "Hold the mouse button and draw around the region"),
    "brush": ("brush", "paint", "Paint on the view; press again to convert the painting to regions"),
    "wand": ("wand", "fill", "Click on a color; drag, or turn the wheel with Shift, to change the tolerance"),
    "select": ("select", "select", "Click regions to select them; drag their corners with napari's own tool"),
    "split": ("split", "path", "Draw a line across the selected region, or across any; Space pans"),
    "refine": ("refine", "picker", CLICK_HINT),
    "hole": ("hole", "erase", "Draw around what is not part of the selected region, or of the one below"),
}
DRAWN_OPERATIONS = ("split", "hole", "refine")
TOOL_ROWS = (("rectangle", "ellipse", "add_polygon"), ("add_polygon_lasso", "brush", "wand"))
EDITS = {
    "class": ("class", "Assign the class that is selected in the list to the selected regions"),
    "remove": ("remove", "Delete the selected regions (Delete)"),
    "undo": ("↶", "Undo the last change of the regions (Ctrl+Z on the canvas)"),
    "redo": ("↷", "Redo the last change that was undone (Ctrl+Shift+Z on the canvas)"),
}
NO_REGIONS = "No regions yet. Select a class and draw."
EXPORT_TIP = "Write the regions as GeoJSON for QuPath"
DATA_SET_TIP = "Cut training tiles from the regions of all annotated slides"
IMPORTS = {"file": "From a file (GeoJSON) ...", "lesions": "The lesions detected by the model"}


class RegionControls(QWidget):
    """The widgets of the Regions section."""

    import_requested = Signal(str)

    def __init__(self, settings: DockSettings, icons: ThemedIcons) -> None:
        super().__init__()
        self._settings = settings
        self.class_list = RegionClassList(settings, icons)
        self.tools = {name: _create_tool_button(name, icons) for name in TOOLS}
        self.settings_view = RegionSettings(settings)
        self.region_list = RegionListView(icons)
        self.operations = RegionOperationPanel(settings)
        self.edit_buttons = {name: tool_button(f"region_{name}", tip, tip, text) for name, (text, tip) in EDITS.items()}
        tip = "Saved with every region that you draw: a data set can use one reader, or where readers agree"
        self.reader_field = named(
            QLineEdit(settings.get(READER_SETTING, "")), "region_reader", "Your name as a reader", tip
        )
        self.reader_field.setPlaceholderText("your name (optional)")
        self.summary_label = named(WrappedLabel(), "region_words", "Summary of the regions")
        self.summary_label.setProperty("quiet", True)
        self.summary_label.setToolTip("")
        self.import_button = self._create_import_button()
        self.export_button = tool_button("region_export", "Export regions", EXPORT_TIP, "Export ...")
        self.data_set_button = named(QPushButton("Make data set ..."), "region_data", "Make data set", DATA_SET_TIP)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(5)
        for widget in (
            self.class_list,
            *(row(*(self.tools[name] for name in names)) for names in TOOL_ROWS),
            self.settings_view,
            row(self.tools["select"], *self.edit_buttons.values()),
            self.summary_label,
            self.region_list,
            self.operations,
            row(*(self.tools[name] for name in DRAWN_OPERATIONS)),
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
        """Show the active tool and its settings."""
        for tool, button in self.tools.items():
            button.setChecked(tool == name)
        self.settings_view.show_wand(visible=name == "wand")

    def update_enabled(self, ready: bool, available: dict[str, bool]) -> None:
        """Enable what is possible; disabled buttons say why in their tooltips."""
        for each in (*self.tools.values(), self.import_button):
            each.setEnabled(ready)
        reasons = {"undo": "Nothing to undo.", "redo": "Nothing to redo."}
        for name, button in self.edit_buttons.items():
            _enable(button, EDITS[name][1], "" if available.get(name, False) else reasons.get(name, NO_REGIONS))
        blocker = "" if available.get("any", False) else NO_REGIONS
        _enable(self.export_button, EXPORT_TIP, blocker)
        _enable(self.data_set_button, DATA_SET_TIP, blocker)

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


def _enable(button: QAbstractButton, tip: str, blocker: str) -> None:
    """Enable a button, or show why it is disabled."""
    button.setEnabled(not blocker)
    button.setToolTip(blocker or tip)


def _create_tool_button(name: str, icons: ThemedIcons) -> QToolButton:
    """Create the checkable button of a tool."""
    text, icon, tip = TOOLS[name]
    button = tool_button(f"region_{name}", tip, tip, text, checkable=True)
    button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
    icons.add(button, icon)
    return button
