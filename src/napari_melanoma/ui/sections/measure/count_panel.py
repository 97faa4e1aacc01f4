"""The controls of the counting tool: classes, tool, area, and the counts with their export."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLabel

from napari_melanoma.ui.sections.measure.points import (
    COUNT_CLASSES,
    SELECTED,
    VIEW,
    PointCounter,
    create_field,
    find_area,
    list_areas,
)
from napari_melanoma.ui.session.counts import COUNT_DOCUMENT
from napari_melanoma.ui.viewer.camera import CameraWidget
from napari_melanoma.ui.widgets.class_list import RegionClassList
from napari_melanoma.ui.widgets.dialogs import choose_new_file
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.style import WrappedLabel, fill_column, follow, named, row, tool_button

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.slides.regions import RegionClass
    from napari_melanoma.ui.sections.measure.count_layer import CountLayer
    from napari_melanoma.ui.session.slide import SlideSession

TOOL_TIP = "Click on the slide to add a point of the selected class; napari's select tool moves and deletes points"
STEPS = {"undo": ("↶", "Undo the last change of the points"), "redo": ("↷", "Redo")}
EXPORT_TIP = "Write lengths, areas, angles and counts as a table (CSV)"
AREA_TIP = "Area within which points are counted, for the number per mm²"
FIELD_TIP = "Add a circle of 1 mm² at the center of the view to the regions, and count within it"
NO_SELECTION = "Select regions in the Regions section to count within them."
COUNTING_STOPPED = "Counting has stopped, because another tool or layer was selected. Press count to continue."
NOTHING_MEASURED = "Nothing has been measured or counted yet."


class CountPanel(CameraWidget):
    """Count the points of a session by class, and export them with the measurements."""

    def __init__(self, session: SlideSession, layer: CountLayer) -> None:
        super().__init__(session.services.viewer)
        services = session.services
        self._session, self._services, self._layer = session, services, layer
        self._document, self._counter = session.document(COUNT_DOCUMENT), PointCounter(session)
        self.class_list = RegionClassList(services.settings, services.icons, COUNT_CLASSES)
        self.tool = tool_button("count_points", "Count points", TOOL_TIP, "count", checkable=True)
        self.history_buttons = {
            step: tool_button(f"count_{step}", tip, tip, text) for step, (text, tip) in STEPS.items()
        }
        self.export_button = tool_button("measure_export", "Export the measurements", EXPORT_TIP, "Export ...")
        self.area_combo = named(NoWheelComboBox(), "count_area", "Area of the count", AREA_TIP)
        self.field_button = tool_button("count_field", "Circle of 1 mm²", FIELD_TIP, "1 mm²")
        self.field_button.setEnabled(session.slide.info.pixel_size is not None)
        self.result_label = named(WrappedLabel(lines=4), "count_text", "Counts")
        self.result_label.setToolTip("")
        fill_column(
            self,
            self.class_list,
            row(self.tool, *self.history_buttons.values(), self.export_button),
            row(QLabel("within"), self.area_combo, self.field_button, stretch=1),
            self.result_label,
        )
        self._result_timer = DebounceTimer(self)
        self._connect()
        self._on_changed()
        self._show_results()

    @property
    def area(self) -> str:
        """The selected area: a key of ``AREAS``, or ``OF_CLASS`` with the name of a class."""
        return str(self.area_combo.currentData() or VIEW)

    def _connect(self) -> None:
        session, services = self._session, self._services
        services.tool_buttons.append(self.tool)
        self.class_list.class_selected.connect(lambda: self._layer.set_class(self.class_list.current))
        self.class_list.class_edited.connect(self._on_class_edited)
        self.tool.clicked.connect(self._on_tool)
        self.area_combo.activated.connect(lambda _: self._show_results())
        self.field_button.clicked.connect(self._on_field)
        self.export_button.clicked.connect(self._on_export)
        for step, button in self.history_buttons.items():
            button.clicked.connect(lambda _=False, step=step: self._document.step(step))
        self._result_timer.timeout.connect(self._show_results)
        self._layer.left.connect(self._on_left)
        connect = partial(follow, self)
        connect(self._document.changed, self._on_changed)
        connect(self._document.ready, self._on_changed)
        connect(session.measures.changed, self._update_buttons)  # lengths can be exported without counts
        connect(session.regions.changed, self._result_timer.start)
        connect(session.selected_regions.changed, self._result_timer.start)
        connect(services.class_key_pressed, self._on_class_key)

    def _on_changed(self) -> None:
        self.class_list.add_named_classes(point.class_name for point in self._document.value)
        self._layer.show()  # in the colors of new classes
        self._update_buttons()
        self._result_timer.start()

    def _update_buttons(self) -> None:
        document = self._document
        self.tool.setEnabled(document.is_ready and not document.problem)
        self.history_buttons["undo"].setEnabled(document.can_undo)
        self.history_buttons["redo"].setEnabled(document.can_redo)
        has_rows = bool(document.value or self._session.measures.value)
        self.export_button.setEnabled(has_rows)
        self.export_button.setToolTip(EXPORT_TIP if has_rows else NOTHING_MEASURED)

    def _on_tool(self, on: bool) -> None:
        if on:
            self._layer.start_tool(self.class_list.current)
        else:
            self._layer.stop_tool()

    def _on_field(self) -> None:
        """Add a circle of 1 mm² to the regions, and count within it."""
        field = create_field(self._session)
        self._session.regions.apply(lambda regions: (*regions, field))
        self._session.selected_regions.set((field.id,))
        self.area_combo.setCurrentIndex(self.area_combo.findData(SELECTED))
        self._show_results()

    def _on_left(self) -> None:
        self.tool.setChecked(False)
        self._services.status.show_until(COUNTING_STOPPED, self.tool.toggled)

    def _on_class_key(self, number: int) -> None:
        if self.tool.isChecked():
            self.class_list.select_class(number)

    def _on_class_edited(self, previous: RegionClass, current: RegionClass) -> None:
        """Give the points of a class its new name and color."""
        from napari_melanoma.slides.counts import rename_class

        self._document.apply(lambda points: rename_class(points, previous.name, current.name))
        self._layer.show()
        self._layer.set_class(self.class_list.current)

    def update_view(self) -> None:
        """Count the points in the view again."""
        if self.area == VIEW and self._document.value:
            self._result_timer.start()

    def _show_results(self) -> None:
        """Show counts and densities within the selected area."""
        from napari_melanoma.slides.counts import describe_counts

        self._show_areas(list_areas(self._session))
        points = self._document.value
        text = describe_counts(self._counter.count(self.area, self._class_names), len(points))
        needs_selection = self.area == SELECTED and not self._session.selected_regions.value and points
        self.result_label.setText(self._document.problem or (NO_SELECTION if needs_selection else text))

    def _show_areas(self, areas: dict[str, str]) -> None:
        if [self.area_combo.itemData(index) for index in range(self.area_combo.count())] == list(areas):
            return
        previous = self.area
        self.area_combo.clear()
        for area, text in areas.items():
            self.area_combo.addItem(text, area)
        self.area_combo.setCurrentIndex(max(0, self.area_combo.findData(previous)))

    @property
    def _class_names(self) -> list[str]:
        return [one.name for one in self.class_list.classes]

    def _on_export(self) -> None:
        """Ask for the file to export to."""
        title, suggested = "Export the measurements", Path(f"{self._session.slide.info.name}-measurements.csv")
        choose_new_file(self._services.window, "measure_export_dialog", title, "Table", self._export_file, suggested)

    def _export_file(self, path: Path) -> None:
        """Write all measurements, and the counts within all areas, as CSV."""
        session = self._session
        areas = list_areas(session)
        if not session.selected_regions.value:
            areas.pop(SELECTED)
        measures, points, classes = session.measures.value, self._document.value, self._class_names
        size = session.slide.info.pixel_size
        polygons = {text: find_area(session, area) for area, text in areas.items()} if points else {}

        def write(run: RunContext) -> str:
            from napari_melanoma.slides.counts import CountArea, count_within, write_measurements

            counts = {
                text: count_within(points, classes, CountArea(outlines), size) for text, outlines in polygons.items()
            }
            write_measurements(path, measures, counts, size)
            return f"Saved: {path}"

        self._document.submit(write, self._document.message.emit)
