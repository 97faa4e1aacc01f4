"""The counting tool in the Measure section of the Slide dock: widgets, points layer, stored points and export."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QLabel, QWidget

from napari_melanoma.slides.regions import RegionClass
from napari_melanoma.ui.session.history import History
from napari_melanoma.ui.viewer import slide_layers
from napari_melanoma.ui.viewer.camera import get_camera, get_extent
from napari_melanoma.ui.viewer.shape_layers import HALF, Keys, bind_keys, get_data_action, is_slide_open, to_rgba
from napari_melanoma.ui.widgets.class_list import (
    DEFAULT_COLOR,
    ClassKind,
    RegionClassList,
    load_classes,
)
from napari_melanoma.ui.widgets.dialogs import choose_new_file
from napari_melanoma.ui.widgets.edited_document import DocumentState, EditedDocument
from napari_melanoma.ui.widgets.editors import NoWheelComboBox
from napari_melanoma.ui.widgets.latest_writer import Stamp
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.widgets.style import (
    Connections,
    WrappedLabel,
    add_to_section,
    fill_column,
    named,
    row,
    tool_button,
)

if TYPE_CHECKING:
    from napari.layers import Points
    from napari.viewer import Viewer
    from superqt import QCollapsible

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.polygons import Polygon
    from napari_melanoma.slides.counts import CountArea, CountedPoints, CountResult, StoredCounts
    from napari_melanoma.ui.session.location import SlideResultLocation
    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.slide.measurements import MeasurementSection
    from napari_melanoma.ui.slide.regions_store import RegionSelection, RegionStore
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide
    from napari_melanoma.ui.widgets.settings import DockSettings
    from napari_melanoma.ui.widgets.style import ThemedIcons

ROLE: slide_layers.Role = "counts"
CLASS_FEATURE = "class"
MARK_UM, MARK_PX = 12.0, (9, 60)  # size of a mark on the slide, and its limits in pixels of the screen
# Areas to count within; ``OF_CLASS`` precedes the name of a class of regions.
VIEW, SLIDE, SELECTED, OF_CLASS = "view", "slide", "selected", "class "
AREAS = {VIEW: "the view", SLIDE: "the whole slide", SELECTED: "the selected regions"}

COUNT_CLASSES = ClassKind(
    "slide/count_classes",
    (RegionClass("Mitosis", (255, 149, 0)), RegionClass("TIL", (0, 114, 178)), RegionClass("Other", (0, 158, 115))),
    "count",
    "Classes of counted points",
    "Class of the points that you count",
    "points",
)


class CountView(QWidget):
    """List of classes, tool to add points, choice of the area, and the counts."""

    def __init__(self, settings: DockSettings, icons: ThemedIcons) -> None:
        super().__init__()
        self.class_list = RegionClassList(settings, icons, COUNT_CLASSES)
        tip = "Click on the slide to add a point of the selected class; napari's select tool moves and deletes points"
        self.tool = tool_button("count_points", "Count points", tip, "count", checkable=True)
        tips = {"undo": ("↶", "Undo the last change of the points"), "redo": ("↷", "Redo")}
        self.history_buttons = {
            step: tool_button(f"count_{step}", tip, tip, text) for step, (text, tip) in tips.items()
        }
        tip = "Write lengths, areas, angles and counts as a table (CSV)"
        self.export_button = tool_button("measure_export", "Export the measurements", tip, "Export ...")
        tip = "Area within which points are counted, for the number per mm²"
        self.area_combo = named(NoWheelComboBox(), "count_area", "Area of the count", tip)
        self.result_label = named(WrappedLabel(), "count_text", "Counts")
        self.result_label.setToolTip("")
        fill_column(
            self,
            self.class_list,
            row(self.tool, *self.history_buttons.values(), self.export_button),
            row(QLabel("within"), self.area_combo, stretch=1),
            self.result_label,
        )

    @property
    def area(self) -> str:
        """The selected area: a key of ``AREAS``, or ``OF_CLASS`` with the name of a class."""
        return str(self.area_combo.currentData() or VIEW)

    def show_areas(self, classes: list[str]) -> None:
        """List the areas; ``classes``: names of the classes of regions, each of which is an area."""
        from napari_melanoma.slides.counts import IN_REGIONS

        entries = {**AREAS, **{f"{OF_CLASS}{name}": IN_REGIONS.format(name) for name in classes}}
        if [self.area_combo.itemData(index) for index in range(self.area_combo.count())] == list(entries):
            return
        previous = self.area
        self.area_combo.clear()
        for area, text in entries.items():
            self.area_combo.addItem(text, area)
        self.area_combo.setCurrentIndex(max(0, self.area_combo.findData(previous)))


class CountLayer(QObject):
    """The points layer of the current slide.

    ``changed``: all ``CountedPoints`` after a change in the layer. ``left``: the user left the tool, by a change of the
    mode in napari or by selecting another layer.
    """

    changed = Signal(object)
    left = Signal()

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer, self._keys = viewer, dict[str, Any]()
        self._slide: ViewerSlide | None = None
        self._is_active = self._showing = False  # the tool is active; changes of the layer are those of this class
        self._next_class = ""
        self._connected_to: Callable[[], Points | None] = lambda: None  # weak reference to the layer of ``_events``
        self._events, self._viewer_events = Connections(), Connections()
        self._viewer_events.connect(viewer.layers.selection.events.active, self._on_active)
        for events in (self._events, self._viewer_events):
            self.destroyed.connect(events.close)

    @property
    def layer(self) -> Points | None:
        """The points layer; None if the slide has none yet."""
        layer: Points | None = None
        if self._slide is not None:
            layer = slide_layers.find_layer(self._viewer, self._slide, ROLE)
        return layer

    def bind(self, keys: Keys) -> None:
        """Set the key bindings of the layer."""
        self._keys = dict(keys)

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Switch to another slide; the layer of the previous one stays."""
        self._slide = slide

    def show(self, points: CountedPoints, classes: Sequence[RegionClass]) -> None:
        """Replace the shown points."""
        import numpy as np

        slide = self._slide
        if slide is None or (not points and self.layer is None) or not is_slide_open(self._viewer, slide):
            return
        layer = self._ensure_layer()
        colors = {region_class.name: region_class.color for region_class in classes}
        self._showing = True
        layer.selected_data = set()
        if points != self._read(layer):
            layer.data = np.array([point.at for point in points], np.float64).reshape(-1, 2) - HALF
            layer.features = {CLASS_FEATURE: np.array([point.class_name for point in points], object)}
        if points:
            layer.border_color = [to_rgba(colors.get(point.class_name, DEFAULT_COLOR)) for point in points]
        layer.feature_defaults = {CLASS_FEATURE: self._next_class}
        self._showing = False

    def set_tool(self, region_class: RegionClass | None) -> None:
        """Start the tool that adds a point of a class with each click; None stops it."""
        slide, was_active, self._is_active = self._slide, self._is_active, False
        if slide is None or (region_class is None and not was_active):
            return
        layer = self._ensure_layer()
        if region_class is None:
            layer.mode = "pan_zoom"
            if is_slide_open(self._viewer, slide) and self._viewer.layers.selection.active == layer:
                self._viewer.layers.selection.active = slide.layers[-1]
            return
        layer.visible = True
        self._viewer.layers.selection.active = layer
        layer.mode = "add"
        self._is_active = True
        self.set_class(region_class)

    def set_class(self, region_class: RegionClass) -> None:
        """Set the class of the points that are added next."""
        layer, self._next_class = self.layer, region_class.name
        if layer is not None:
            self._showing = True
            layer.selected_data = set()  # otherwise napari also changes the selected points
            layer.current_border_color = to_rgba(region_class.color)
            layer.feature_defaults = {CLASS_FEATURE: region_class.name}
            self._showing = False

    def _ensure_layer(self) -> Points:
        """Return the layer; create and connect it if necessary."""
        slide, previous = self._slide, self.layer
        assert slide is not None, "points are counted on slides only"
        layer: Points = slide_layers.get_or_add_layer(self._viewer, slide, ROLE, lambda: _create_layer(slide))
        if previous is None or self._connected_to() != layer:
            self._events.close()
            self._events.connect(layer.events.data, self._on_data)
            self._events.connect(layer.events.mode, self._on_mode)
            bind_keys(layer, self._keys)
            self._connected_to = weakref.ref(getattr(layer, "__wrapped__", layer))
        return layer

    def _read(self, layer: Points) -> CountedPoints:
        """Return the points of the layer."""
        from napari_melanoma.slides.counts import CountedPoint

        names = layer.features[CLASS_FEATURE] if CLASS_FEATURE in layer.features else [""] * len(layer.data)
        return tuple(
            CountedPoint(str(name), (round(float(position[-2]) + HALF, 2), round(float(position[-1]) + HALF, 2)))
            for name, position in zip(names, layer.data, strict=True)
        )

    def _on_data(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        action = get_data_action(event)
        if not self._showing and event.source == self.layer and action in ("added", "changed", "removed"):
            QTimer.singleShot(0, self._emit_changed)  # after napari has finished the change

    def _emit_changed(self) -> None:
        layer = self.layer
        if layer is not None:
            self.changed.emit(self._read(layer))

    def _on_mode(self, event: Any) -> None:  # noqa: ANN401 - napari's event
        """React to a change of the tool in napari's layer controls; the space bar pans with any tool."""
        if self._is_active and event.source == self.layer and str(event.source.mode) not in ("add", "pan_zoom"):
            self._is_active = False
            self.left.emit()

    def _on_active(self, event: object) -> None:
        if self._is_active and self._viewer.layers.selection.active != self.layer:
            self._is_active = False
            self.left.emit()


def get_view_outline(viewer: Viewer, slide: ViewerSlide) -> tuple[Polygon, ...]:
    """Return the outline of the visible part of a slide, which may be rotated, in pixels of the finest level."""
    from napari_melanoma.core.polygons import Polygon, clip_polygon

    height, width = get_extent(viewer)
    y, x = (float(value) for value in get_camera(viewer).center[-2:])
    top, left, bottom, right = y - height / 2, x - width / 2, y + height / 2, x + width / 2
    corners = (top, left), (top, right), (bottom, right), (bottom, left)
    return clip_polygon(Polygon(tuple(map(slide.to_slide, corners))), slide.size)


def _create_layer(slide: ViewerSlide) -> Points:
    import numpy as np
    from napari.layers import Points

    return Points(
        ndim=2,
        size=MARK_UM / slide.pixel_um[1],
        face_color="transparent",
        border_width=0.15,
        features={CLASS_FEATURE: np.array([], object)},
        canvas_size_limits=MARK_PX,
    )


NO_SELECTION = "Select regions in the Regions section to count within them."
COUNTING_STOPPED = "Counting has stopped, because another tool or layer was selected. Press count to continue."
NOTHING_MEASURED = "Nothing has been measured or counted yet."


@dataclass(frozen=True)
class CountState(DocumentState["CountedPoints"]):
    """The points of one slide; ``features``: the GeoJSON features as read, so that saving keeps their other content."""

    features: tuple[Any, ...] = ()


class CountStore(EditedDocument[CountState]):
    """The counted points of the open slides: read, edited with undo, saved and exported."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent, _read_points, _write_points)

    @property
    def points(self) -> CountedPoints:
        """The current points; empty until they have been read."""
        return () if self.state is None else self.state.history.current

    def export(self, path: Path, write: Callable[[Path], None]) -> None:
        """Write a table in the background; ``write``: writes it to a path."""

        def work(run: RunContext) -> str:
            write(path)
            return f"Saved: {path}"

        self._submit(f"export {path}", lambda: work, self.message.emit)


class CountSection(QObject):
    """Synchronize layer, widgets and file of the points; the widgets are created when the section is first opened."""

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
        self.layer.bind({"Control-Z": self.store.undo, "Control-Shift-Z": self.store.redo})
        self._area: tuple[tuple[Polygon, ...], CountArea] | None = None  # polygons of the last count; their union
        self._result_timer = DebounceTimer(self)
        self._result_timer.timeout.connect(self._show_results)
        self._connect()
        self._on_section_toggled(section.isExpanded())

    def _connect(self) -> None:
        context = self._context
        self.layer.changed.connect(lambda points: self.store.apply_edit(lambda _: points))
        self.layer.left.connect(self._on_left)
        context.class_key_pressed.connect(self._on_class_key)
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
        """Create the widgets when the section is first opened."""
        if not is_open or self._view is not None:
            return
        self._view = view = CountView(self._context.settings, self._context.icons)
        view.class_list.class_selected.connect(self._on_class_selected)
        view.class_list.class_edited.connect(self._on_class_edited)
        view.tool.clicked.connect(lambda on: self._set_tool(on=on))
        view.area_combo.activated.connect(lambda _: self._show_results())
        view.export_button.clicked.connect(self._on_export)
        for step, button in view.history_buttons.items():
            button.clicked.connect(lambda _=False, step=step: self.store.step_history(step))
        add_to_section(self._section, view)
        self._context.tool_buttons.append(view.tool)
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
        """The classes in the list; before the list is created, the stored ones."""
        if self._view is not None:
            return self._view.class_list.classes
        return load_classes(self._context.settings, COUNT_CLASSES)

    def _on_class_key(self, number: int) -> None:
        if self._view is not None and self._view.tool.isChecked():
            self._view.class_list.select_class(number)

    def _on_left(self) -> None:
        self._set_tool(on=False)
        self._context.status.show_message(COUNTING_STOPPED)

    def _on_class_selected(self) -> None:
        if self._view is not None:
            self.layer.set_class(self._view.class_list.current)

    def _on_class_edited(self, previous: RegionClass, current: RegionClass) -> None:
        """Give the points of a class its new name and color."""
        from napari_melanoma.slides.counts import rename_class

        self.store.apply_edit(lambda points: rename_class(points, previous.name, current.name))
        self.layer.show(self.store.points, self._classes)
        self._on_class_selected()

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
        view, state = self._view, self.store.state
        if view is None:
            return
        view.tool.setEnabled(state is not None)
        view.history_buttons["undo"].setEnabled(state is not None and bool(state.history.past))
        view.history_buttons["redo"].setEnabled(state is not None and bool(state.history.undone))
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

        view.show_areas(list(dict.fromkeys(region.class_name for region in self._regions.regions if region.class_name)))
        text = describe_counts(self._count(view.area), len(self.store.points))
        needs_selection = view.area == SELECTED and not self._selection.ids and self.store.points
        view.result_label.setText(NO_SELECTION if needs_selection else text)

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
        if area == SELECTED:
            chosen = [region for region in regions if region.id in ids]
        else:
            chosen = [region for region in regions if f"{OF_CLASS}{region.class_name}" == area]
        return tuple(polygon for region in chosen for polygon in region.polygons)

    def _count(self, area: str) -> tuple[CountResult, ...]:
        """Count within an area.

        The union of its polygons is cached for the next count, because the union of 1,500 regions takes 0.4 s.
        """
        from napari_melanoma.slides.counts import CountArea, count_within

        polygons = self._find_area(area)
        if self._area is None or self._area[0] != polygons:
            self._area = polygons, CountArea(polygons)
        slide = self._context.slide
        size = None if slide is None else slide.info.pixel_size
        return count_within(self.store.points, self._class_names, self._area[1], size)

    @property
    def _class_names(self) -> list[str]:
        return [region_class.name for region_class in self._classes]

    def _on_export(self) -> None:
        """Ask for the file to export to."""
        slide = self._context.slide
        if slide is None:
            return
        title, suggested = "Export the measurements", Path(f"{slide.info.name}-measurements.csv")
        choose_new_file(self._context.window, "measure_export_dialog", title, "Table", self._export_file, suggested)

    def _export_file(self, path: Path) -> None:
        """Write all measurements, and the counts within all areas, as CSV."""
        slide, view = self._context.slide, self._view
        if slide is None or view is None:
            return
        combo = view.area_combo
        areas = {combo.itemData(index): combo.itemText(index) for index in range(combo.count())}
        if not self._selection.ids:
            areas.pop(SELECTED, None)
        measures, points = self._measurements.measures, self.store.points
        classes, size = self._class_names, slide.info.pixel_size
        polygons = {text: self._find_area(area) for area, text in areas.items()} if points else {}

        def write(path: Path) -> None:
            from napari_melanoma.slides.counts import CountArea, count_within, write_measurements

            counts = {
                text: count_within(points, classes, CountArea(outlines), size) for text, outlines in polygons.items()
            }
            write_measurements(path, measures, counts, size)

        self.store.export(path, write)


def _read_points(identity: str, folder: Path) -> tuple[CountState, StoredCounts]:
    from napari_melanoma.slides.counts import read_counts

    stored = read_counts(folder)
    return CountState(identity, History(stored.points), folder, stored.features), stored


def _write_points(state: CountState, stamp: Stamp | None) -> StoredCounts:
    from napari_melanoma.slides.counts import save_counts

    return save_counts(state.folder, Path(state.identity), state.history.current, stamp, state.features)
