"""Operations on the selected regions, such as union, growth and copying, with their buttons and settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QLabel, QWidget

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.formatting import format_count
from napari_melanoma.slides.regions import is_locked
from napari_melanoma.ui.viewer.camera import get_visible_region, get_zoom
from napari_melanoma.ui.widgets.style import fill_column, named, row, tool_button

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.core.geometry import PixelSize
    from napari_melanoma.slides.regions import Regions
    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.slide.regions_store import RegionSelection, RegionStore
    from napari_melanoma.ui.widgets.settings import DockSettings

    RegionEdit = Callable[[Regions], Regions]

DISTANCE_SETTING, TOLERANCE_SETTING = "slide/region_distance_um", "slide/region_wand_tolerance"
REACH_SETTING, SNAP_SETTING = "slide/region_wand_reach_um", "slide/region_snap"


@dataclass(frozen=True)
class Operation:
    """A button: its text, its tooltip, and how many regions must at least be selected."""

    text: str
    tip: str
    min_selected: int = 1


OPERATIONS = {
    "union": Operation("union", "Unite the selected regions; the largest keeps its name and class", 2),
    "subtract": Operation("subtract", "Cut the smaller selected regions out of the largest; they stay", 2),
    "intersect": Operation("intersect", "Keep only the area that the selected regions have in common", 2),
    "grow": Operation("grow", "Grow the selected regions on all sides by the distance"),
    "shrink": Operation("shrink", "Shrink the selected regions on all sides by the distance"),
    "fill": Operation("fill holes", "Fill the holes of the selected regions"),
    "simplify": Operation("simplify", "Remove corners that are not visible at this magnification"),
    "lock": Operation("lock", "Protect the selected regions: locked ones cannot be moved, changed or deleted"),
    "copy": Operation("copy", "Copy the selected regions, for this or another slide (Ctrl+C in the list)"),
    "paste": Operation("paste", "Paste the copied regions at the center of the view, in their size (Ctrl+V)", 0),
}
UNLOCK = Operation("unlock", "Allow changes of the selected regions again")
SELECTION_HINTS = {  # by the number of regions that an operation requires
    1: "Select regions in the list first.",
    2: "Select two or more regions in the list first (Ctrl+click).",
}
NOTHING_COPIED = "Nothing was copied yet: select regions and press copy."
NEEDS_SCALE = "The slide has no scale, so that distances are unknown. Set it with Scale, the ruler above."


class RegionSettings(QWidget):
    """Settings of the drawing tools: snapping, and tolerance and size limit of the magic wand."""

    wand_changed = Signal()

    def __init__(self, settings: DockSettings) -> None:
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
        self.set_unit("µm")
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

    def set_unit(self, unit: str) -> None:
        """Show the unit of the size limit."""
        self.reach.setSuffix(f" {unit}")


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

    def update_enabled(self, selected: int, *, all_locked: bool, can_paste: bool, has_scale: bool) -> None:
        """Enable the operations that are possible; ``selected``: number of selected regions."""
        lock = UNLOCK if all_locked else OPERATIONS["lock"]
        self.buttons["lock"].setText(lock.text)
        for name, operation in {**OPERATIONS, "lock": lock}.items():
            blocker = SELECTION_HINTS[operation.min_selected] if selected < operation.min_selected else ""
            if name == "paste":
                blocker = "" if can_paste else NOTHING_COPIED
            elif name in ("grow", "shrink") and not has_scale:
                blocker = NEEDS_SCALE
            self.buttons[name].setEnabled(not blocker)
            self.buttons[name].setToolTip(blocker or operation.tip)
            self.buttons[name].setAccessibleName(operation.tip)


@dataclass(frozen=True)
class CopiedRegions:
    """Copied regions, in pixels of the finest level of their slide. ``identity``: of that slide."""

    regions: Regions
    identity: str
    pixel_size: PixelSize | None


class RegionOperations(QObject):
    """Apply operations to the selected regions, each as one undo step."""

    failed = Signal(object)  # the exception

    def __init__(self, context: SlideContext, store: RegionStore, selection: RegionSelection) -> None:
        super().__init__(context)
        self._context, self._store, self._selection = context, store, selection
        self.copied: CopiedRegions | None = None

    @property
    def selected(self) -> Regions:
        """The selected regions."""
        ids = set(self._selection.ids)
        return tuple(one for one in self._store.regions if one.id in ids)

    @property
    def all_locked(self) -> bool:
        """Whether all selected regions are locked."""
        return bool(selected := self.selected) and all(map(is_locked, selected))

    def run(self, name: str, distance_um: float, reader: str) -> None:
        """Run the operation of a button on the selected regions. ``reader``: of pasted regions; empty if unknown."""
        if name == "copy":
            self._copy()
        elif name == "paste":
            self._paste(reader)
        elif (edit := self._make_edit(name, distance_um)) is not None:
            self._store.apply_edit(edit)

    def make_split_edit(self, line: NDArray[np.float64]) -> RegionEdit:
        """Return the edit that splits regions along a line, (vertex, 2) in pixels of the finest level."""
        from napari_melanoma.slides.region_operations import split_regions

        return partial(split_regions, ids=self._selection.ids, line=line)

    def make_hole_edit(self, vertices: NDArray[np.float64], kind: str) -> RegionEdit:
        """Return the edit that cuts a drawn shape out of regions. ``kind``: napari's type of the shape."""
        from napari_melanoma.core.polygons import Polygon, as_ring
        from napari_melanoma.slides.region_operations import cut_hole
        from napari_melanoma.slides.regions import shape_outline

        outline = Polygon(as_ring(shape_outline(vertices, kind)))
        return partial(cut_hole, ids=self._selection.ids, outline=(outline,))

    def _make_edit(self, name: str, distance_um: float) -> RegionEdit | None:
        """Return the edit of an operation on the selected regions."""
        from napari_melanoma.slides import region_operations
        from napari_melanoma.slides.regions import set_locked

        slide, ids = self._context.slide, self._selection.ids
        if slide is None or not ids:
            return None
        pixel_um, size = slide.pixel_um, slide.size
        screen_pixel = 1 / get_zoom(self._context.viewer)  # in the unit of pixel_um
        signed_distance = -distance_um if name == "shrink" else distance_um
        edits: dict[str, RegionEdit] = {
            "union": partial(region_operations.unite_regions, ids=ids),
            "subtract": partial(region_operations.subtract_regions, ids=ids),
            "intersect": partial(region_operations.intersect_regions, ids=ids),
            "fill": partial(region_operations.fill_holes, ids=ids),
            "simplify": partial(region_operations.simplify_regions, ids=ids, tolerance=screen_pixel, pixel_um=pixel_um),
            "lock": partial(set_locked, ids=ids, locked=not self.all_locked),
        }
        grow = partial(region_operations.grow_regions, ids=ids, distance=signed_distance, pixel_um=pixel_um, size=size)
        return edits.get(name, grow)

    def _copy(self) -> None:
        slide, selected = self._context.slide, self.selected
        if slide is not None and selected:
            self.copied = CopiedRegions(selected, slide.identity, slide.info.pixel_size)
            self._selection.changed.emit()  # enables the paste button
            self._context.status.show_briefly(f"{format_count(len(selected), 'region')} copied.")

    def _paste(self, reader: str) -> None:
        """Paste the copied regions at the center of the view; on another slide, in the same size in micrometers."""
        from napari_melanoma.slides.region_operations import pixel_ratio, place_copies, sign_copies

        slide, copied = self._context.slide, self.copied
        if slide is None or copied is None or self._store.state is None:
            return
        center = get_visible_region(self._context.viewer, slide).center
        try:
            is_same = copied.identity == slide.identity
            ratio = (1.0, 1.0) if is_same else pixel_ratio(copied.pixel_size, slide.info.pixel_size)
            pasted = sign_copies(place_copies(copied.regions, ratio, center, slide.size), reader)
        except MelanomaError as error:
            self.failed.emit(error)
            return
        self._store.apply_edit(lambda regions: (*regions, *pasted))
        self._selection.select(one.id for one in pasted)
        omitted = len(copied.regions) - len(pasted)
        note = f" {format_count(omitted, 'region')} outside the slide left out." if omitted else ""
        self._context.status.show_briefly(f"{format_count(len(pasted), 'region')} pasted.{note}")
