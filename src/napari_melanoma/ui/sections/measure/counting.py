"""The controls of the counting tool: classes, tool, area, and the counts with their export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from qtpy.QtWidgets import QLabel

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.polygons import Polygon, clip_polygon
from napari_melanoma.io.geojson import Annotation
from napari_melanoma.slides import counts
from napari_melanoma.slides.regions import RegionClass, region_from_vertices
from napari_melanoma.ui.sections.measure.layer import COUNT_CLASSES, CountLayer
from napari_melanoma.ui.session.navigation import NOT_IN_VIEW
from napari_melanoma.ui.session.slide import SlideSession
from napari_melanoma.ui.viewer.camera import CameraWidget, get_camera, get_extent, get_visible_region
from napari_melanoma.ui.widgets.class_list import RegionClassList
from napari_melanoma.ui.widgets.dialogs import choose_new_file
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.signals import follow
from napari_melanoma.ui.widgets.style import WrappedLabel, fill_column, named, row, tool_button

FIELD_CLASS = RegionClass("Mitosis area", (255, 149, 0))  # of the circle of 1 mm²
CORNERS = 90  # of the polygon for this circle
# Areas to count within; ``OF_CLASS`` precedes the name of a class of regions.
VIEW, SLIDE, SELECTED, OF_CLASS = "view", "slide", "selected", "class "
AREAS = {VIEW: "the view", SLIDE: "the whole slide", SELECTED: "the selected regions"}
TOOL_TIP = "Click on the slide to add a point of the selected class; napari's select tool moves and deletes points"
EXPORT_TIP = "Write lengths, areas, angles and counts as a table (CSV)"
AREA_TIP = "Area within which points are counted, for the number per mm²"
FIELD_TIP = "Add a circle of 1 mm² at the center of the view to the regions, and count within it"
NO_SELECTION = "Select regions in the Regions section to count within them."
COUNTING_STOPPED = "Counting has stopped, because another tool or layer was selected. Press Count to continue."
NOTHING_MEASURED = "Nothing has been measured or counted yet."


class CountPanel(CameraWidget):
    """Count the points of a session by class, and export them with the measurements."""

    def __init__(self, session: SlideSession, layer: CountLayer) -> None:
        super().__init__(session.services.viewer, session.slide)
        self._session, self._layer = session, layer
        # The union of an area is kept for the next count, because that of 1,500 regions takes 0.4 s.
        self._latest: tuple[tuple[Polygon, ...], counts.CountArea] | None = None
        self.class_list = RegionClassList(session.services.settings, session.services.icons, COUNT_CLASSES)
        self.tool = tool_button("count_points", "Count points", TOOL_TIP, "Count", checkable=True)
        self.export_button = tool_button("measure_export", "Export the measurements", EXPORT_TIP, "Export...")
        self.area_combo = named(NoWheelComboBox(), "count_area", "Area of the count", AREA_TIP)
        self.field_button = tool_button("count_field", "Circle of 1 mm²", FIELD_TIP, "1 mm²")
        self.field_button.setEnabled(session.slide.info.pixel_size is not None)
        self.result_label = named(WrappedLabel(), "count_text", "Counts")
        self.result_label.setToolTip("")
        fill_column(
            self,
            self.class_list,
            row(self.tool, self.export_button),
            row(QLabel("Within"), self.area_combo, self.field_button, stretch=1),
            self.result_label,
        )
        self._result_timer = DebounceTimer(self)
        self._connect()
        self._on_points()
        self._show_results()

    @property
    def area(self) -> str:
        """The selected area: a key of ``AREAS``, or ``OF_CLASS`` with the name of a class."""
        return str(self.area_combo.currentData() or VIEW)

    def show_view(self) -> None:
        """Count the points in the view again."""
        if self.area == VIEW and self._session.points.value:
            self._result_timer.start()

    def _connect(self) -> None:
        session, services, layer = self._session, self._session.services, self._layer
        services.tool_buttons.append(self.tool)
        self.class_list.class_selected.connect(lambda: layer.set_class(self.class_list.current))
        self.class_list.class_edited.connect(self._on_class_edited)
        self.tool.clicked.connect(lambda on: layer.set_tool("count" if on else ""))
        self.area_combo.activated.connect(lambda _: self._show_results())
        self.field_button.clicked.connect(self._on_field)
        self.export_button.clicked.connect(self._on_export)
        self._result_timer.timeout.connect(self._show_results)
        layer.tool_changed.connect(self._on_tool)
        for signal, slot in (
            (session.points.changed, self._on_points),
            (session.points.ready, self._on_points),
            (session.measures.changed, self._update_buttons),  # lengths can be exported without counts
            (session.regions.changed, self._result_timer.start),
            (session.selected_regions.changed, self._result_timer.start),
            (services.class_key_pressed, self._on_class_key),
        ):
            follow(self, signal, slot)
        layer.set_class(self.class_list.current)

    def _on_points(self, _: object = None) -> None:
        self.class_list.add_named_classes(point.class_name for point in self._session.points.value)
        self._layer.show()  # in the colors of new classes
        self._update_buttons()
        self._result_timer.start()

    def _update_buttons(self, _: object = None) -> None:
        points = self._session.points
        self.tool.setEnabled(points.is_ready and not points.problem)
        has_rows = bool(points.value or self._session.measures.value)
        self.export_button.setEnabled(has_rows)
        self.export_button.setToolTip(EXPORT_TIP if has_rows else NOTHING_MEASURED)

    def _on_tool(self, name: str) -> None:
        """Show the active tool; state that it was left, unless its button was pressed or another slide is displayed."""
        was_left = not name and self.tool.isChecked() and self._session.displayed.value
        self.tool.setChecked(bool(name))
        if was_left:
            self._session.services.status.show_until(COUNTING_STOPPED, self.tool.toggled)

    def _on_class_key(self, number: int) -> None:
        if self.tool.isChecked():
            self.class_list.select_class(number)

    def _on_class_edited(self, previous: RegionClass, current: RegionClass) -> None:
        """Give the points of a class its new name and color."""
        self._session.points.apply(lambda points: counts.rename_class(points, previous.name, current.name))
        self._layer.set_class(self.class_list.current)

    def _on_field(self) -> None:
        """Add a circle of 1 mm² to the regions, and count within it."""
        if not self._session.slide.is_shown:
            self._session.services.status.show_briefly(NOT_IN_VIEW)
            return
        field = create_field(self._session)
        self._session.regions.apply(lambda regions: (*regions, field))
        self._session.selected_regions.set((field.id,))
        self.area_combo.setCurrentIndex(self.area_combo.findData(SELECTED))
        self._show_results()

    def _show_results(self) -> None:
        """Show counts and densities within the selected area."""
        session, points = self._session, self._session.points.value
        areas, previous = list_areas(session), self.area
        if [self.area_combo.itemData(index) for index in range(self.area_combo.count())] != list(areas):
            self.area_combo.clear()
            for area, text in areas.items():
                self.area_combo.addItem(text, area)
            self.area_combo.setCurrentIndex(max(0, self.area_combo.findData(previous)))
        if self.area == VIEW and not session.slide.is_shown:
            return  # another image is in view; the counts follow when the slide is shown again
        polygons = find_area(session, self.area)
        if self._latest is None or self._latest[0] != polygons:
            self._latest = polygons, counts.CountArea(polygons)
        found = counts.count_within(points, self._class_names, self._latest[1], session.slide.info.pixel_size)
        needs_selection = self.area == SELECTED and not session.selected_regions.value and points
        text = NO_SELECTION if needs_selection else counts.describe_counts(found, len(points))
        self.result_label.setText(session.points.problem or text)

    @property
    def _class_names(self) -> list[str]:
        """The classes of the list, and those of points that were removed from it: their points are counted, too."""
        listed = (one.name for one in self.class_list.classes)
        return list(dict.fromkeys((*listed, *(point.class_name for point in self._session.points.value))))

    def _on_export(self) -> None:
        window, title = self._session.services.window, "Export the measurements"
        suggested = Path(f"{self._session.slide.info.name}-measurements.csv")
        choose_new_file(window, "measure_export_dialog", title, "Table", self._export_file, suggested)

    def _export_file(self, path: Path) -> None:
        """Write all measurements, and the counts within all areas, as CSV; a class without a point was not counted."""
        session = self._session
        measures, points, size = session.measures.value, session.points.value, session.slide.info.pixel_size
        classes = list(dict.fromkeys(point.class_name for point in points))
        areas = {area: text for area, text in list_areas(session).items() if points}
        if not session.selected_regions.value:
            areas.pop(SELECTED, None)
        if not session.slide.is_shown:
            areas.pop(VIEW, None)  # the camera is that of another image
        polygons = {text: find_area(session, area) for area, text in areas.items()}

        def write(run: RunContext) -> str:
            within = {
                text: counts.count_within(points, classes, counts.CountArea(outlines), size)
                for text, outlines in polygons.items()
            }
            counts.write_measurements(path, measures, within, size)
            return f"Saved: {path}"

        session.points.submit(write, session.points.message.emit)


def list_areas(session: SlideSession) -> dict[str, str]:
    """Return the areas with their texts; each class of regions is one."""
    classes = dict.fromkeys(region.class_name for region in session.regions.value if region.class_name)
    return {**AREAS, **{f"{OF_CLASS}{name}": counts.IN_REGIONS.format(name) for name in classes}}


def find_area(session: SlideSession, area: str) -> tuple[Polygon, ...]:
    if area == VIEW:
        return find_view(session)
    if area == SLIDE:
        height, width = map(float, session.slide.size)
        return (Polygon(((0.0, 0.0), (0.0, width), (height, width), (height, 0.0))),)
    selected = session.selected_regions.value
    return tuple(
        polygon
        for region in session.regions.value
        if (region.id in selected if area == SELECTED else f"{OF_CLASS}{region.class_name}" == area)
        for polygon in region.polygons
    )


def find_view(session: SlideSession) -> tuple[Polygon, ...]:
    """Return the outline of the visible part of a slide, which may be rotated."""
    viewer, slide = session.services.viewer, session.slide
    height, width = get_extent(viewer)
    y, x = (float(value) for value in get_camera(viewer).center[-2:])
    top, left, bottom, right = y - height / 2, x - width / 2, y + height / 2, x + width / 2
    corners = (top, left), (top, right), (bottom, right), (bottom, left)
    return clip_polygon(Polygon(tuple(map(slide.to_slide, corners))), slide.size)


def create_field(session: SlideSession) -> Annotation:
    """Return a region of 1 mm², a circle at the center of the view; the slide has a scale."""
    view = get_visible_region(session.services.viewer, session.slide)
    turns = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    circle = np.stack([np.sin(turns), np.cos(turns)], axis=1)
    area = CORNERS / 2 * np.sin(2 * np.pi / CORNERS)  # of the polygon for a circle of radius 1
    ring = np.array(view.center) + 1000 * circle / np.sqrt(area) / np.array(session.slide.pixel_um)
    return region_from_vertices(ring, FIELD_CLASS, session.services.reader)
