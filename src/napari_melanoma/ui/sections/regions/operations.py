"""Operations on the selected regions, such as union, growth and copying, each as one step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.formatting import format_count
from napari_melanoma.ui.sections.regions.resolve import are_locked
from napari_melanoma.ui.session.annotations import select_regions
from napari_melanoma.ui.session.document import Shared
from napari_melanoma.ui.viewer.camera import get_visible_region, get_zoom
from napari_melanoma.ui.widgets.status_line import show_failure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.core.geometry import PixelSize
    from napari_melanoma.slides.regions import Regions
    from napari_melanoma.ui.session.slide import SlideSession, SlideSessions

    RegionEdit = Callable[[Regions], Regions]


@dataclass(frozen=True)
class CopiedRegions:
    """Copied regions, in pixels of the finest level of their slide. ``identity``: of that slide."""

    regions: Regions = ()
    identity: str = ""
    pixel_size: PixelSize | None = None


class RegionMemory:
    """What the slides of a window share: the class that was selected last, and the copied regions."""

    def __init__(self, sessions: SlideSessions) -> None:
        self.class_name = ""
        self.copied = Shared(CopiedRegions())


class RegionOperations:
    """Apply operations to the selected regions of a slide."""

    def __init__(self, session: SlideSession, memory: RegionMemory) -> None:
        self._session, self._memory = session, memory

    def run(self, name: str, distance_um: float) -> None:
        """Run the operation of a button on the selected regions."""
        if name == "copy":
            self.copy()
        elif name == "paste":
            self.paste()
        elif self._session.selected_regions.value:
            self._session.regions.apply(self._make_edit(name, distance_um))

    def make_split_edit(self, line: NDArray[np.float64]) -> RegionEdit:
        """Return the edit that splits regions along a line, (vertex, 2) in pixels of the finest level."""
        from napari_melanoma.slides.region_operations import split_regions

        return partial(split_regions, ids=self._session.selected_regions.value, line=line)

    def make_hole_edit(self, vertices: NDArray[np.float64], kind: str) -> RegionEdit:
        """Return the edit that cuts a drawn shape out of regions. ``kind``: napari's type of the shape."""
        from napari_melanoma.core.polygons import Polygon, as_ring
        from napari_melanoma.slides.region_operations import cut_hole
        from napari_melanoma.slides.regions import shape_outline

        outline = Polygon(as_ring(shape_outline(vertices, kind)))
        return partial(cut_hole, ids=self._session.selected_regions.value, outline=(outline,))

    def _make_edit(self, name: str, distance_um: float) -> RegionEdit:
        """Return the edit of an operation on the selected regions."""
        from napari_melanoma.slides import region_operations
        from napari_melanoma.slides.regions import set_locked

        slide, ids = self._session.slide, self._session.selected_regions.value
        pixel_um, size = slide.pixel_um, slide.size
        screen_pixel = 1 / get_zoom(self._session.services.viewer)  # in the unit of pixel_um
        signed_distance = -distance_um if name == "shrink" else distance_um
        is_locked = are_locked(self._session.regions.value, ids)
        edits: dict[str, RegionEdit] = {
            "union": partial(region_operations.unite_regions, ids=ids),
            "subtract": partial(region_operations.subtract_regions, ids=ids),
            "intersect": partial(region_operations.intersect_regions, ids=ids),
            "fill": partial(region_operations.fill_holes, ids=ids),
            "simplify": partial(region_operations.simplify_regions, ids=ids, tolerance=screen_pixel, pixel_um=pixel_um),
            "lock": partial(set_locked, ids=ids, locked=not is_locked),
        }
        grow = partial(region_operations.grow_regions, ids=ids, distance=signed_distance, pixel_um=pixel_um, size=size)
        return edits.get(name, grow)

    def copy(self) -> None:
        """Copy the selected regions."""
        slide, ids = self._session.slide, set(self._session.selected_regions.value)
        selected = tuple(region for region in self._session.regions.value if region.id in ids)
        if selected:
            self._memory.copied.set(CopiedRegions(selected, slide.identity, slide.info.pixel_size))
            self._session.services.status.show_briefly(f"{format_count(len(selected), 'region')} copied.")

    def paste(self) -> None:
        """Paste the copied regions at the center of the view; on another slide, in the same size in micrometers."""
        from napari_melanoma.slides.region_operations import pixel_ratio, place_copies, sign_copies

        slide, services, copied = self._session.slide, self._session.services, self._memory.copied.value
        if not copied.regions:
            return
        center = get_visible_region(services.viewer, slide).center
        try:
            is_same = copied.identity == slide.identity
            ratio = (1.0, 1.0) if is_same else pixel_ratio(copied.pixel_size, slide.info.pixel_size)
            pasted = sign_copies(place_copies(copied.regions, ratio, center, slide.size), services.reader)
        except MelanomaError as error:
            show_failure(services.status, error)
            return
        self._session.regions.apply(lambda regions: (*regions, *pasted))
        select_regions(self._session.selected_regions, [one.id for one in pasted])
        omitted = len(copied.regions) - len(pasted)
        note = f" {format_count(omitted, 'region')} outside the slide left out." if omitted else ""
        services.status.show_briefly(f"{format_count(len(pasted), 'region')} pasted.{note}")
