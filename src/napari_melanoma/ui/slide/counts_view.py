"""The widgets for counting points by class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_melanoma.slides.counts import IN_REGIONS
from napari_melanoma.slides.regions import RegionClass
from napari_melanoma.ui.slide.counts_layer import AREAS, OF_CLASS, VIEW
from napari_melanoma.ui.slide.regions_classes import ClassKind, RegionClassList
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.style import WrappedLabel, named, row, tool_button

if TYPE_CHECKING:
    from napari_melanoma.ui.widgets.settings import DockSettings
    from napari_melanoma.ui.widgets.style import ThemedIcons

COUNT_CLASSES = ClassKind(
    "slide/count_classes",
    (RegionClass("Mitosis", (255, 149, 0)), RegionClass("TIL", (0, 114, 178)), RegionClass("Other", (0, 158, 115))),
    "count",
    "Classes of counted points",
    "Class of the points that you count",
    "points",
)


class CountView(QWidget):
    """Classes, the tool, the area, and the counts."""

    def __init__(self, settings: DockSettings, icons: ThemedIcons) -> None:
        super().__init__()
        self.class_list = RegionClassList(settings, icons, COUNT_CLASSES)
        tip = "Click on the slide to add a point of the selected class; napari's select tool moves and deletes points"
        self.tool = tool_button("count_points", "Count points", tip, "count", checkable=True)
        tips = {"undo": ("↶", "Undo the last change of the points"), "redo": ("↷", "Redo")}
        self.history_buttons = {way: tool_button(f"count_{way}", tip, tip, text) for way, (text, tip) in tips.items()}
        tip = "Write lengths, areas, angles and counts as a table (CSV)"
        self.export_button = tool_button("measure_export", "Export the measurements", tip, "Export ...")
        tip = "Area within which points are counted, for the number per mm²"
        self.area_combo = named(NoWheelComboBox(), "count_area", "Area of the count", tip)
        self.result_label = named(WrappedLabel(), "count_words", "Counts")
        self.result_label.setToolTip("")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in (
            self.class_list,
            row(self.tool, *self.history_buttons.values(), self.export_button),
            row(QLabel("within"), self.area_combo, stretch=1),
            self.result_label,
        ):
            layout.addWidget(widget)

    @property
    def area(self) -> str:
        """The selected area."""
        return str(self.area_combo.currentData() or VIEW)

    def show_areas(self, classes: list[str]) -> None:
        """List the areas, among them those of the classes of regions."""
        entries = {**AREAS, **{f"{OF_CLASS}{name}": IN_REGIONS.format(name) for name in classes}}
        if [self.area_combo.itemData(index) for index in range(self.area_combo.count())] == list(entries):
            return
        previous = self.area
        self.area_combo.clear()
        for area, text in entries.items():
            self.area_combo.addItem(text, area)
        self.area_combo.setCurrentIndex(max(0, self.area_combo.findData(previous)))
