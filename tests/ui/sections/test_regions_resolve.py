"""What the Regions section states: the summary of the regions, and why buttons are disabled."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from napari_melanoma.core.polygons import Polygon
from napari_melanoma.io.geojson import Annotation
from napari_melanoma.slides.regions import set_locked
from napari_melanoma.ui.sections.regions.resolve import (
    NEEDS_SCALE,
    NO_REGIONS,
    NOTHING_COPIED,
    OPERATIONS,
    SELECTION_HINTS,
    UNLOCK,
    RegionFacts,
    resolve_regions,
)

RING = Polygon(((0.0, 0.0), (0.0, 9.0), (9.0, 9.0)))
TWO = tuple(Annotation((RING,), name, id=name) for name in ("Melanoma", "Nevus"))
LOCKED = set_locked(TWO, ids=("Nevus",), locked=True)
SHOWN = RegionFacts(TWO, drawn=2)
SELECTED = replace(SHOWN, selected=("Melanoma", "Nevus"))


@dataclass(frozen=True)
class Case:
    name: str
    facts: RegionFacts
    blocked: dict[str, str]
    enabled: tuple[str, ...] = field(default=())


CASES = [
    Case("nothing can be done with no regions", RegionFacts(), {"class": NO_REGIONS, "export": NO_REGIONS}),
    Case("regions are exported and cut to tiles", SHOWN, {"undo": "Nothing to undo."}, ("export", "data", "remove")),
    Case("a step is undone", replace(SHOWN, can_undo=True), {"redo": "Nothing to redo."}, ("undo",)),
    Case("an undone step is redone", replace(SHOWN, can_redo=True), {"undo": "Nothing to undo."}, ("redo",)),
    Case("operations need a selection", SHOWN, {"grow": SELECTION_HINTS[1], "union": SELECTION_HINTS[2]}),
    Case("one is not united", replace(SHOWN, selected=("Nevus",)), {"union": SELECTION_HINTS[2]}, ("fill", "copy")),
    Case("two regions are united", SELECTED, {"paste": NOTHING_COPIED}, ("union", "subtract", "intersect", "grow")),
    Case("copies are pasted without selection", RegionFacts(can_paste=True), {"copy": SELECTION_HINTS[1]}, ("paste",)),
    Case(
        "distances need a scale",
        replace(SELECTED, has_scale=False),
        {"grow": NEEDS_SCALE, "shrink": NEEDS_SCALE},
        ("simplify", "lock"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_disabled_buttons_say_why(case):
    blockers = resolve_regions(case.facts).blockers
    assert {name: blockers[name] for name in case.blocked} == case.blocked
    assert [name for name in case.enabled if blockers[name]] == []


@pytest.mark.parametrize(
    ("selected", "expected"),
    [((), OPERATIONS["lock"]), (("Melanoma", "Nevus"), OPERATIONS["lock"]), (("Nevus",), UNLOCK)],
)
def test_only_locked_regions_are_unlocked(selected, expected):
    assert resolve_regions(RegionFacts(LOCKED, selected)).lock == expected


@pytest.mark.parametrize(
    ("regions", "drawn", "summary"),
    [
        ((), 0, NO_REGIONS),
        (TWO[:1], 1, "1 region: Melanoma 1."),
        ((*TWO, replace(TWO[0], id="other")), 3, "3 regions: Melanoma 2, Nevus 1."),
        ((replace(TWO[0], class_name=""),), 1, "1 region: without a class 1."),
        (TWO * 1000, 400, "2,000 regions: Melanoma 1000, Nevus 1000. 1,600 are saved, and drawn when you select them."),
    ],
)
def test_the_summary_counts_regions_by_class(regions, drawn, summary):
    assert resolve_regions(RegionFacts(regions, drawn=drawn)).summary == summary
