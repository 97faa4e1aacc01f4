"""The Regions section of a slide: draw, classify and change regions, and exchange them with other programs."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

from qtpy.QtWidgets import QCheckBox, QLabel, QMenu, QPushButton, QToolButton, QWidget

from napari_melanoma.core.formatting import format_count
from napari_melanoma.io.results import OUTLINES
from napari_melanoma.slides.region_operations import DEFAULT_TOLERANCE, TOLERANCES
from napari_melanoma.slides.regions import RegionClass, Regions, remove_regions, rename_region, set_region_class
from napari_melanoma.ui.sections.base import SlideSection
from napari_melanoma.ui.sections.regions.canvas import SNAP_SETTING, RegionCanvas
from napari_melanoma.ui.sections.regions.data_set import open_data_set_dialog
from napari_melanoma.ui.sections.regions.operations import OPERATIONS, UNLOCK, RegionMemory, are_locked, run_operation
from napari_melanoma.ui.sections.regions.region_list import RegionListView
from napari_melanoma.ui.session.annotations import (
    REDO_TIP,
    REGION_DOCUMENT,
    UNDO_TIP,
    export_region_file,
    import_region_file,
    select_regions,
)
from napari_melanoma.ui.session.slide import SlideSession
from napari_melanoma.ui.viewer.pixel_tools import CLICK_HINT
from napari_melanoma.ui.viewer.view_memory import zoom_to_polygons
from napari_melanoma.ui.widgets.class_list import DEFAULT_COLOR, RegionClassList
from napari_melanoma.ui.widgets.dialogs import OUTLINE_FILTERS, choose_file, choose_new_file
from napari_melanoma.ui.widgets.dock_layout import SummarySection
from napari_melanoma.ui.widgets.editors import ReaderField
from napari_melanoma.ui.widgets.number_box import DecimalBox
from napari_melanoma.ui.widgets.style import WrappedLabel, column, enable, named, row, tool_button

TOOLS = {  # name, icon, and what it does
    "rectangle": ("Rectangle", "rectangle", "drag from corner to corner; Shift draws a square"),
    "ellipse": ("Ellipse", "ellipse", "drag from corner to corner of its box; Shift draws a circle"),
    "add_polygon": ("Polygon", "polygon", "click each corner; finish with a double click or Escape"),
    "add_polygon_lasso": ("Freehand", "polygon_lasso", "hold the mouse button and draw around the region"),
    "brush": ("Brush", "paint", "paint on the view; press again to convert the painting to regions"),
    "wand": ("Wand", "fill", "click on a color; drag, or turn the wheel with Shift, to change the tolerance"),
    "select": ("Select", "select", "click regions to select them; drag their corners with napari's own tool"),
    "split": ("Split", "path", "draw a line across the selected region, or across any; Space pans"),
    "hole": ("Hole", "erase", "draw around what is not part of the selected region, or of the one below"),
    "refine": ("Refine", "picker", CLICK_HINT[:1].lower() + CLICK_HINT[1:]),
}
DRAWING_TOOLS = ("rectangle", "ellipse", "add_polygon", "add_polygon_lasso", "brush", "wand")
EDITS = {  # text and tooltip
    "class": ("Class", "Assign the class that is selected in the list to the selected regions"),
    "remove": ("Remove", "Delete the selected regions (Delete)"),
    "undo": ("↶", UNDO_TIP),
    "redo": ("↷", REDO_TIP),
}
EXPORT_TIP = "Write the regions as GeoJSON for QuPath"
DATA_SET_TIP = "Cut training tiles from the regions of all annotated slides"
IMPORTS = {"file": "From a file (GeoJSON)...", "lesions": "The lesions detected by the model"}
SNAP_TIP = "Follow the outlines of other regions where you draw within 8 pixels of the screen: no gap, no overlap"
TOLERANCE_TIP = "How different colors may be (1 to 100). Drag to the right or left on the slide to change it"
REACH_TIP = "The region ends at this distance from the point that you click, and at the edge of the view"
READER_TIP = "Saved with every region that you draw: a data set can use one reader, or where readers agree"
SELECT_FIRST = "Select regions first: in the list, or press Select and click them on the slide."
SELECTION_HINTS = {  # by the number of regions that an operation requires
    0: "",
    1: "Select regions in the list first.",
    2: "Select two or more regions in the list first (Ctrl+click).",
}
NO_REGIONS = "No regions yet. Select a class and draw."
NOTHING_COPIED = "Nothing was copied yet: select regions and press Copy."
NEEDS_SCALE = "The slide has no scale, so that distances are unknown. Set it with Scale, the ruler above."


class RegionsSection(SlideSection):
    """The widgets, connected with the regions of a slide and with the tools on the canvas."""

    documents = (REGION_DOCUMENT,)
    parts = (RegionCanvas,)

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session)
        self._services, self._canvas = session.services, session.part(RegionCanvas)
        self._copied = session.sessions.part(RegionMemory).copied
        self.class_list = RegionClassList(self._services.settings, self._services.icons)
        self.tool_buttons = {name: self._create_tool(name) for name in TOOLS}
        self.edit_buttons = {name: tool_button(f"region_{name}", tip, tip, text) for name, (text, tip) in EDITS.items()}
        self.operations = {
            name: tool_button(f"region_{name}", one.tip, one.tip, one.text) for name, one in OPERATIONS.items()
        }
        unit = "px" if session.slide.info.pixel_size is None else "µm"
        self.tolerance = self._create_number("tolerance", "Tolerance of the magic wand", TOLERANCE_TIP, *TOLERANCES)
        self.reach = self._create_number("reach", "Size limit of the magic wand", REACH_TIP, 10, 100_000)
        tip = "Distance by which grow and shrink move outlines"
        self.distance = self._create_number("distance", "Distance to grow or shrink", tip, 0.1, 10_000)
        self._keep(self.tolerance, "slide/region_wand_tolerance", DEFAULT_TOLERANCE, "")
        self._keep(self.reach, "slide/region_wand_reach_um", 1000.0, f" {unit}")
        self._keep(self.distance, "slide/region_distance_um", 25.0, " µm")
        self.reach.setDecimals(0)
        self.reach.setSingleStep(100)
        self.snap = named(
            QCheckBox("Snap to neighboring regions"), "region_snap", "Snap to neighboring regions", SNAP_TIP
        )
        self.snap.setChecked(self._services.settings.get(SNAP_SETTING, False))
        self.summary_label = named(WrappedLabel(), "region_summary", "Summary of the regions")
        self.summary_label.setProperty("quiet", True)
        self.summary_label.setToolTip("")
        self.region_list = RegionListView(self._services.icons)
        self.reader_field = ReaderField("region_reader", READER_TIP, "Your name (optional)")
        self.reader_field.show_name(self._services.reader)
        self.import_button = self._create_import_button()
        self.export_button = tool_button("region_export", "Export regions", EXPORT_TIP, "Export...")
        self.data_set_button = named(QPushButton("Make data set..."), "region_data", "Make data set", DATA_SET_TIP)
        self._wand_rows = column(
            row(QLabel("Tolerance"), self.tolerance, stretch=1), row(QLabel("Within"), self.reach, stretch=1)
        )
        self._arrange()
        self.class_list.select_named(self._canvas.region_class.name)
        self._canvas.set_class(self.class_list.current)
        self.add_history_shortcuts()
        self._connect()
        self._connect_buttons()
        self._show_tool(self._canvas.tool)
        self._on_wand()
        self._on_regions(session.regions.value)

    def _create_tool(self, name: str) -> QToolButton:
        title, icon, use = TOOLS[name]
        tip = f"{title}: {use}"
        button = tool_button(f"region_{name}", tip, tip, checkable=True)
        self._services.icons.add(button, icon)
        return button

    def _create_number(self, name: str, title: str, tip: str, least: float, most: float) -> DecimalBox:
        box = named(DecimalBox(), f"region_{name}", title, tip)
        box.setRange(least, most)
        box.setDecimals(1)
        return box

    def _keep(self, box: DecimalBox, setting: str, default: float, suffix: str) -> None:
        box.setSuffix(suffix)
        box.setValue(self._services.settings.get(setting, default))
        box.valueChanged.connect(partial(self._services.settings.set, setting))

    def _create_import_button(self) -> QToolButton:
        tip = "Import regions of another program, or of the model"
        button = tool_button("region_import", "Import regions", tip, "Import")
        menu = QMenu(button)
        for kind, text in IMPORTS.items():
            action = menu.addAction(text)
            action.setObjectName(f"region_import_{kind}")
            action.triggered.connect(lambda _=False, kind=kind: self._on_import(kind))
        button.setMenu(menu)
        button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        return button

    def _arrange(self) -> None:
        tools, operations = self.tool_buttons, self.operations

        def operation_row(*names: str) -> QWidget:
            return row(*(operations[name] for name in names))

        folded = column(
            self.snap,
            operation_row("lock", "copy", "paste", "fill"),
            operation_row("union", "subtract", "intersect", "simplify"),
            row(self.distance, operations["grow"], operations["shrink"]),
            row(QLabel("Reader"), self.reader_field, self.reader_field.change_button, stretch=1),
        )
        more = SummarySection("Options and operations", "region_more", self._services.settings, folded)
        self._services.icons.add_sections(more)
        self.column.setSpacing(5)
        self.add(  # last, what comes and goes
            self.class_list,
            row(*(tools[name] for name in DRAWING_TOOLS)),
            row(*(tools[name] for name in TOOLS if name not in DRAWING_TOOLS), *self.edit_buttons.values()),
            more,
            row(self.import_button, self.export_button, self.data_set_button),
            self.region_list,
            self.summary_label,
            self._wand_rows,
        )
        self.column.addStretch(1)

    def _connect(self) -> None:
        session, services, canvas = self.session, self._services, self._canvas
        for signal, slot in (
            (session.regions.changed, self._on_regions),
            (session.selected_regions.changed, self._on_selection),
            (session.commit_requested, self._on_reader),
            (session.displayed.changed, self._on_displayed),
            (session.annotations.changed, self._update_texts),
            (self._copied.changed, self._update_texts),
            (services.class_key_pressed, self._on_class_key),
            (services.reader_changed, self.reader_field.show_name),
        ):
            self.follow(signal, slot)
        services.tool_buttons += self.tool_buttons.values()
        canvas.tool_changed.connect(self._show_tool)
        canvas.added.connect(self.region_list.table.scroll_to)
        canvas.wand.tolerance_changed.connect(self.tolerance.setValue)

    def _connect_buttons(self) -> None:
        self.class_list.class_selected.connect(self._on_class_selected)
        self.class_list.class_edited.connect(self._on_class_edited)
        self.reader_field.editingFinished.connect(self._on_reader)
        for name, button in self.tool_buttons.items():
            button.clicked.connect(partial(self._on_tool, name))
        for name, button in self.operations.items():
            button.clicked.connect(lambda _=False, name=name: self._on_operation(name))
        annotations = self.session.annotations
        slots = {"class": self._on_change_class, "remove": self._on_remove}
        for name, slot in {**slots, "undo": annotations.undo, "redo": annotations.redo}.items():
            self.edit_buttons[name].clicked.connect(lambda _=False, slot=slot: slot())
        table = self.region_list.table
        table.chosen.connect(self._on_chosen)
        table.key_pressed.connect(lambda key: self._on_remove() if key == "remove" else self._on_operation(key))
        table.table_model.renamed.connect(self._on_renamed)
        self.region_list.filtered.connect(partial(select_regions, self.session.selected_regions))
        self.snap.toggled.connect(partial(self._services.settings.set, SNAP_SETTING))
        for box in (self.tolerance, self.reach):
            box.valueChanged.connect(self._on_wand)
        self.export_button.clicked.connect(self._on_export)
        self.data_set_button.clicked.connect(self._on_data_set)

    def _on_regions(self, regions: Regions) -> None:
        """Show other regions, and add their classes to the list."""
        colors = {region.class_name: region.color or DEFAULT_COLOR for region in regions if region.class_name}
        self.class_list.add_missing_classes([RegionClass(name, color) for name, color in colors.items()])
        pixel_size, selected = self.session.slide.info.pixel_size, self.session.selected_regions.value
        if not regions and self.region_list.table.hasFocus():
            self.setFocus()  # Qt would give it to a field, which has its own Ctrl+Z
        self.region_list.show_regions(regions, pixel_size, selected)
        self._update_texts()

    def _on_selection(self, selected: tuple[str, ...]) -> None:
        self.region_list.table.select(selected)
        self._update_texts()

    def _update_texts(self, _: object = None) -> None:
        """Update the summary, enable the buttons that are possible, and explain why others are disabled."""
        session, regions, selected = self.session, self.session.regions.value, self.session.selected_regions.value
        drawn = len({one.ring_key[0] for one in self._canvas.outlines})
        self.summary_label.setText(describe_regions(regions, drawn))
        blockers = find_blockers(
            regions,
            selected,
            can_paste=bool(self._copied.value.regions),
            has_scale=session.slide.info.pixel_size is not None,
        )
        blockers["undo"] = "" if session.annotations.can_undo else "Nothing to undo."
        blockers["redo"] = "" if session.annotations.can_redo else "Nothing to redo."
        for name, button in self.edit_buttons.items():
            enable(button, EDITS[name][1], blockers[name])
        enable(self.export_button, EXPORT_TIP, blockers["export"])
        enable(self.data_set_button, DATA_SET_TIP, blockers["data"])
        lock = UNLOCK if are_locked(regions, selected) else OPERATIONS["lock"]
        self.operations["lock"].setText(lock.text)
        for name, operation in {**OPERATIONS, "lock": lock}.items():
            enable(self.operations[name], operation.tip, blockers[name])
            self.operations[name].setAccessibleName(operation.tip)

    def _show_tool(self, name: str) -> None:
        """Show the active tool, and the settings of the magic wand while it is active."""
        for tool, button in self.tool_buttons.items():
            button.setChecked(tool == name)
        self._wand_rows.setVisible(name == "wand")

    def _on_tool(self, name: str) -> None:
        """Activate a tool, or deactivate it if it is active."""
        self._on_reader()
        self._canvas.set_tool(name if self.tool_buttons[name].isChecked() else "")

    def _on_reader(self) -> None:
        self._services.set_reader(self.reader_field.name)

    def _on_displayed(self, displayed: bool) -> None:
        """Keep the class that was selected last, on another slide."""
        if displayed:
            self.class_list.select_named(self._canvas.memory.class_name)

    def _on_wand(self, _: object = None) -> None:
        self._canvas.wand.tolerance, self._canvas.wand.reach = self.tolerance.value(), self.reach.value()

    def _on_class_key(self, number: int) -> None:
        if self._canvas.tool:
            self.class_list.select_class(number)

    def _on_class_selected(self) -> None:
        self._canvas.memory.class_name = self.class_list.current.name
        self._canvas.set_class(self.class_list.current)

    def _on_class_edited(self, previous: RegionClass, edited: RegionClass) -> None:
        self._canvas.edit_class(previous, edited)
        self._canvas.set_class(self.class_list.current)

    def _on_chosen(self, ids: tuple[str, ...]) -> None:
        """Select the regions of the selected rows on the slide, and zoom to a single one; keep the active tool."""
        session, viewer = self.session, self._services.viewer
        if ids and not self._canvas.tool and viewer.layers.selection.active in session.slide.layers:
            layer = self._canvas.ensure_layer()  # napari highlights selected shapes in the active layer only
            layer.visible, viewer.layers.selection.active = True, layer
        select_regions(session.selected_regions, ids)
        if len(ids) == 1:
            self._canvas.select(ids)
            region = next(one for one in session.regions.value if one.id == ids[0])
            zoom_to_polygons(viewer, session.slide, region.polygons)

    def _on_renamed(self, region_id: str, name: str) -> None:
        self.session.regions.apply(lambda regions: rename_region(regions, region_id, name))

    def _on_operation(self, name: str) -> None:
        self._on_reader()
        run_operation(self.session, name, self.distance.value())

    def _on_change_class(self) -> None:
        selected, region_class = self._require_selection(), self.class_list.current
        self.session.regions.apply(lambda regions: set_region_class(regions, selected, region_class))

    def _on_remove(self) -> None:
        selected = self._require_selection()
        self.session.regions.apply(lambda regions: remove_regions(regions, selected))

    def _require_selection(self) -> tuple[str, ...]:
        """Return the ids of the selected regions; if there are none, show a message that explains how to select."""
        selected = self.session.selected_regions.value
        if not selected:
            self._services.status.show_briefly(SELECT_FIRST)
        return selected

    def _on_import(self, kind: str) -> None:
        session = self.session
        add = partial(import_region_file, session)
        if kind == "lesions":
            add(session.folder / OUTLINES)
        else:
            window, title = self._services.window, "Regions of this slide"
            choose_file(window, "region_import_dialog", title, OUTLINE_FILTERS, add, session.folder)

    def _on_data_set(self) -> None:
        self.session.flush()  # also what the brush has painted so far
        open_data_set_dialog(self._services, self.session.location.out)

    def _on_export(self) -> None:
        session, window = self.session, self._services.window
        suggested = Path(f"{session.slide.info.name}-regions.geojson")
        write = partial(export_region_file, session.regions)
        choose_new_file(window, "region_export_dialog", "Export the regions as GeoJSON", "GeoJSON", write, suggested)


def find_blockers(regions: Regions, selected: tuple[str, ...], *, can_paste: bool, has_scale: bool) -> dict[str, str]:
    """Return why a button is disabled, by its name; empty if it is enabled. ``selected``: ids of regions."""
    blockers = dict.fromkeys(("class", "remove", "export", "data"), "" if regions else NO_REGIONS)
    for name, operation in OPERATIONS.items():
        is_enough = len(selected) >= operation.min_selected
        blockers[name] = "" if is_enough else SELECTION_HINTS[operation.min_selected]
    blockers["paste"] = "" if can_paste else NOTHING_COPIED
    if not has_scale:
        blockers |= dict.fromkeys(("grow", "shrink"), NEEDS_SCALE)
    return blockers


def describe_regions(regions: Regions, drawn: int) -> str:
    """Return the numbers of regions by class. ``drawn``: number of regions that have shapes on the slide."""
    if not regions:
        return NO_REGIONS
    counts = Counter(region.class_name or "without a class" for region in regions)
    classes = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    hidden = len(regions) - drawn
    note = f" {hidden:,} are saved, and drawn when you select them." if hidden > 0 else ""
    return f"{format_count(len(regions), 'region')}: {classes}.{note}"
