"""The tools of the Regions section on the canvas; each drawing is applied to the regions as one step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma.ui.sections.regions.layer import LINE_MODE, RegionBrush, RegionLayer, get_snap_distance
from napari_melanoma.ui.sections.regions.operations import RegionMemory, RegionOperations
from napari_melanoma.ui.sections.regions.view import SNAP_SETTING
from napari_melanoma.ui.session.annotations import select_regions
from napari_melanoma.ui.viewer.pixel_tools import CLICK_HINT, OutlineClickTool, RegionWand
from napari_melanoma.ui.widgets.class_list import REGION_CLASSES, load_classes
from napari_melanoma.ui.widgets.status_line import show_failure

if TYPE_CHECKING:
    from napari_melanoma.core.polygons import Polygon
    from napari_melanoma.slides.outline_clicks import OutlineClick
    from napari_melanoma.slides.regions import RegionClass, Regions, ShapesState
    from napari_melanoma.ui.sections.regions.layer import Painting
    from napari_melanoma.ui.session.slide import SlideSession

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


class RegionTools(QObject):
    """Show the regions of a slide on the canvas, and change them with the mouse, also while the section is collapsed.

    ``tool``: name of the active tool; empty if there is none. ``region_class``: of what is drawn.
    """

    tool_changed = Signal(str)
    added = Signal(str)  # the id of the last new region

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session.owner)
        self._session, self._services = session, session.services
        self.memory = memory = session.sessions.part(RegionMemory)
        viewer, slide, document = session.services.viewer, session.slide, session.regions
        classes = load_classes(session.services.settings, REGION_CLASSES)
        self.region_class = next((one for one in classes if one.name == memory.class_name), classes[0])
        self.tool = ""
        self.operations = RegionOperations(session, memory)
        self._undo_keys = {"Control-Z": session.annotations.undo, "Control-Shift-Z": session.annotations.redo}
        keys = {**self._undo_keys, "Control-C": self.operations.copy, "Control-V": self.operations.paste}
        self.layer = RegionLayer(viewer, slide, keys, session.services.status.show_message, self)
        self.brush = RegionBrush(viewer, slide, self)
        self.wand = RegionWand(viewer, self)
        self.clicks = OutlineClickTool(viewer, self, "painting")
        self._connect()
        self._on_regions(document.value)

    def _connect(self) -> None:
        session, status = self._session, self._services.status
        session.follow(session.regions.changed, self._on_regions)
        session.follow(session.selected_regions.changed, self.layer.select)
        session.follow(session.commit_requested, self.layer.flush)
        session.follow(session.commit_requested, self.brush.flush)
        session.follow(session.displayed.changed, self._on_displayed)
        session.at_end(self.layer.close)
        self.layer.changed.connect(self._on_shapes)
        self.layer.line_drawn.connect(lambda line: session.regions.apply(self.operations.make_split_edit(line)))
        self.layer.selection_changed.connect(partial(select_regions, session.selected_regions))
        self.brush.painted.connect(self._on_painted)
        self.wand.area_found.connect(self._on_wand_found)
        self.wand.message.connect(status.show_message)
        self.wand.failed.connect(partial(show_failure, status))
        self.clicks.clicked.connect(self._on_refining_click)
        for tool in (self.layer, self.wand, self.clicks):
            tool.left.connect(partial(self.set_tool, "", is_left=True))

    def _on_displayed(self) -> None:
        """Keep what was drawn, and end the tool before another slide is displayed."""
        if self.tool:
            self.set_tool("")

    def set_class(self, region_class: RegionClass) -> None:
        """Draw regions of another class."""
        self.region_class, self.memory.class_name = region_class, region_class.name
        self.layer.set_class(region_class)
        self.layer.select(self._session.selected_regions.value)
        self.brush.set_class(region_class)
        self.wand.set_class(region_class)

    def edit_class(self, previous: RegionClass, edited: RegionClass) -> None:
        """Apply the new name or color of a class to its regions and to the current painting."""
        from napari_melanoma.slides.regions import edit_class

        self._session.regions.apply(lambda regions: edit_class(regions, previous.name, edited))
        self.brush.replace_class(previous, edited)

    def set_tool(self, name: str, *, is_left: bool = False) -> None:
        """Activate a tool, or only deactivate the previous one if ``name`` is empty.

        ``is_left``: the user left the tool by a choice in napari, whose mode must not be changed.
        """
        self.layer.flush()  # with the tool it was drawn with
        previous, self.tool = self.tool, name
        if previous == "brush":
            self.brush.finish()
        elif previous in ("wand", "refine"):
            (self.wand if previous == "wand" else self.clicks).stop()
            self._services.status.end_message(CLICK_HINT)
        elif previous and not is_left and name not in MODES and self.layer.layer is not None:
            self.layer.set_mode("pan_zoom", self.region_class)
        if name:
            self._start(name)
        self.tool_changed.emit(self.tool)

    def _start(self, name: str) -> None:
        slide, status = self._session.slide, self._services.status
        if name == "brush":
            if self.brush.start(load_classes(self._services.settings, REGION_CLASSES)):
                self.brush.set_class(self.region_class)
            else:
                self.tool = ""
                status.show_briefly(NOT_IN_VIEW)
        elif name == "wand":
            self.wand.start(slide, self.region_class)
        elif name == "refine":
            self.clicks.start(slide, self._undo_keys)
            status.show_message(CLICK_HINT)
        else:
            self.layer.set_mode(MODES[name], self.region_class)
            self.layer.select(self._session.selected_regions.value)

    def _on_regions(self, regions: Regions) -> None:
        """Show other regions, and deselect those that no longer exist."""
        selected, ids = self._session.selected_regions, {region.id for region in regions}
        select_regions(selected, [one for one in selected.value if one in ids])
        self.layer.show(regions, selected.value)
        self.layer.select(selected.value)

    def _on_shapes(self, shapes: ShapesState) -> None:
        """Apply changes of the Shapes layer to the regions; with the hole tool, cut the new shape out."""
        from napari_melanoma.slides.regions import apply_shape_edits

        outlines, region_class, reader = self.layer.outlines, self.region_class, self._services.reader
        if self.tool == "hole" and shapes.keys and shapes.keys[-1] < 0:
            self._session.regions.apply(self.operations.make_hole_edit(shapes.vertices[-1], shapes.kinds[-1]))
        else:
            self._draw(lambda regions: apply_shape_edits(regions, outlines, shapes, region_class, reader))

    def _on_painted(self, painting: Painting) -> None:
        """Convert a painting to regions; the view may have moved since."""
        from napari_melanoma.slides.regions import regions_from_labels

        new = regions_from_labels(painting.labels, painting.placement, painting.classes, self._services.reader)
        self._draw(lambda regions: ((*regions, *new), new), painting.snap_distance)

    def _on_wand_found(self, polygons: tuple[Polygon, ...]) -> None:
        from napari_melanoma.slides.regions import region_from_polygons

        new = region_from_polygons(polygons, self.region_class, self._services.reader)
        self._draw(lambda regions: ((*regions, new), (new,)))

    def _on_refining_click(self, click: OutlineClick) -> None:
        from napari_melanoma.slides.region_operations import refine_region

        ids = self._session.selected_regions.value
        self._session.regions.apply_slow(partial(refine_region, ids=ids, click=click))

    def _draw(self, draw: Callable[[Regions], tuple[Regions, Regions]], snap_distance: float | None = None) -> None:
        """Apply a function that returns all regions and those that were drawn, which are snapped to their neighbors.

        ``snap_distance``: of ``get_snap_distance``; None for the current zoom.
        """
        document, slide = self._session.regions, self._session.slide
        distance = get_snap_distance(self._services.viewer) if snap_distance is None else snap_distance
        previous = {one.id for one in document.value}

        def edit(regions: Regions) -> Regions:
            edited, drawn = draw(regions)
            if not drawn or not self._services.settings.get(SNAP_SETTING, False):
                return edited
            from napari_melanoma.slides.region_operations import snap_regions

            return snap_regions(edited, {one.id for one in drawn}, distance, slide.pixel_um)

        document.apply(edit)
        new = [one.id for one in document.value if one.id not in previous]
        if new:
            self.added.emit(new[-1])
