"""Counting points by class, in the Measure section of the Slide dock: widgets, file and export."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QFileDialog

from napari_melanoma.ui.slide.counts_layer import OF_CLASS, SELECTED, SLIDE, VIEW, CountLayer, get_view_outline
from napari_melanoma.ui.viewer.camera import get_camera
from napari_melanoma.ui.widgets.edited_document import DocumentState, EditedDocument, EditHistory, Stamp
from napari_melanoma.ui.widgets.settings import DebounceTimer

if TYPE_CHECKING:
    from superqt import QCollapsible

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.polygons import Polygon
    from napari_melanoma.slides.counts import CountArea, CountedPoints, CountResult, StoredCounts
    from napari_melanoma.slides.regions import RegionClass
    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.slide.counts_view import CountView
    from napari_melanoma.ui.slide.measurements import MeasurementSection
    from napari_melanoma.ui.slide.regions_store import RegionSelection, RegionStore
    from napari_melanoma.ui.slide.run_manager import SlideResultLocation
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

NO_SELECTION = "Select regions in the Regions section to count within them."
NOTHING_MEASURED = "Nothing has been measured or counted yet."
KEYS = range(1, 10)


@dataclass(frozen=True)
class CountState(DocumentState["CountedPoints"]):
    """The points of one slide. ``features``: the GeoJSON features as read, so that saving keeps their other content."""

    features: tuple[Any, ...] = ()


class CountStore(EditedDocument[CountState]):
    """The counted points of slides, with export."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent, _read_points, _write_points)

    @property
    def points(self) -> CountedPoints:
        """The current points; empty until they have been read."""
        return () if self.state is None else self.state.history.current

    def export(self, path: Path, write: Callable[[Path], None]) -> None:
        """Write a table in the background."""

        def work(run: RunContext) -> str:
            write(path)
            return f"Saved: {path}"

        self._submit(f"export {path}", lambda: work, self.message.emit)


class CountSection(QObject):
    """Synchronize the layer, widgets and file of the counted points; widgets are created when the section is opened."""

    failed = Signal(object)

    def __init__(
        self,
        context: SlideContext,
        section: QCollapsible,
        measurements: MeasurementSection,
        regions: RegionStore,
        selection: RegionSelection,
    ) -> None:
        super().__init__(context)
        self._context, self._section, self._measurements = context, section, measurements
        self._regions, self._selection = regions, selection
        self._view: CountView | None = None
        self.store = CountStore(self)
        self.layer = CountLayer(context.viewer, self)
        steps = {"Control-Z": self.store.undo, "Control-Shift-Z": self.store.redo}
        self.layer.bind({**{str(number): partial(self._on_key, number) for number in KEYS}, **steps})
        self._area: tuple[tuple[Polygon, ...], CountArea] | None = None  # polygons of the last count, and their union
        self._result_timer = DebounceTimer(self)
        self._result_timer.timeout.connect(self._show_results)
        self._connect()
        self._on_section_toggled(section.isExpanded())

    def _connect(self) -> None:
        context = self._context
        self.layer.changed.connect(lambda points: self.store.apply_edit(lambda _: points))
        self.layer.left.connect(lambda: self._set_tool(on=False))
        self.store.changed.connect(self._on_changed)
        self.store.message.connect(context.status.show_message)
        self.store.failed.connect(self.failed)
        self._measurements.edited.connect(self._update_buttons)  # lengths can be exported without counts
        for source in (self._regions.changed, self._selection.changed):
            source.connect(self._start_results)
        context.run_manager.results_found.connect(self._on_results_found)
        context.flush_requested.connect(self.store.flush)
        camera = get_camera(context.viewer)
        for event in (camera.events.center, camera.events.zoom):
            context.connections.connect(event, self._on_camera)
        self._section.toggled.connect(self._on_section_toggled)

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Switch to another slide; its points are read when its results folder is found."""
        self._set_tool(on=False)
        self.layer.set_slide(slide)
        self.store.show(None if slide is None else slide.identity)

    def _on_section_toggled(self, is_open: bool) -> None:
        """Create the content when the section is first opened."""
        if not is_open or self._view is not None:
            return
        from napari_melanoma.ui.slide.counts_view import CountView

        self._view = view = CountView(self._context.settings, self._context.icons)
        view.class_list.class_selected.connect(self._on_class)
        view.class_list.class_edited.connect(self._on_class_edited)
        view.tool.clicked.connect(lambda on: self._set_tool(on=on))
        view.area_combo.activated.connect(lambda _: self._show_results())
        view.export_button.clicked.connect(self._on_export)
        for way, button in view.history_buttons.items():
            button.clicked.connect(lambda _=False, way=way: self.store.step_history(way))
        self._section.content().layout().itemAt(0).widget().layout().addWidget(view)
        self._context.icons.apply()
        self._on_changed()
        self._show_results()

    def _on_results_found(self, location: SlideResultLocation) -> None:
        self.store.load(location.identity, location.folder)

    def _on_changed(self) -> None:
        if self._view is not None:
            self._view.class_list.add_named_classes(point.class_name for point in self.store.points)
        if self.store.state is not None:
            self.layer.show(self.store.points, self._classes)
        self._update_buttons()
        self._result_timer.start()

    @property
    def _classes(self) -> tuple[RegionClass, ...]:
        """The classes; empty while there are neither widgets nor points, so that none are loaded."""
        if self._view is not None or not self.store.points:
            return () if self._view is None else self._view.class_list.classes
        from napari_melanoma.ui.slide.counts_view import COUNT_CLASSES
        from napari_melanoma.ui.slide.regions_classes import load_classes

        return load_classes(self._context.settings, COUNT_CLASSES)

    def _on_key(self, number: int) -> None:
        if self._view is not None:
            self._view.class_list.select_class(number)

    def _on_class(self) -> None:
        if self._view is not None:
            self.layer.set_class(self._view.class_list.current)

    def _on_class_edited(self, previous: RegionClass, now: RegionClass) -> None:
        """Apply the new name of a class to its points."""
        from napari_melanoma.slides.counts import rename_class

        self.store.apply_edit(lambda points: rename_class(points, previous.name, now.name))
        self.layer.show(self.store.points, self._classes)
        self._on_class()

    def _set_tool(self, *, on: bool) -> None:
        view = self._view
        if view is not None:
            view.tool.setChecked(on)
            self.layer.set_tool(view.class_list.current if on else None)

    def _on_camera(self, event: object = None) -> None:
        if self._view is not None and self._view.area == VIEW and self.store.points:
            self._result_timer.start()

    def _start_results(self, _: object = None) -> None:
        if self._view is not None and self._section.isExpanded():
            self._result_timer.start()

    def _update_buttons(self) -> None:
        view, now = self._view, self.store.state
        if view is None:
            return
        view.tool.setEnabled(now is not None)
        view.history_buttons["undo"].setEnabled(now is not None and bool(now.history.past))
        view.history_buttons["redo"].setEnabled(now is not None and bool(now.history.undone))
        has_rows = bool(self.store.points or self._measurements.measures)
        view.export_button.setEnabled(has_rows)
        view.export_button.setToolTip(
            "Write lengths, areas, angles and counts as a table (CSV)" if has_rows else NOTHING_MEASURED
        )

    def _show_results(self) -> None:
        """Show counts and densities within the selected area."""
        view = self._view
        if view is None:
            return
        from napari_melanoma.slides.counts import describe_counts

        view.show_areas(list(dict.fromkeys(one.class_name for one in self._regions.regions if one.class_name)))
        text = describe_counts(self._count(view.area), len(self.store.points))
        is_empty = view.area == SELECTED and not self._selection.ids and self.store.points
        view.result_label.setText(NO_SELECTION if is_empty else text)

    def _find_area(self, area: str) -> tuple[Polygon, ...]:
        """Return the polygons of an area."""
        from napari_melanoma.core.polygons import Polygon

        slide, regions = self._context.slide, self._regions.regions
        if slide is None:
            return ()
        if area == VIEW:
            return get_view_outline(self._context.viewer, slide)
        if area == SLIDE:
            height, width = map(float, slide.size)
            return (Polygon(((0.0, 0.0), (0.0, width), (height, width), (height, 0.0))),)
        ids = set(self._selection.ids)
        chosen = [
            one for one in regions if (one.id in ids if area == SELECTED else f"{OF_CLASS}{one.class_name}" == area)
        ]
        return tuple(polygon for one in chosen for polygon in one.polygons)

    def _count(self, area: str) -> tuple[CountResult, ...]:
        """Count within an area; the union of its polygons is cached, because that of 1,500 regions takes 0.4 s."""
        from napari_melanoma.slides.counts import CountArea, count_within

        polygons = self._find_area(area)
        if self._area is None or self._area[0] != polygons:
            self._area = polygons, CountArea(polygons)
        slide = self._context.slide
        size = None if slide is None else slide.info.pixel_size
        return count_within(self.store.points, self._class_names, self._area[1], size)

    @property
    def _class_names(self) -> list[str]:
        return [one.name for one in self._classes]

    def _on_export(self) -> None:
        """Ask for a file, and write all measurements and the counts of all areas."""
        slide = self._context.slide
        if slide is None:
            return
        dialog = QFileDialog(self._context.window, "Export the measurements")
        dialog.setObjectName("measure_export_dialog")
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setNameFilter("Table (*.csv)")
        dialog.setDefaultSuffix("csv")
        dialog.selectFile(f"{slide.info.name}-measurements.csv")
        dialog.fileSelected.connect(self.export_file)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def export_file(self, name: str) -> None:
        """Write all measurements, and the counts within all areas, as CSV."""
        slide, view = self._context.slide, self._view
        if slide is None or view is None:
            return
        areas = {view.area_combo.itemData(at): view.area_combo.itemText(at) for at in range(view.area_combo.count())}
        if not self._selection.ids:
            areas.pop(SELECTED, None)
        measures, points, classes, size = (
            self._measurements.measures,
            self.store.points,
            self._class_names,
            slide.info.pixel_size,
        )
        polygons = {text: self._find_area(area) for area, text in areas.items()} if points else {}

        def write(path: Path) -> None:
            from napari_melanoma.slides.counts import CountArea, count_within, write_measurements

            counts = {text: count_within(points, classes, CountArea(one), size) for text, one in polygons.items()}
            write_measurements(path, measures, counts, size)

        self.store.export(Path(name), write)


def _read_points(identity: str, folder: Path) -> tuple[CountState, StoredCounts]:
    from napari_melanoma.slides.counts import read_counts

    found = read_counts(folder)
    return CountState(identity, EditHistory(found.points), folder, found.features), found


def _write_points(state: CountState, stamp: Stamp | None) -> StoredCounts:
    from napari_melanoma.slides.counts import save_counts

    return save_counts(state.folder, Path(state.identity), state.history.current, stamp, state.features)
