"""Operations on the selected regions, such as union, growth and copying, each as one step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.slides import region_operations
from napari_melanoma.slides.regions import Regions, is_locked, set_locked
from napari_melanoma.ui.session.annotations import select_regions
from napari_melanoma.ui.session.document import Shared
from napari_melanoma.ui.session.slide import SlideSession, SlideSessions
from napari_melanoma.ui.viewer.camera import get_visible_region, get_zoom
from napari_melanoma.ui.widgets.status_line import show_failure


@dataclass(frozen=True)
class Operation:
    """A button: its text, its tooltip, and how many regions must at least be selected."""

    text: str
    tip: str
    min_selected: int = 1


OPERATIONS = {
    "union": Operation("Union", "Unite the selected regions; the largest keeps its name and class", 2),
    "subtract": Operation("Subtract", "Cut the smaller selected regions out of the largest; they stay", 2),
    "intersect": Operation("Intersect", "Keep only the area that the selected regions have in common", 2),
    "grow": Operation("Grow", "Grow the selected regions on all sides by the distance"),
    "shrink": Operation("Shrink", "Shrink the selected regions on all sides by the distance"),
    "fill": Operation("Fill holes", "Fill the holes of the selected regions"),
    "simplify": Operation("Simplify", "Remove corners that are not visible at this magnification"),
    "lock": Operation("Lock", "Protect the selected regions: locked ones cannot be moved, changed or deleted"),
    "copy": Operation("Copy", "Copy the selected regions, for this or another slide (Ctrl+C in the list)"),
    "paste": Operation("Paste", "Paste the copied regions at the center of the view, in their size (Ctrl+V)", 0),
}
UNLOCK = Operation("Unlock", "Allow changes of the selected regions again")


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


def are_locked(regions: Regions, selected: tuple[str, ...]) -> bool:
    """Return whether there are selected regions, and all of them are locked."""
    chosen = [region for region in regions if region.id in selected]
    return bool(chosen) and all(map(is_locked, chosen))


def run_operation(session: SlideSession, name: str, distance_um: float) -> None:
    ids = session.selected_regions.value
    if name in ("copy", "paste"):
        (copy_regions if name == "copy" else paste_regions)(session)
    elif ids:
        edit = _make_edit(session, name, -distance_um if name == "shrink" else distance_um)
        session.regions.apply(lambda regions: edit(regions, ids=ids))


def _make_edit(session: SlideSession, name: str, distance_um: float) -> Callable[..., Regions]:
    slide = session.slide
    if name == "lock":
        return partial(set_locked, locked=not are_locked(session.regions.value, session.selected_regions.value))
    if name == "simplify":
        screen_pixel = 1 / get_zoom(session.services.viewer)  # in the unit of pixel_um
        return partial(region_operations.simplify_regions, tolerance=screen_pixel, pixel_um=slide.pixel_um)
    if name in ("grow", "shrink"):
        grow = region_operations.grow_regions
        return partial(grow, distance=distance_um, pixel_um=slide.pixel_um, size=slide.size)
    edits: dict[str, Callable[..., Regions]] = {
        "union": region_operations.unite_regions,
        "subtract": region_operations.subtract_regions,
        "intersect": region_operations.intersect_regions,
        "fill": region_operations.fill_holes,
    }
    return edits[name]


def copy_regions(session: SlideSession) -> None:
    ids = set(session.selected_regions.value)
    selected = tuple(region for region in session.regions.value if region.id in ids)
    if selected:
        copied = CopiedRegions(selected, session.slide.identity, session.slide.info.pixel_size)
        session.sessions.part(RegionMemory).copied.set(copied)
        session.services.status.show_briefly(f"{format_count(len(selected), 'region')} copied.")


def paste_regions(session: SlideSession) -> None:
    """Paste the copied regions at the center of the view; on another slide, in the same size in micrometers."""
    slide, services, copied = session.slide, session.services, session.sessions.part(RegionMemory).copied.value
    if not copied.regions:
        return
    center = get_visible_region(services.viewer, slide).center
    try:
        is_same = copied.identity == slide.identity
        ratio = (1.0, 1.0) if is_same else region_operations.pixel_ratio(copied.pixel_size, slide.info.pixel_size)
        placed = region_operations.place_copies(copied.regions, ratio, center, slide.size)
        pasted = region_operations.sign_copies(placed, services.reader)
    except MelanomaError as error:
        show_failure(services.status, error)
        return
    session.regions.apply(lambda regions: (*regions, *pasted))
    select_regions(session.selected_regions, [one.id for one in pasted])
    omitted = len(copied.regions) - len(pasted)
    note = f" {format_count(omitted, 'region')} outside the slide left out." if omitted else ""
    services.status.show_briefly(f"{format_count(len(pasted), 'region')} pasted.{note}")
