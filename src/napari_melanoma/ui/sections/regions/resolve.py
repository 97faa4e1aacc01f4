"""What the Regions section shows, as a pure function of its regions: texts, and why a button is disabled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_melanoma.core.formatting import format_count
from napari_melanoma.slides.regions import is_locked

if TYPE_CHECKING:
    from napari_melanoma.slides.regions import Regions


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
    0: "",
    1: "Select regions in the list first.",
    2: "Select two or more regions in the list first (Ctrl+click).",
}
NO_REGIONS = "No regions yet. Select a class and draw."
NOTHING_COPIED = "Nothing was copied yet: select regions and press copy."
NEEDS_SCALE = "The slide has no scale, so that distances are unknown. Set it with Scale, the ruler above."


@dataclass(frozen=True)
class RegionFacts:
    """What the section depends on. ``drawn``: number of regions that have shapes on the slide."""

    regions: Regions = ()
    selected: tuple[str, ...] = ()  # their ids
    drawn: int = 0
    can_undo: bool = False
    can_redo: bool = False
    can_paste: bool = False
    has_scale: bool = True


@dataclass(frozen=True)
class RegionTexts:
    """What the section shows. ``blockers``: why a button is disabled, by its name; empty if it is enabled."""

    summary: str
    blockers: Mapping[str, str]
    lock: Operation


def resolve_regions(facts: RegionFacts) -> RegionTexts:
    """Return what the section shows."""
    no_regions = "" if facts.regions else NO_REGIONS
    blockers = dict.fromkeys(("class", "remove", "export", "data"), no_regions)
    blockers["undo"] = "" if facts.can_undo else "Nothing to undo."
    blockers["redo"] = "" if facts.can_redo else "Nothing to redo."
    for name, operation in OPERATIONS.items():
        is_enough = len(facts.selected) >= operation.min_selected
        blockers[name] = "" if is_enough else SELECTION_HINTS[operation.min_selected]
    blockers["paste"] = "" if facts.can_paste else NOTHING_COPIED
    if not facts.has_scale:
        blockers |= dict.fromkeys(("grow", "shrink"), NEEDS_SCALE)
    lock = UNLOCK if are_locked(facts.regions, facts.selected) else OPERATIONS["lock"]
    return RegionTexts(_describe_regions(facts.regions, facts.drawn), blockers, lock)


def are_locked(regions: Regions, selected: tuple[str, ...]) -> bool:
    """Return whether there are selected regions, and all of them are locked."""
    ids = set(selected)
    chosen = [region for region in regions if region.id in ids]
    return bool(chosen) and all(map(is_locked, chosen))


def _describe_regions(regions: Regions, drawn: int) -> str:
    """Return the numbers of regions by class."""
    if not regions:
        return NO_REGIONS
    counts = Counter(region.class_name or "without a class" for region in regions)
    classes = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    hidden = len(regions) - drawn
    note = f" {hidden:,} are saved, and drawn when you select them." if hidden > 0 else ""
    return f"{format_count(len(regions), 'region')}: {classes}.{note}"
