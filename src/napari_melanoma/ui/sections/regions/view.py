"""The widgets of the Regions section."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QLabel, QMenu, QPushButton, QToolButton, QWidget

from napari_melanoma.ui.sections.regions.region_list import RegionListView
from napari_melanoma.ui.sections.regions.resolve import OPERATIONS
from napari_melanoma.ui.viewer.pixel_tools import CLICK_HINT
from napari_melanoma.ui.widgets.class_list import RegionClassList
from napari_melanoma.ui.widgets.editors import ReaderField
from napari_melanoma.ui.widgets.settings import READER_SETTING, DockSettings
from napari_melanoma.ui.widgets.style import ThemedIcons, WrappedLabel, enable, fill_column, named, row, tool_button

if TYPE_CHECKING:
    from napari_melanoma.ui.sections.regions.resolve import RegionTexts

TOOLS = {  # text, icon and tooltip
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
DRAWN_OPERATIONS = ("split", "hole", "refine")  # tools that change existing regions
TOOL_ROWS = (("rectangle", "ellipse", "add_polygon"), ("add_polygon_lasso", "brush", "wand"))
EDITS = {  # text and tooltip
    "class": ("class", "Assign the class that is selected in the list to the selected regions"),
    "remove": ("remove", "Delete the selected regions (Delete)"),
    "undo": ("↶", "Undo the last change of regions, measurements or counted points (Ctrl+Z on the canvas)"),
    "redo": ("↷", "Redo the last change that was undone (Ctrl+Shift+Z on the canvas)"),
}
EXPORT_TIP = "Write the regions as GeoJSON for QuPath"
DATA_SET_TIP = "Cut training tiles from the regions of all annotated slides"
IMPORTS = {"file": "From a file (GeoJSON) ...", "lesions": "The lesions detected by the model"}
DISTANCE_SETTING, TOLERANCE_SETTING = "slide/region_distance_um", "slide/region_wand_tolerance"
REACH_SETTING, SNAP_SETTING = "slide/region_wand_reach_um", "slide/region_snap"


class RegionView(QWidget):
    """The widgets of the section for one slide; ``unit``: of distances on it, "µm" or "px"."""

    import_requested = Signal(str)  # key of IMPORTS

    def __init__(self, settings: DockSettings, icons: ThemedIcons, unit: str) -> None:
        super().__init__()
        self.class_list = RegionClassList(settings, icons)
        self.tools = {name: _create_tool_button(name, icons) for name in TOOLS}
        self.settings_view = RegionSettings(settings, unit)
        self.region_list = RegionListView(icons)
        self.operations = RegionOperationPanel(settings)
        self.edit_buttons = {name: tool_button(f"region_{name}", tip, tip, text) for name, (text, tip) in EDITS.items()}
        tip = "Saved with every region that you draw: a data set can use one reader, or where readers agree"
        self.reader_field = ReaderField("region_reader", tip, "your name (optional)")
        self.reader_field.show_name(settings.get(READER_SETTING, ""))
        self.summary_label = named(WrappedLabel(lines=3), "region_summary", "Summary of the regions")
        self.summary_label.setProperty("quiet", True)
        self.summary_label.setToolTip("")
        self.import_button = self._create_import_button()
        self.export_button = tool_button("region_export", "Export regions", EXPORT_TIP, "Export ...")
        self.data_set_button = named(QPushButton("Make data set ..."), "region_data", "Make data set", DATA_SET_TIP)
        fill_column(
            self,
            self.class_list,
            *(row(*(self.tools[name] for name in names)) for names in TOOL_ROWS),
            self.settings_view,
            row(self.tools["select"], *self.edit_buttons.values()),
            self.summary_label,
            self.region_list,
            self.operations,
            row(*(self.tools[name] for name in DRAWN_OPERATIONS)),
            row(QLabel("reader"), self.reader_field, self.reader_field.change_button, stretch=1),
            row(self.import_button, self.export_button, self.data_set_button),
            spacing=5,
        )

    def show_tool(self, name: str) -> None:
        """Show the active tool and its settings."""
        for tool, button in self.tools.items():
            button.setChecked(tool == name)
        self.settings_view.show_wand(visible=name == "wand")

    def show_texts(self, texts: RegionTexts) -> None:
        """Show the summary, enable the buttons that are possible, and explain why others are disabled."""
        self.summary_label.setText(texts.summary)
        for name, button in self.edit_buttons.items():
            enable(button, EDITS[name][1], texts.blockers[name])
        enable(self.export_button, EXPORT_TIP, texts.blockers["export"])
        enable(self.data_set_button, DATA_SET_TIP, texts.blockers["data"])
        self.operations.show_texts(texts)

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


class RegionSettings(QWidget):
    """Settings of the drawing tools: snapping, and tolerance and size limit of the magic wand."""

    wand_changed = Signal()

    def __init__(self, settings: DockSettings, unit: str) -> None:
        super().__init__()
        from napari_melanoma.slides.region_operations import DEFAULT_TOLERANCE, TOLERANCES

        tip = "Follow the outlines of other regions where you draw within 8 pixels of the screen: no gap, no overlap"
        self.snap = named(QCheckBox("snap to neighboring regions"), "region_snap", "Snap to neighboring regions", tip)
        self.snap.setChecked(settings.get(SNAP_SETTING, False))
        tip = "How different colors may be (1 to 100). Drag to the right or left on the slide to change it"
        self.tolerance = named(QDoubleSpinBox(), "region_tolerance", "Tolerance of the magic wand", tip)
        self.tolerance.setRange(*TOLERANCES)
        self.tolerance.setDecimals(1)
        self.tolerance.setValue(settings.get(TOLERANCE_SETTING, DEFAULT_TOLERANCE))
        tip = "The region ends at this distance from the point that you click, and at the edge of the view"
        self.reach = named(QDoubleSpinBox(), "region_reach", "Size limit of the magic wand", tip)
        self.reach.setRange(10, 100_000)
        self.reach.setDecimals(0)
        self.reach.setSingleStep(100)
        self.reach.setValue(settings.get(REACH_SETTING, 1000.0))
        self.reach.setSuffix(f" {unit}")
        self._wand = (
            row(QLabel("tolerance"), self.tolerance, stretch=1),
            row(QLabel("within"), self.reach, stretch=1),
        )
        fill_column(self, *self._wand, self.snap)
        self.show_wand(visible=False)
        self.snap.toggled.connect(partial(settings.set, SNAP_SETTING))
        self.tolerance.valueChanged.connect(partial(settings.set, TOLERANCE_SETTING))
        self.reach.valueChanged.connect(partial(settings.set, REACH_SETTING))
        for box in (self.tolerance, self.reach):
            box.valueChanged.connect(lambda _: self.wand_changed.emit())

    def show_wand(self, *, visible: bool) -> None:
        """Show the settings of the magic wand while it is active."""
        for line in self._wand:
            line.setVisible(visible)


class RegionOperationPanel(QWidget):
    """Buttons of the operations; the tooltip of a disabled button explains why it is disabled."""

    requested = Signal(str)  # key of OPERATIONS

    def __init__(self, settings: DockSettings) -> None:
        super().__init__()
        self.buttons = {
            name: tool_button(f"region_{name}", operation.tip, operation.tip, operation.text)
            for name, operation in OPERATIONS.items()
        }
        tip = "Distance by which grow and shrink move outlines"
        self.distance = named(QDoubleSpinBox(), "region_distance", "Distance to grow or shrink", tip)
        self.distance.setRange(0.1, 10_000)
        self.distance.setDecimals(1)
        self.distance.setSuffix(" µm")
        self.distance.setValue(settings.get(DISTANCE_SETTING, 25.0))
        rows = (("lock", "copy", "paste"), ("union", "subtract", "intersect"), ("fill", "simplify"))
        fill_column(
            self,
            *(row(*(self.buttons[name] for name in names)) for names in rows),
            row(self.distance, self.buttons["grow"], self.buttons["shrink"]),
        )
        self.distance.valueChanged.connect(partial(settings.set, DISTANCE_SETTING))
        for name, button in self.buttons.items():
            button.clicked.connect(lambda _=False, name=name: self.requested.emit(name))

    def show_texts(self, texts: RegionTexts) -> None:
        """Enable the operations that are possible."""
        self.buttons["lock"].setText(texts.lock.text)
        for name, operation in {**OPERATIONS, "lock": texts.lock}.items():
            enable(self.buttons[name], operation.tip, texts.blockers[name])
            self.buttons[name].setAccessibleName(operation.tip)


def _create_tool_button(name: str, icons: ThemedIcons) -> QToolButton:
    """Create the checkable button of a tool."""
    text, icon, tip = TOOLS[name]
    button = tool_button(f"region_{name}", tip, tip, text, checkable=True)
    button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
    icons.add(button, icon)
    return button
