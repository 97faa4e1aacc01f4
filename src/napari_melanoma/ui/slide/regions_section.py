"""The Regions section of the Slide dock: its widgets, and the controller that edits the regions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import QAbstractButton, QLabel, QLineEdit, QMenu, QPushButton, QToolButton, QWidget

from napari_melanoma.core.formatting import format_count
from napari_melanoma.io.results import OUTLINES
from napari_melanoma.ui.slide.export import GEOJSON_FILTERS
from napari_melanoma.ui.slide.regions_layer import LINE_MODE, RegionBrush, RegionLayer, get_snap_distance
from napari_melanoma.ui.slide.regions_list import RegionListView
from napari_melanoma.ui.slide.regions_store import RegionSelection, RegionStore
from napari_melanoma.ui.slide.regions_tools import RegionOperationPanel, RegionOperations, RegionSettings
from napari_melanoma.ui.viewer import camera
from napari_melanoma.ui.viewer.pixel_tools import CLICK_HINT, OutlineClickTool, RegionWand
from napari_melanoma.ui.viewer.view_memory import zoom_to_box
from napari_melanoma.ui.widgets.class_list import DEFAULT_COLOR, RegionClassList
from napari_melanoma.ui.widgets.dialogs import choose_file, choose_new_file
from napari_melanoma.ui.widgets.settings import READER_SETTING, DockSettings
from napari_melanoma.ui.widgets.style import (
    ThemedIcons,
    WrappedLabel,
    add_to_section,
    fill_column,
    named,
    row,
    tool_button,
)

if TYPE_CHECKING:
    from superqt import QCollapsible

    from napari_melanoma.core.polygons import Polygon
    from napari_melanoma.slides.outline_clicks import OutlineClick
    from napari_melanoma.slides.regions import RegionClass, Regions, ShapesState
    from napari_melanoma.ui.session.location import SlideResultLocation
    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.slide.regions_data_set import TileDataMaker
    from napari_melanoma.ui.slide.regions_layer import Painting
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

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
    "undo": ("↶", "Undo the last change of the regions (Ctrl+Z on the canvas)"),
    "redo": ("↷", "Redo the last change that was undone (Ctrl+Shift+Z on the canvas)"),
}
NO_REGIONS = "No regions yet. Select a class and draw."
EXPORT_TIP = "Write the regions as GeoJSON for QuPath"
DATA_SET_TIP = "Cut training tiles from the regions of all annotated slides"
IMPORTS = {"file": "From a file (GeoJSON) ...", "lesions": "The lesions detected by the model"}


class RegionControls(QWidget):
    """The widgets of the Regions section."""

    import_requested = Signal(str)  # key of IMPORTS

    def __init__(self, settings: DockSettings, icons: ThemedIcons) -> None:
        super().__init__()
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
        self.summary_label = named(WrappedLabel(), "region_summary", "Summary of the regions")
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
            row(QLabel("reader"), self.reader_field, stretch=1),
            row(self.import_button, self.export_button, self.data_set_button),
            spacing=5,
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

    def update_enabled(self, is_loaded: bool, available: dict[str, bool]) -> None:
        """Enable the buttons that are possible, and explain in the tooltips why others are disabled.

        ``is_loaded``: the regions of the slide have been loaded. ``available``: by the keys of ``EDITS``, and "any":
        there are regions.
        """
        for button in (*self.tools.values(), self.import_button):
            button.setEnabled(is_loaded)
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


NOT_IN_VIEW = "The slide is not in view: press Home to show it, then select the brush again."
MODES = {  # of the Shapes layer, for the tools that use it
    "rectangle": "add_rectangle",
    "ellipse": "add_ellipse",
    "add_polygon": "add_polygon",
    "add_polygon_lasso": "add_polygon_lasso",
    "select": "select",
    "split": LINE_MODE,
    "hole": "add_polygon_lasso",
}


class SlideRegionSection(QObject):
    """Synchronize layer, widgets and file of the regions; the widgets are created when the section is first opened."""

    failed = Signal(object)  # the exception

    def __init__(self, context: SlideContext, section: QCollapsible) -> None:
        super().__init__(context)
        self._context, self._viewer = context, context.viewer
        self._controls: RegionControls | None = None
        self._tool = ""  # key of TOOLS; empty if no tool is active
        self._pending_imports: list[Path] = []
        self.data_set_maker: TileDataMaker | None = None
        self.store = RegionStore(self)
        self.selection = RegionSelection(self)
        self.operations = RegionOperations(context, self.store, self.selection)
        self.layer = RegionLayer(self._viewer, self)
        self.brush = RegionBrush(self._viewer, self)
        self.wand = RegionWand(self._viewer, self)
        self.clicks = OutlineClickTool(self._viewer, self, "painting")
        self._undo_keys = {"Control-Z": self.store.undo, "Control-Shift-Z": self.store.redo}
        copy = {"Control-C": partial(self._on_operation, "copy"), "Control-V": partial(self._on_operation, "paste")}
        self.layer.bind({**self._undo_keys, **copy})
        self._section = section
        self._connect()
        self._section.toggled.connect(self._on_section_toggled)
        self._on_section_toggled(self._section.isExpanded())

    def _connect(self) -> None:
        context = self._context
        self.layer.changed.connect(self._on_shapes)
        self.layer.line_drawn.connect(lambda line: self.store.apply_edit(self.operations.make_split_edit(line)))
        self.layer.selection_changed.connect(self.selection.select)
        self.brush.painted.connect(self._on_painted)
        self.wand.area_found.connect(self._on_wand_found)
        self.wand.tolerance_changed.connect(lambda value: self.controls.settings_view.tolerance.setValue(value))
        self.clicks.clicked.connect(self._on_refining_click)
        for tool in (self.layer, self.wand, self.clicks):
            tool.left.connect(partial(self._set_tool, "", is_left=True))
        self.store.changed.connect(self._on_changed)
        self.selection.changed.connect(self._on_selection)
        for message in (self.store.message, self.layer.message, self.wand.message):
            message.connect(context.status.show_message)
        for failed in (self.store.failed, self.wand.failed, self.operations.failed):
            failed.connect(self.failed)
        context.run_manager.results_found.connect(self._on_results_found)
        context.flush_requested.connect(self.store.flush)
        context.class_key_pressed.connect(self._on_class_key)

    @property
    def controls(self) -> RegionControls:
        """The widgets, created when they are first needed."""
        if self._controls is None:
            controls = self._controls = RegionControls(self._context.settings, self._context.icons)
            add_to_section(self._section, controls)
            self._connect_controls(controls)
            self._context.tool_buttons += controls.tools.values()
        return self._controls

    def _connect_controls(self, controls: RegionControls) -> None:
        controls.class_list.class_selected.connect(self._on_class)
        controls.class_list.class_edited.connect(self._on_class_edited)
        self._context.reader_changed.connect(controls.reader_field.setText)
        controls.reader_field.editingFinished.connect(lambda: self._context.set_reader(controls.reader_name))
        for name, button in controls.tools.items():
            button.clicked.connect(partial(self._on_tool, name))
        undo, redo = self.store.undo, self.store.redo
        slots = {"class": self._on_change_class, "remove": self._on_remove, "undo": undo, "redo": redo}
        for name, slot in slots.items():
            controls.edit_buttons[name].clicked.connect(lambda _=False, slot=slot: slot())
        table = controls.region_list.table
        table.chosen.connect(self._on_chosen)
        controls.region_list.filtered.connect(self.selection.select)
        table.key_pressed.connect(lambda key: self._on_remove() if key == "remove" else self._on_operation(key))
        table.table_model.renamed.connect(self._on_renamed)
        controls.operations.requested.connect(self._on_operation)
        controls.settings_view.wand_changed.connect(self._update_wand)
        controls.import_requested.connect(self._on_import)
        controls.export_button.clicked.connect(self._on_export)
        controls.data_set_button.clicked.connect(self._on_make_data_set)

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide; its regions are loaded when its folder is found."""
        self._set_tool("")  # a painting belongs to the previous slide
        self._pending_imports.clear()
        self.layer.set_slide(slide)
        self.selection.select(())
        self.store.show(None if slide is None else slide.identity)

    def update_scale(self) -> None:
        """Update the areas in the list after the user has set the scale of the slide."""
        self._update_controls()

    def open_link(self, link: str) -> bool:
        """Open a link of the status line if it concerns regions; return whether it does."""
        return self.data_set_maker is not None and self.data_set_maker.open_link(link)

    def _on_results_found(self, location: SlideResultLocation) -> None:
        self.store.load(location.identity, location.folder)

    def _on_changed(self) -> None:
        self.selection.remove_missing(self.store.regions)
        if self.store.state is not None:
            while self._pending_imports:
                self.import_file(self._pending_imports.pop(0))
            self.layer.show(self.store.regions, self.selection.ids)
            self.layer.select(self.selection.ids)
        self._update_controls()

    def _on_section_toggled(self, is_open: bool) -> None:
        if is_open:
            self._update_controls()

    def _update_controls(self) -> None:
        """Show the current state, unless the section has never been opened."""
        if self._controls is None and not self._section.isExpanded():
            return
        controls, state, regions, slide = self.controls, self.store.state, self.store.regions, self._context.slide
        controls.class_list.add_missing_classes(_list_classes(regions))
        controls.summary_label.setText(
            _describe_regions(regions, len({one.ring_key[0] for one in self.layer.outlines}))
        )
        pixel_size = None if slide is None else slide.info.pixel_size
        controls.region_list.show_regions(regions, pixel_size, self.selection.ids)
        controls.settings_view.set_unit("px" if pixel_size is None else "µm")
        available = dict.fromkeys(("class", "remove", "any"), bool(regions))
        available |= {"undo": state is not None and bool(state.history.past)}
        available |= {"redo": state is not None and bool(state.history.undone)}
        controls.update_enabled(state is not None, available)
        self._update_operations()

    def _update_operations(self) -> None:
        slide = self._context.slide
        self.controls.operations.update_enabled(
            len(self.selection.ids),
            all_locked=self.operations.all_locked,
            can_paste=self.operations.copied is not None and self.store.state is not None,
            has_scale=slide is not None and slide.info.pixel_size is not None,
        )

    def _on_selection(self) -> None:
        """Show the selection in the list and on the slide."""
        self.layer.select(self.selection.ids)
        if self._controls is not None:
            self.controls.region_list.table.select(self.selection.ids)
            self._update_operations()

    def _on_chosen(self, ids: tuple[str, ...]) -> None:
        """Select the regions of the selected rows on the slide, and zoom to a single one; keep the active tool."""
        slide = self._context.slide
        if ids and not self._tool and slide is not None and self._viewer.layers.selection.active in slide.layers:
            # napari highlights selected shapes in the active layer only
            self.layer.set_mode("pan_zoom", self.controls.class_list.current)
        self.selection.select(ids)
        if len(ids) == 1 and slide is not None:
            self.layer.select(ids)
            region = next(one for one in self.store.regions if one.id == ids[0])
            zoom_to_box(self._viewer, slide, _find_box(region.polygons))

    def _on_renamed(self, region_id: str, name: str) -> None:
        from napari_melanoma.slides.regions import rename_region

        self.store.apply_edit(lambda regions: rename_region(regions, region_id, name))

    def _on_operation(self, name: str) -> None:
        controls = self.controls
        self.operations.run(name, controls.operations.distance.value(), controls.reader_name)

    def _on_class_key(self, number: int) -> None:
        if self._tool:
            self.controls.class_list.select_class(number)

    def _on_class(self) -> None:
        """Draw new regions with the selected class."""
        self.layer.set_class(self.controls.class_list.current)
        self.layer.select(self.selection.ids)
        self.brush.set_class(self.controls.class_list.current)
        self.wand.set_class(self.controls.class_list.current)

    def _on_class_edited(self, previous: RegionClass, edited: RegionClass) -> None:
        """Apply the new name or color of a class to its regions and to the current painting."""
        from napari_melanoma.slides.regions import edit_class

        self.store.apply_edit(lambda regions: edit_class(regions, previous.name, edited))
        self.brush.replace_class(previous, edited)
        self._on_class()

    def _on_tool(self, name: str) -> None:
        """Activate or deactivate a tool."""
        self._set_tool(name if self.controls.tools[name].isChecked() else "")

    def _set_tool(self, name: str, *, is_left: bool = False) -> None:
        """Activate a tool, or only deactivate the previous one if ``name`` is empty.

        ``is_left``: the user left the tool by a choice in napari, whose mode must not be changed.
        """
        previous, self._tool = self._tool, name
        if previous == "brush":
            self.brush.finish()
        elif previous in ("wand", "refine"):
            (self.wand if previous == "wand" else self.clicks).stop()
        elif previous and not is_left and name not in MODES and self.layer.layer is not None:
            self.layer.set_mode("pan_zoom", self.controls.class_list.current)
        if self._controls is None and not name:
            return
        controls, slide = self.controls, self._context.slide
        controls.show_tool(name)
        if slide is None:
            return
        if name == "brush":
            if self.brush.start(slide, controls.class_list.classes):
                self.brush.set_class(controls.class_list.current)
            else:
                self._tool = ""
                controls.show_tool("")
                self._context.status.show_message(NOT_IN_VIEW)
        elif name == "wand":
            self._update_wand()
            self.wand.start(slide, controls.class_list.current)
        elif name == "refine":
            self.clicks.start(slide, self._undo_keys)
            self._context.status.show_message(CLICK_HINT)
        elif name:
            self.layer.set_mode(MODES[name], controls.class_list.current)
            self.layer.select(self.selection.ids)

    def _update_wand(self) -> None:
        view = self.controls.settings_view
        self.wand.tolerance, self.wand.reach = view.tolerance.value(), view.reach.value()

    def _on_shapes(self, shapes: ShapesState) -> None:
        """Apply changes of the Shapes layer to the regions; with the hole tool, cut the new shape out."""
        from napari_melanoma.slides.regions import apply_shape_edits

        region_class, reader = self.controls.class_list.current, self.controls.reader_name
        outlines = self.layer.outlines
        if self._tool == "hole" and shapes.keys and shapes.keys[-1] < 0:
            self.store.apply_edit(self.operations.make_hole_edit(shapes.vertices[-1], shapes.kinds[-1]))
            return

        def edit(regions: Regions) -> Regions:
            edited, drawn = apply_shape_edits(regions, outlines, shapes, region_class, reader)
            return self._snap(edited, {region.id for region in drawn}, *self._snap_settings)

        self._add(edit)

    def _on_painted(self, painting: Painting) -> None:
        """Convert a painting to regions; the view may have moved since."""
        from napari_melanoma.slides.regions import regions_from_labels

        reader = self.controls.reader_name
        new = regions_from_labels(painting.labels, painting.placement, painting.classes, reader)
        snap_settings = painting.snap_distance, painting.pixel_um
        self._add(lambda regions: self._snap((*regions, *new), {region.id for region in new}, *snap_settings))

    def _on_wand_found(self, polygons: tuple[Polygon, ...]) -> None:
        from napari_melanoma.slides.regions import region_from_polygons

        new = region_from_polygons(polygons, self.controls.class_list.current, self.controls.reader_name)
        self._add(lambda regions: self._snap((*regions, new), {new.id}, *self._snap_settings))

    def _on_refining_click(self, click: OutlineClick) -> None:
        from napari_melanoma.slides.region_operations import refine_region

        self.store.apply_slow_edit(partial(refine_region, ids=self.selection.ids, click=click))

    def _add(self, edit: Callable[[Regions], Regions]) -> None:
        """Apply an edit that may add regions, and scroll to the last new region in the list."""
        previous = {one.id for one in self.store.regions}
        self.store.apply_edit(edit)
        new = [one.id for one in self.store.regions if one.id not in previous]
        if new:
            self.controls.region_list.table.scroll_to(new[-1])

    @property
    def _snap_settings(self) -> tuple[float, tuple[float, float]]:
        """Distance within which outlines are snapped, and pixel height and width in the same unit."""
        slide = self._context.slide
        return get_snap_distance(self._viewer), (1.0, 1.0) if slide is None else slide.pixel_um

    def _snap(self, regions: Regions, drawn: set[str], distance: float, pixel_um: tuple[float, float]) -> Regions:
        """Snap the regions with the ids ``drawn`` to their neighbors if the user has enabled snapping."""
        if not drawn or not self.controls.settings_view.snap.isChecked():
            return regions
        from napari_melanoma.slides.region_operations import snap_regions

        return snap_regions(regions, drawn, distance, pixel_um)

    def _on_change_class(self) -> None:
        from napari_melanoma.slides.regions import set_region_class

        selected, region_class = self._require_selection(), self.controls.class_list.current
        self.store.apply_edit(lambda regions: set_region_class(regions, selected, region_class))

    def _on_remove(self) -> None:
        from napari_melanoma.slides.regions import remove_regions

        selected = self._require_selection()
        self.store.apply_edit(lambda regions: remove_regions(regions, selected))

    def _require_selection(self) -> tuple[str, ...]:
        """Return the ids of the selected regions; if there are none, show a message that explains how to select."""
        selected = self.selection.ids
        if not selected:
            self._context.status.show_message(
                "Select regions first: in the list, or press select and click them on the slide."
            )
        return selected

    def _on_import(self, kind: str) -> None:
        state, slide = self.store.state, self._context.slide
        if state is None or slide is None:
            return
        if kind == "lesions":
            self.store.import_file(state.folder / OUTLINES, slide.size, slide.info.origin)
        else:
            window, title = self._context.window, "Regions of this slide"
            choose_file(window, "region_import_dialog", title, GEOJSON_FILTERS, self.import_file, state.folder)

    def import_file(self, path: Path) -> None:
        """Add the regions of a file, once those of the slide have been loaded."""
        slide = self._context.slide
        if self.store.state is None:
            self._pending_imports.append(path)
        elif slide is not None:
            self.store.import_file(path, slide.size, slide.info.origin)

    def _on_export(self) -> None:
        slide = self._context.slide
        if slide is not None:
            window, title = self._context.window, "Export the regions as GeoJSON"
            suggested = Path(f"{slide.info.name}-regions.geojson")
            write = partial(self.store.export_file, origin=slide.info.origin)
            choose_new_file(window, "region_export_dialog", title, "GeoJSON", write, suggested)

    def _on_make_data_set(self) -> None:
        """Open the dialog that makes a data set of tiles."""
        if self.data_set_maker is None:
            from napari_melanoma.ui.slide.regions_data_set import TileDataMaker

            self.data_set_maker = TileDataMaker(self._context)
            self.data_set_maker.failed.connect(self.failed)
        self.data_set_maker.open_dialog()


def _describe_regions(regions: Regions, shown: int) -> str:
    """Return the numbers of regions by class; ``shown``: how many regions are drawn on the slide."""
    if not regions:
        return NO_REGIONS
    counts = Counter(region.class_name or "without a class" for region in regions)
    classes = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    hidden = len(regions) - shown
    note = f" {hidden:,} are saved, and drawn when you select them." if hidden > 0 else ""
    return f"{format_count(len(regions), 'region')}: {classes}.{note}"


def _find_box(polygons: tuple[Polygon, ...]) -> camera.ViewRectangle:
    """Return the box around polygons, in pixels of the finest level."""
    from napari_melanoma.core.polygons import joint_box

    box = joint_box(polygons)
    return camera.ViewRectangle(box.top, box.left, box.height, box.width)


def _list_classes(regions: Regions) -> tuple[RegionClass, ...]:
    """List the classes of the regions."""
    from napari_melanoma.slides.regions import RegionClass

    colors = {region.class_name: region.color or DEFAULT_COLOR for region in regions if region.class_name}
    return tuple(RegionClass(name, color) for name, color in colors.items())
